import LacunaIO
import LacunaSparse
import LacunaTensor

/// Reads the parts of a decoder from a file by their Hugging Face names, whatever the file calls them.
struct CheckpointReader {
    let source: any TensorSource
    /// The weights that are stored compressed; of files by Lacuna or with `compressed-tensors`.
    private let compressed: SparseCheckpoint
    /// A GGUF file, with its own names and, for llama models, its own order of query and key rows.
    private let isGGUF: Bool
    private let hasInterleavedHeads: Bool
    /// A GGUF file's names of the parts of a block.
    private let partsInGGUF: [String: String]
    let headSize: Int
    /// What norm weights of the file lack.
    private let normOffset: Float
    /// The tensors asked for so far, by the file's names.
    private let used = Used()

    private final class Used {
        var names: Set<String> = []
        /// Of the tensors that a compressed weight is stored as.
        var prefixes: [String] = []
    }

    /// - Parameters:
    ///   - fields: The content of `config.json`, if there is one.
    ///   - isLlama: Whether query and key rows of a GGUF file are in the order of the original Llama weights.
    ///   - normalizesOutputs: Whether the parts of a block have norms behind them too, as ``TransformerConfiguration`` says.
    ///   - normOffset: What norm weights of the file lack.
    init(
        _ source: any TensorSource, fields: JSONFields?, headSize: Int, isLlama: Bool = false,
        normalizesOutputs: Bool = false, normOffset: Float = 0
    ) throws {
        self.source = source
        compressed = try SparseCheckpoint(source, configuration: fields)
        isGGUF = source is GGUFFile
        // Writers of llama GGUF files reorder query and key rows for rotation in neighbouring pairs. Putting them back
        // when loading lets one kind of rotation serve all models; it moves whole rows, so quantised blocks survive.
        hasInterleavedHeads = isGGUF && isLlama
        partsInGGUF = normalizesOutputs ? Self.parts.merging(Self.normsAround) { $1 } : Self.parts
        self.headSize = headSize
        self.normOffset = isGGUF ? 0 : normOffset
    }

    /// - Throws: ``LacunaError/unsupported(file:what:)`` naming a tensor of the file that no part has asked for: a model
    ///   with more layers or other parts than its configuration says is another model.
    func requireAllUsed(besides known: [String]) throws {
        let known = used.names.union(known)
        for name in source.names where !known.contains(name) && !name.hasSuffix(".rotary_emb.inv_freq") {
            if !name.hasSuffix(".bias"), used.prefixes.contains(where: name.hasPrefix) { continue }
            throw LacunaError.unsupported(file: source.path, what: "a model with the tensor '\(name)'")
        }
    }

    // MARK: Names

    private static let namesInGGUF: [String: String] = [
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    ]
    private static let parts: [String: String] = [
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    ]
    /// Where a block has norms before and behind its parts.
    private static let normsAround: [String: String] = [
        "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    ]

    /// The file's name for a tensor.
    func fileName(_ name: String) -> String {
        guard isGGUF, let dot = name.lastIndex(of: ".") else { return name }
        let (stem, suffix) = (String(name[..<dot]), name[dot...])
        if let known = Self.namesInGGUF[stem] { return known + suffix }
        // model.layers.<n>.<part>
        let pieces = stem.split(separator: ".", maxSplits: 3)
        guard pieces.count == 4, let part = partsInGGUF[String(pieces[3])] else { return name }
        return "blk.\(pieces[2]).\(part)\(suffix)"
    }

    func contains(_ name: String) -> Bool { source.contains(fileName(name)) || compressed.contains(name) }

    // MARK: Parts

    /// A vector of floats.
    func vector(_ name: String, count: Int, rotated: Bool = false) throws -> Tensor<Float> {
        used.names.insert(fileName(name))
        let values = try source.float(fileName(name), shape: [count])
        guard rotated && hasInterleavedHeads else { return values }
        return separatingPairs(values.reshaped([count, 1])).reshaped([count])
    }

    /// A tensor of any shape.
    func tensor(_ name: String, shape: [Int]) throws -> Tensor<Float> {
        used.names.insert(fileName(name))
        return try source.float(fileName(name), shape: shape)
    }

    /// The weights of a norm, as its values are multiplied by.
    func norm(_ name: String, count: Int) throws -> Tensor<Float> {
        let values = try vector(name, count: count)
        return normOffset == 0 ? values : Tensor(values.scalars.map { $0 + normOffset }, shape: values.shape)
    }

    /// A matrix in the wanted form.
    ///
    /// - Parameter rotated: Whether its rows are entries of queries or keys.
    func matrix(
        _ name: String, rows: Int, columns: Int, rotated: Bool = false, as precision: WeightPrecision
    ) throws -> any StoredMatrix {
        used.names.insert(fileName(name))
        if compressed.contains(name) {
            used.prefixes.append(String(name.prefix(upTo: name.lastIndex(of: ".")!)) + ".")
            let shape = try compressed.shape(of: name)
            guard shape == [rows, columns] else {
                throw LacunaError.tensorMismatch(
                    file: source.path, name: name, expected: "[\(rows), \(columns)]", found: "\(shape)")
            }
            return try compressed.matrix(name, values: precision.valueType)
        }
        let name = fileName(name)
        let info = try source.info(name)
        try info.require(shape: [rows, columns])
        let reorders = rotated && hasInterleavedHeads
        if precision == .stored || precision == .bf16 || precision == .f16 {
            if let matrix = try unconverted(info, rows: rows, columns: columns, reorders: reorders, precision) {
                return matrix
            }
        }
        var weight = try source.float(name)
        if reorders { weight = separatingPairs(weight) }
        return try WeightStore.make(weight, layout: .dense, values: precision.valueType ?? .f32)
    }

    /// The matrix in the file's own bytes, where they are, if there are products for them; bf16 and f16 are also what
    /// `precision` may ask for. Only rows in another order are copied.
    private func unconverted(
        _ info: TensorInfo, rows: Int, columns: Int, reorders: Bool, _ precision: WeightPrecision
    ) throws -> (any StoredMatrix)? {
        switch info.type {
        case .block(let type): if precision != .stored || GGUFMatrix.blockBytes(type.rawValue) == nil { return nil }
        case .scalar(.bf16): if precision == .f16 { return nil }
        case .scalar(.f16): if precision == .bf16 { return nil }
        case .scalar(.f32): if precision != .stored { return nil }
        default: return nil
        }
        var bytes = try source.bytes(of: info.name)
        var owner: AnyObject = source
        // Files need not align their tensors, but kernels read whole numbers.
        let isAligned = Int(bitPattern: bytes.baseAddress) % 4 == 0 || info.type.blockCount > 1
        if reorders || !isAligned {
            let copy = reorders ? separatingPairs(bytes, rows: rows) : Buffer<UInt8>(bytes, lasting: true)
            // The file's own are not read again.
            try (source as? GGUFFile)?.forget(info.name)
            (bytes, owner) = (UnsafeRawBufferPointer(copy.elements), copy)
        }
        switch info.type {
        case .block(let type):
            return try GGUFMatrix(type.rawValue, borrowing: bytes, of: owner, rows: rows, columns: columns)
        case .scalar(let type):
            let values: ValueType = type == .bf16 ? .bf16 : type == .f16 ? .f16 : .f32
            return try DenseMatrix(borrowing: bytes, of: owner, values: values, rows: rows, columns: columns)
        default: return nil
        }
    }

    // MARK: Order of rows

    /// Where row `row` of a head-wise halved order is found in the order with neighbouring pairs.
    private func sourceRow(_ row: Int) -> Int {
        let (head, entry) = (row / headSize, row % headSize)
        let (half, pair) = (entry / (headSize / 2), entry % (headSize / 2))
        return head * headSize + 2 * pair + half
    }

    /// The rows with the first entries of all pairs of a head before the second ones.
    private func separatingPairs(_ bytes: UnsafeRawBufferPointer, rows: Int) -> Buffer<UInt8> {
        let size = bytes.count / rows
        let result = Buffer<UInt8>(uninitialized: bytes.count, lasting: true)
        let target = UnsafeMutableRawBufferPointer(result.elements)
        for row in 0..<rows {
            let start = sourceRow(row) * size
            UnsafeMutableRawBufferPointer(rebasing: target[row * size..<(row + 1) * size]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: bytes[start..<start + size]))
        }
        return result
    }

    private func separatingPairs(_ matrix: Tensor<Float>) -> Tensor<Float> {
        var result = Tensor<Float>(uninitialized: matrix.shape)
        let (rows, columns) = (matrix.rows, matrix.columns)
        matrix.withPointer { source in
            result.withMutablePointer { target in
                for row in 0..<rows {
                    (target + row * columns).update(from: source + sourceRow(row) * columns, count: columns)
                }
            }
        }
        return result
    }
}
