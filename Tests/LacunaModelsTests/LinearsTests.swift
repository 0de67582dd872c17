import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

struct LinearsTests {
    @Test func namesAreThoseOfCheckpoints() throws {
        let decoder = try makeDecoder(seed: 1)
        #expect(decoder.linearNames.count == 21)
        #expect(decoder.linearNames.first == "model.layers.0.self_attn.q_proj.weight")
        #expect(decoder.linearNames.last == "model.layers.2.mlp.down_proj.weight")
        let found = decoder.location(ofLinear: "model.layers.1.mlp.gate_proj.weight")
        #expect(found?.layer == 1 && found?.role == .gate)
        for name in [
            "model.layers.3.mlp.gate_proj.weight", "model.layers.x.mlp.gate_proj.weight", "lm_head.weight",
            "model.layers.1.mlp.gate_proj.bias", "model.layers.1.weight", "",
        ] {
            #expect(decoder.location(ofLinear: name) == nil)
        }
    }

    @Test func sparsifyingChangesStorageNotResults() throws {
        let dense = try makeDecoder(seed: 2)
        // The same zeros, once stored and once left out.
        let zeroed = try dense.sparsified { _, matrix in
            var weight = matrix.densified()
            let mask = try Selection.mask(
                scores: Tensor(weight.scalars.map(abs), shape: weight.shape), pattern: .unstructured(.layer),
                sparsity: 0.5)
            mask.apply(to: &weight)
            return try WeightStore.make(weight, layout: .dense, values: .f32)
        }
        let tokens = [9, 8, 7, 6, 5, 4, 3, 2, 1]
        let expected = try zeroed.logits(tokens)
        #expect(relativeError(expected, try dense.logits(tokens)) > 1e-3)
        for layout in [StorageLayout.bitmask, .csr, .masked, .bsr(rows: 4, columns: 4)] {
            let sparse = try zeroed.sparsified { _, matrix in
                try WeightStore.make(matrix.densified(), layout: layout, values: .f32)
            }
            #expect(relativeError(try sparse.logits(tokens), expected) < 1e-5, "\(layout)")
            let session = try DecodingSession(sparse, context: 16)
            for token in tokens { try session.decode(token) }
            let last = Tensor(Array(session.logits), shape: [1, 50])
            #expect(relativeError(last, expected.rows(8..<9)) < 1e-5, "\(layout)")
        }
    }

    @Test func copiesDoNotFollowChanges() throws {
        let decoder = try makeDecoder(seed: 3)
        let name = decoder.linearNames[0]
        var changed = decoder
        changed[linear: name] = try WeightStore.make(Tensor(zeros: [60, 24]), layout: .dense, values: .f32)
        #expect(decoder[linear: name].densified() != changed[linear: name].densified())
        let untouched = decoder.sparsified { _, _ in nil }
        #expect(untouched[linear: name] as AnyObject === decoder[linear: name] as AnyObject)
    }

    @Test func feedForwardPartsMayShrink() throws {
        var decoder = try makeDecoder(seed: 4)
        let old = decoder.blocks[1].feedForward
        // Keeping rows 0..<12 is the same as silencing the others.
        func kept(_ linear: LinearLayer) throws -> LinearLayer {
            LinearLayer(
                try WeightStore.make(linear.weight.densified().rows(0..<12), layout: .dense, values: .f32))
        }
        let down = old.down.weight.densified().transposed().rows(0..<12).transposed()
        let smaller = FeedForward(
            gate: try kept(decoder.blocks[1][.gate]), up: try kept(old.up),
            down: LinearLayer(try WeightStore.make(down, layout: .dense, values: .f32)))
        var silenced = decoder
        for role in [LinearRole.gate, .up] {
            let name = decoder.configuration.weightName(role, layer: 1)
            var weight = decoder[linear: name].densified()
            for r in 12..<33 { for c in 0..<24 { weight[r, c] = 0 } }
            silenced[linear: name] = try WeightStore.make(weight, layout: .dense, values: .f32)
        }
        try decoder.replaceFeedForward(layer: 1, with: smaller)
        #expect(decoder.configuration.intermediateSizes == [20, 12, 20])
        let tokens = [3, 1, 4, 1, 5]
        #expect(relativeError(try decoder.logits(tokens), try silenced.logits(tokens)) < 1e-5)
        #expect(throws: LacunaError.self) {
            try decoder.replaceFeedForward(
                layer: 0, with: FeedForward(gate: smaller.gate, up: old.up, down: smaller.down))
        }
    }
}
