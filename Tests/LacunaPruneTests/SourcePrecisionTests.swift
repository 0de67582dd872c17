import LacunaIO
import LacunaPrune
import LacunaTensor
import Testing

@Suite struct SourcePrecisionTests {
    /// Tensors that exist by name and type only.
    private final class Listing: TensorSource {
        let path = "listing"
        let tensors: [TensorInfo]

        init(_ types: [(String, StoredType)]) {
            tensors = types.map { name, type in
                TensorInfo(
                    name: name, shape: name.contains("norm") ? [256] : [256, 256], type: type, file: "listing",
                    byteRange: 0..<(name.contains("norm") ? 1 : 256) * 256 / type.blockCount * type.blockBytes)
            }
        }

        func find(_ name: String) -> TensorInfo? { tensors.first { $0.name == name } }
        func bytes(of name: String) throws -> UnsafeRawBufferPointer {
            throw LacunaError.missingTensor(file: path, name: name)
        }
    }

    /// A llama as GGUF names it, or as transformers do.
    private func precision(_ weights: StoredType, head: StoredType, gguf: Bool = true) -> SourcePrecision {
        let names =
            gguf
            ? ("token_embd.weight", "blk.0.ffn_up.weight")
            : ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight")
        return SourcePrecision(
            Listing([
                (names.0, head), (names.1, weights), ("blk.1.ffn_up.weight", weights), ("norm.weight", .scalar(.f32)),
            ]))
    }

    @Test func typesFollowTheSource() {
        for (type, values) in [
            (StoredType.scalar(.f32), "f32"), (.scalar(.bf16), "bf16"), (.scalar(.f16), "f16"), (.block(.q80), "int8"),
            (.block(.q6K), "int8"), (.block(.q4K), "int4"), (.block(.q40), "int4"), (.block(.q41), "int4"),
        ] {
            let found = precision(type, head: type)
            #expect(found.values(sparsity: 0.5).rawValue == values, "\(type)")
            #expect(found.weightType == type.description)
        }
        #expect(precision(.scalar(.bf16), head: .scalar(.f32), gguf: false).values(sparsity: 0.5) == .bf16)
        #expect(SourcePrecision(Listing([])).values(sparsity: 0.5) == .bf16)
    }

    /// A bit for each position must not make a sparse matrix larger than the dense one was.
    @Test func noMatrixGrows() {
        let sixBits = precision(.block(.q6K), head: .block(.q6K))
        #expect(sixBits.values(sparsity: 0.3) == .int8 && sixBits.values(sparsity: 0.1) == .int4)
        // Where hardly anything is removed, the type stays all the same.
        #expect(precision(.scalar(.bf16), head: .scalar(.bf16)).values(sparsity: 0) == .bf16)
        #expect(precision(.scalar(.f32), head: .scalar(.f32)).values(sparsity: 0) == .f32)
        #expect(precision(.scalar(.f16), head: .scalar(.f16)).values(sparsity: 0) == .f16)
        #expect(precision(.block(.q80), head: .block(.q80)).values(sparsity: 0.1) == .int8)
    }

    @Test func headsStayUnlessTheyWouldGrow() {
        for type in [StoredType.scalar(.f32), .scalar(.bf16), .scalar(.f16), .block(.q80), .block(.q41), .block(.q51)] {
            #expect(precision(.block(.q41), head: type).head == .stored, "\(type)")
        }
        // The wider of embedding and head counts.
        let both = SourcePrecision(
            Listing([
                ("token_embd.weight", .block(.q41)), ("output.weight", .scalar(.f16)), ("blk.0.a.weight", .block(.q41)),
            ]))
        #expect(both.head == .stored && both.headType == "f16")
    }
}
