import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaInfer

struct ActivationPlanTests {
    private func plan(
        _ words: String, _ decoder: Transformer, allocation: RatioAllocation = .uniform
    ) throws -> ActivationPlan {
        try ActivationCalibrator(ActivationRequest(words), allocation: allocation).plan(
            decoder, calibration: try Skip.calibration())
    }

    private func logits(
        _ decoder: Transformer, _ gate: (any InputGate)?, _ tokens: [Int], meter: SkippingMeter? = nil,
        oneByOne: Bool = false
    ) throws -> Tensor<Float> {
        let session = try DecodingSession(TokenEngine(decoder, gate: gate, meter: meter), context: tokens.count)
        if !oneByOne { return try session.verify(tokens) }
        var rows: [Float] = []
        for token in tokens {
            try session.decode(token)
            rows += session.logits
        }
        return Tensor(rows, shape: [tokens.count, 60])
    }

    @Test(arguments: ["teal", "wina", "cats", "spark", "r-sparse", "teal+top", "wina+top"])
    func nothingLeftOutIsTheDenseModelToTheBit(_ name: String) throws {
        let decoder = try Skip.decoder()
        let (gated, gate) = try plan("\(name):0", decoder).applied(to: decoder)
        let tokens = Skip.tokens(20, seed: 8)
        #expect(try logits(gated, gate, tokens, oneByOne: true) == logits(decoder, nil, tokens, oneByOne: true))
        #expect(try logits(gated, gate, tokens) == logits(decoder, nil, tokens))
    }

    /// What is left out on a text that was not calibrated on is what was asked for, of the weights of all linear layers; and
    /// half of the bytes are really not read.
    @Test(arguments: [
        ("teal", 0.5, 0.03), ("wina", 0.5, 0.03), ("teal+top", 0.5, 0.001), ("wina+top", 0.5, 0.001),
        ("cats", 0.2, 0.03),
        ("cats", 0.3, 0.03), ("spark", 0.25, 0.06), ("wina", 0.25, 0.03),
    ])
    func theShareThatWasAskedForIsLeftOut(_ name: String, _ ratio: Double, _ tolerance: Double) throws {
        let decoder = try Skip.decoder()
        let (gated, gate) = try plan("\(name):\(ratio)", decoder).applied(to: decoder)
        let (meter, tokens) = (SkippingMeter(), Skip.tokens(100, seed: 9))
        let decoded = try logits(gated, gate, tokens, meter: meter, oneByOne: true)
        #expect(abs(meter.total.sparsity - ratio) < tolerance, "\(meter.total)")
        #expect(abs(meter.total.byteShare - (1 - ratio)) < tolerance, "\(meter.total)")
        #expect(meter.total.bytes == 100 * decoder.linearBytes)
        #expect(meter.total.bytesSkipped == meter.total.bytes - meter.total.bytesRead)
        #expect(meter.total.skipping == meter.total.vectors && meter.total.vectors == 100 * 14)
        // All at once it is the same choice, over zeros.
        let together = SkippingMeter()
        let batch = try logits(gated, gate, tokens, meter: together)
        #expect(Skip.error(batch, decoded) < 2e-4)
        #expect(together.total.skipping == 0 && together.total.bytes == 0)
        #expect(abs(together.total.sparsity - meter.total.sparsity) < 0.002)
        let loss = Skip.error(decoded, try logits(decoder, nil, tokens))
        #expect(loss > 1e-3)
    }

    /// Weights of a low-rank copy are read, and count as that: with them half of the weights are left out, and what is reported of weights is
    /// what is reported of bytes.
    @Test func bypassesCountAsRead() throws {
        // Weights of falling spectra, of which rank holds much.
        let decoder = try Skip.decoder().sparsified { _, matrix in
            let (u, s, vt) = try matrix.densified().svd()
            var left = u
            for i in 0..<s.count {
                let factor = s[0] / Float((i + 1) * (i + 1))
                for row in 0..<u.rows { left[row, i] *= factor }
            }
            return try WeightStore.make(left.multiplied(by: vt), layout: .dense, values: .f32)
        }
        let found = try plan("r-sparse:0.5", decoder)
        #expect(found.rules.contains { $0.rank > 0 })
        let (gated, gate) = try found.applied(to: decoder)
        let meter = SkippingMeter()
        _ = try logits(gated, gate, Skip.tokens(100, seed: 9), meter: meter, oneByOne: true)
        #expect(abs(meter.total.sparsity - (1 - meter.total.byteShare)) < 1e-9, "\(meter.total)")
        // Ranks are rounded down: what is left of a small matrix's budget is not spent.
        #expect(meter.total.sparsity > 0.47 && meter.total.sparsity < 0.6, "\(meter.total)")
        #expect(meter.total(.down).compared == 100 * 2 * 64 && meter.total(.key).compared == 100 * 2 * 32)
        // A matrix that reads no input, its copy alone, is kept in a file like the others.
        #expect(found.rules.contains { $0.share == 1 && $0.rank > 0 })
        let path = "/tmp/lacuna-plan-\(String(UInt64.random(in: 0 ... .max), radix: 36)).json"
        defer {
            try? FileSystem.remove(path)
            try? FileSystem.remove(path.replacing(".json", with: ".safetensors"))
        }
        try found.save(to: path)
        #expect(try ActivationPlan(contentsOf: path).rules == found.rules)
        let text = try FileSystem.readText(path)
        #expect(text.contains("\"rank\": 8"))
        try AtomicFile.write(text.replacing("\"rank\": 8", with: "\"rank\": 0"), to: path)
        #expect(throws: LacunaError.self) { try ActivationPlan(contentsOf: path) }
    }

    /// Layers that share a choice look at their input once, and the gate of a neuron's activations at each of these.
    @Test func numbersLookedAt() throws {
        let decoder = try Skip.decoder()
        func count(_ words: String) throws -> SkippingMeter {
            let (gated, gate) = try plan(words, decoder).applied(to: decoder)
            let meter = SkippingMeter()
            _ = try logits(gated, gate, Skip.tokens(10, seed: 9), meter: meter, oneByOne: true)
            return meter
        }
        // Query, key and value have one threshold; the input of down has 64 entries.
        let teal = try count("teal:0.3")
        #expect(teal.total.compared == 10 * 2 * (32 + 32 + 32 + 64))
        #expect(abs(teal.total.cost - 160 / Double(2 * 1024 + 2 * 512 + 3 * 2048)) < 1e-12)
        let cats = try count("cats:0.2")
        #expect(cats.total(.up).compared == 10 * 2 * 64 && cats.total(.query).compared == 0)
        #expect(cats.total(.down).compared == 10 * 2 * 64)
    }

    /// Choosing by column norms, at the same share, moves the outputs of random networks less; and both less than chance.
    @Test func weightedScoresLoseLess() throws {
        let decoder = try Skip.decoder(seed: 5)
        let tokens = Skip.tokens(100, seed: 9)
        let dense = try logits(decoder, nil, tokens)
        func distance(_ words: String) throws -> Double {
            let (gated, gate) = try plan(words, decoder).applied(to: decoder)
            let found = try logits(gated, gate, tokens)
            return zip(found.scalars, dense.scalars).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        }
        #expect(try distance("wina:0.5") < 0.9 * distance("teal:0.5"))
        #expect(try distance("wina:0.2") < distance("wina:0.5"))
    }

    @Test func neuronsAreThoseOfTheDefinition() throws {
        let decoder = try Skip.decoder()
        let found = try plan("cats:0.3", decoder)
        #expect(found.rules.count == 2 && found.rules.allSatisfy { $0.role == .up && $0.threshold != nil })
        // 0.3 of all weights is this share of what up and down have.
        let (all, reached) = (2 * (32 * 32 * 2 + 16 * 32 * 2 + 3 * 64 * 32), 2 * 2 * 64 * 32)
        #expect(abs(found.rules[0].share - 0.3 * Double(all) / Double(reached)) < 1e-9)
        let (gated, gate) = try found.applied(to: decoder)
        let hidden = Skip.gaussian([3, 32], seed: 4)
        var (a, b) = (hidden, hidden)
        var inputs: [Tensor<Float>] = []
        try gated.runBlock(0, hidden: &a, sequenceLength: 3, gate: gate) { names, rows, count in
            if names[0].contains("down") {
                inputs.append(Tensor(UnsafeBufferPointer(start: rows, count: count * 64), shape: [count, 64]))
            }
            if names[0].contains("gate") {
                inputs.append(Tensor(UnsafeBufferPointer(start: rows, count: count * 32), shape: [count, 32]))
            }
        }
        try decoder.runBlock(0, hidden: &b, sequenceLength: 3)
        let part = decoder.blocks[0].feedForward
        let gates = part.gate!.weight.applied(toRows: inputs[0])
        let ups = part.up.weight.applied(toRows: inputs[0])
        for i in 0..<3 * 64 {
            let x = gates.scalars[i]
            let activation = x / (1 + Float(exponential(Double(-x))))
            let expected = abs(activation) > found.rules[0].threshold! ? activation * ups.scalars[i] : 0
            #expect(abs(inputs[1].scalars[i] - expected) < 1e-4)
        }
        #expect(Skip.error(a, b) > 1e-4)
    }

    // MARK: Bypass

    @Test func bypassesOfFullRankAreExact() throws {
        let weight = Skip.gaussian([12, 20], seed: 1)
        let (u, s, vt) = try weight.svd()
        var left = u
        left.withMutablePointer { left in for r in 0..<12 { for i in 0..<12 { left[r * 12 + i] *= s[i] } } }
        let base = try InputMajorMatrix(weight, values: .f32)
        let bypass = try LowRankBypass(
            base, left: WeightStore.make(left, layout: .dense, values: .f32),
            right: WeightStore.make(vt, layout: .dense, values: .f32))
        let x = Skip.gaussian([3, 20], seed: 2)
        let expected = x.multiplied(by: weight, otherTransposed: true)
        var found = Tensor<Float>(zeros: [3, 12])
        let active: [UInt32] = [1, 4, 5, 19]
        x.withPointer { x in
            found.withMutablePointer { y in
                active.withUnsafeBufferPointer {
                    for t in 0..<3 { bypass.multiply(x + t * 20, activeInputs: $0, into: y + t * 12) }
                }
            }
        }
        #expect(Skip.error(found, expected) < 1e-5)
        let masked = Tensor(
            x.scalars.enumerated().map { active.contains(UInt32($0 % 20)) ? $1 : 0 }, shape: [3, 20])
        x.withPointer { x in
            masked.withPointer { masked in
                found.withMutablePointer { bypass.multiply(matrix: x, masked: masked, count: 3, into: $0) }
            }
        }
        #expect(Skip.error(found, expected) < 1e-5)
        #expect(Skip.error(bypass.applied(toRows: x), expected) < 1e-5)
        #expect(bypass.densified() == weight && bypass.rank == 12)
        func bytes(_ active: [UInt32]) -> Int {
            active.withUnsafeBufferPointer { bypass.bytesRead(activeInputs: $0) }
        }
        #expect(bytes(Array(0..<20)) == 4 * 240)
        #expect(bytes([0, 3, 4, 8, 9]) == 4 * 60 + 4 * (144 + 240))
        #expect(throws: LacunaError.self) { try LowRankBypass(base, left: base, right: base) }
    }

    /// Weights of low rank under noise: the searched split spends on rank, reads no more than the budget, and loses less than
    /// the same budget spent on inputs alone.
    @Test func searchedSplits() throws {
        let base = try Skip.decoder(seed: 3)
        let decoder = try base.sparsified { name, matrix in
            guard name.contains("mlp") else { return nil }
            let (u, s, vt) = try matrix.densified().svd()
            var left = u
            left.withMutablePointer { left in
                for r in 0..<u.rows { for i in 0..<u.columns { left[r * u.columns + i] *= s[i] / Float(1 + i * i) } }
            }
            return try WeightStore.make(left.multiplied(by: vt), layout: .dense, values: .f32)
        }
        let tokens = Skip.tokens(100, seed: 9)
        let dense = try logits(decoder, nil, tokens)
        func distance(_ words: String) throws -> (Double, SkippingMeter, ActivationPlan) {
            let plan = try plan(words, decoder)
            let (gated, gate) = try plan.applied(to: decoder)
            let meter = SkippingMeter()
            let found = try logits(gated, gate, tokens, meter: meter, oneByOne: true)
            let sum = zip(found.scalars, dense.scalars).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
            return (sum, meter, plan)
        }
        let (searched, meter, found) = try distance("r-sparse:0.5")
        #expect(try searched < distance("wina:0.5").0)
        #expect(found.rules.contains { $0.rank > 0 } && found.factors.count == found.rules.count { $0.rank > 0 })
        #expect(meter.total.byteShare < 0.55)
        // A whole split is WINA.
        typealias C = ActivationCalibrator
        #expect(C.split(inputs: 100, outputs: 50, sparsity: 0.5, share: 1) == (50, 0))
        let (channels, rank) = C.split(inputs: 100, outputs: 50, sparsity: 0.5, share: 0.6)
        #expect(channels == 30 && rank == 6)
        #expect(channels * 50 + rank * 150 <= 2500)
        #expect(C.split(inputs: 100, outputs: 50, sparsity: 0.5, share: 0) == (0, 16))
        #expect(C.split(inputs: 100, outputs: 50, sparsity: 0.99, share: 0.98) == (0, 1))
    }

    // MARK: Stores

    /// Pruned weights and gated inputs save together: half of half.
    @Test(arguments: [StorageLayout.bitmask, .csr, .nm(n: 2, m: 4)])
    func prunedWeightsAreSkippedToo(_ layout: StorageLayout) throws {
        let dense = try Skip.decoder()
        let pruned = try dense.sparsified { _, matrix in
            let weight = matrix.densified()
            let mask = Tensor<Float>(
                weight.scalars.enumerated().map { i, w in
                    let (row, column) = (i / weight.columns, i % weight.columns)
                    return column % 4 / 2 == row % 2 ? w : 0
                }, shape: weight.shape)
            return try WeightStore.make(mask, layout: layout, values: .bf16)
        }
        let (gated, gate) = try plan("wina:0.5", pruned).applied(to: pruned)
        let (meter, tokens) = (SkippingMeter(), Skip.tokens(60, seed: 2))
        let found = try logits(gated, gate, tokens, meter: meter, oneByOne: true)
        #expect(meter.total.byteShare > 0.4 && meter.total.byteShare < 0.6)
        #expect(meter.total.bytesRead / 60 < (layout == .csr ? 60 : 40) * dense.linearBytes / 100 / 2)
        // The same inputs left out of the dense copy of the pruned weights.
        let plain = try pruned.sparsified { try WeightStore.make($1.densified(), layout: .dense, values: .f32) }
        #expect(Skip.error(found, try logits(plain, gate, tokens, oneByOne: true)) < 0.03)
    }

    @Test func whatCannotLeaveInputsUnreadIsRefusedByName() throws {
        let decoder = try Skip.decoder(values: .int8)
        let plan = try plan("teal:0.5", decoder)
        let error = #expect(throws: LacunaError.self) { try plan.applied(to: decoder) }
        #expect("\(error!)".contains("self_attn.q_proj") && "\(error!)".contains("int8"))
        let blocks = try Skip.decoder().sparsified { _, matrix in
            try WeightStore.make(matrix.densified(), layout: .bsr(rows: 4, columns: 4), values: .f32)
        }
        let other = try self.plan("wina:0.5", blocks)
        #expect(throws: LacunaError.self) { try other.applied(to: blocks) }
    }

    // MARK: Requests and files

    @Test func requests() throws {
        #expect(try "\(ActivationRequest("WINA+top:0.25"))" == "wina+top:0.25")
        #expect(try ActivationMethod.named("r-sparse").hasBypass)
        #expect(ActivationMethod.all.count == 5 && Set(ActivationMethod.all.map(\.card.name)).count == 5)
        for words in [
            "", "wina", "wina:", "wina:1", "wina:-0.1", "wina:nan", "wino:0.5", "spark+top:0.5", "wina+:0.5", "a:b:c",
        ] {
            #expect(throws: LacunaError.self, "\(words)") { try ActivationRequest(words) }
        }
        let error = #expect(throws: LacunaError.self) { try ActivationMethod.named("wino") }
        #expect("\(error!)".contains("did you mean 'wina'"))
        // Neurons reach up and down only: here 0.44 of the weights.
        let decoder = try Skip.decoder()
        #expect(throws: LacunaError.self) { try plan("cats:0.6", decoder) }
        #expect(throws: LacunaError.self) {
            try ActivationCalibrator(ActivationRequest("teal:0.5")).plan(decoder, calibration: nil)
        }
        #expect(throws: LacunaError.self) {
            try ActivationCalibrator(ActivationRequest("cats:0.3"), allocation: .greedy())
        }
        let long = try CalibrationSet(text: Skip.tokens(200, seed: 1), sequences: 1, length: 200)
        #expect(throws: LacunaError.self) {
            try ActivationCalibrator(ActivationRequest("teal:0.5")).plan(decoder, calibration: long)
        }
        #expect(!(try ActivationCalibrator(ActivationRequest("teal+top:0.5")).needsText))
    }

    @Test(arguments: ["wina:0.4", "r-sparse:0.5", "cats:0.3", "spark:0.25", "teal+top:0.5"])
    func plansAreKeptInFiles(_ words: String) throws {
        let decoder = try Skip.decoder(seed: 7)
        let plan = try plan(words, decoder)
        let path = "/tmp/lacuna-plan-\(String(UInt64.random(in: 0 ... .max), radix: 36)).json"
        defer {
            try? FileSystem.remove(path)
            try? FileSystem.remove(path.replacing(".json", with: ".safetensors"))
        }
        try plan.save(to: path)
        let read = try ActivationPlan(contentsOf: path)
        #expect(read.request == plan.request && read.rules == plan.rules && read.model == plan.model)
        #expect(read.calibrationTokens == plan.calibrationTokens && read.allocation == plan.allocation)
        let tokens = Skip.tokens(20, seed: 8)
        let (a, b) = (try plan.applied(to: decoder), try read.applied(to: decoder))
        #expect(try logits(a.decoder, a.gate, tokens) == logits(b.decoder, b.gate, tokens))
        // Rounded weights are the same model's, others are not.
        _ = try read.model.check(Skip.decoder(seed: 7, values: .bf16), file: path)
        _ = try read.model.check(Skip.decoder(seed: 7, values: .int4), file: path)
        let error = #expect(throws: LacunaError.self) { try read.applied(to: Skip.decoder(seed: 6), file: path) }
        #expect("\(error!)".contains(path))
        var other = Skip.configuration
        other.intermediateSizes = [64]
        #expect(throws: LacunaError.self) { try read.applied(to: Transformer(random: other, seed: 7)) }
        // Damaged files are refused.
        let text = try FileSystem.readText(path)
        for (old, new) in [
            ("\"share\": 0.", "\"share\": 7."), ("activation plan", "something"), ("\"version\": 1", "\"version\": 2"),
            ("self_attn.q_proj", "self_attn.x"), ("mlp.up_proj", "mlp.x"),
        ] where text.contains(old) {
            try AtomicFile.write(text.replacing(old, with: new), to: path)
            #expect(throws: LacunaError.self, "\(old)") { try ActivationPlan(contentsOf: path) }
        }
    }

    // MARK: Allocation

    @Test func greedyAllocationsSpendTheBudgetWhereItIsCheap() throws {
        let greedy = RatioAllocation.greedy(step: 0.05)
        let weights = [100, 300, 600]
        // The middle one costs nothing.
        let ratios = greedy.ratios(weights: weights, target: 0.3) { $0[0] + $0[2] }
        #expect(abs(ratios[1] - 0.95) < 0.17 && ratios[1] <= 0.95)
        let total = zip(ratios, weights).reduce(0) { $0 + $1.0 * Double($1.1) }
        #expect(abs(total - 300) < 1e-6)
        #expect(RatioAllocation.uniform.ratios(weights: weights, target: 0.3) { _ in 0 } == [0.3, 0.3, 0.3])
        #expect(greedy.ratios(weights: weights, target: 0) { _ in 0 } == [0, 0, 0])
        #expect(
            RatioAllocation("greedy") == .greedy() && RatioAllocation("uniform") == .uniform
                && RatioAllocation("x") == nil)
    }

    @Test func greedyPlansLoseLessInTheirBlocks() throws {
        let decoder = try Skip.decoder(seed: 11)
        let (uniform, greedy) = (try plan("wina:0.5", decoder), try plan("wina:0.5", decoder, allocation: .greedy()))
        #expect(greedy.allocation == "greedy" && Set(greedy.rules.map(\.share)).count > 2)
        for layer in 0..<2 {
            let rules = greedy.rules.filter { $0.layer == layer }
            let weights = rules.map { decoder.configuration.shape(of: $0.role, layer: layer).reduce(1, *) }
            let left = zip(rules, weights).reduce(0.0) { $0 + $1.0.share * Double($1.1) }
            #expect(abs(left / Double(weights.reduce(0, +)) - 0.5) < 1e-6)
        }
        let states = try decoder.embed(Skip.tokens(64, seed: 21))
        func error(_ plan: ActivationPlan) throws -> Double {
            let (gated, gate) = try plan.applied(to: decoder)
            var (a, b) = (states, states)
            try gated.runBlock(0, hidden: &a, sequenceLength: 64, gate: gate)
            try decoder.runBlock(0, hidden: &b, sequenceLength: 64)
            return zip(a.scalars, b.scalars).reduce(0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
        }
        #expect(try error(greedy) < error(uniform))
    }

    // MARK: Rotation

    @Test func turnedStreamsComputeTheSame() throws {
        // Readers that share directions, as those of trained networks do.
        let shared = try Skip.gaussian([32, 32], seed: 31).qr().q
        let lengths = Tensor((0..<32).map { Float(exponential(-Double($0) / 6)) }, shape: [32, 1])
        let base = try Skip.decoder(seed: 13).sparsified { name, matrix in
            if name.contains("o_proj") || name.contains("down") { return nil }
            return try WeightStore.make(
                matrix.densified().multiplied(by: shared * lengths), layout: .dense, values: .f32)
        }
        // Gains that are not 1.
        var blocks = base.blocks
        for layer in blocks.indices {
            blocks[layer].attentionNorm.weight = Tensor((0..<32).map { 0.5 + Float($0) / 32 })
            blocks[layer].feedForwardNorm.weight = Tensor((0..<32).map { 2 - Float($0) / 32 })
        }
        let decoder = try Transformer(
            configuration: base.configuration, embedding: base.embedding, blocks: blocks,
            finalNorm: Normalization(weight: Tensor((0..<32).map { 1 + Float($0) / 16 }), bias: nil, epsilon: 1e-5),
            untiedHead: nil)
        let turned = try decoder.rotatedToColumns()
        let tokens = Skip.tokens(30, seed: 1)
        #expect(Skip.error(try turned.logits(tokens), try decoder.logits(tokens)) < 1e-4)
        func slant(_ decoder: Transformer) -> Double {
            var (off, all) = (0.0, 0.0)
            for block in decoder.blocks {
                for role in [LinearRole.query, .key, .value, .gate, .up] {
                    let w = block[role].weight.densified()
                    let gram = w.multiplied(by: w, transposed: true)
                    for i in 0..<32 {
                        for j in 0..<32 {
                            let squared = Double(gram[i, j] * gram[i, j])
                            all += squared
                            if i != j { off += squared }
                        }
                    }
                }
            }
            return off / all
        }
        #expect(slant(turned) < 0.8 * slant(decoder))
    }

    @Test func languageModelsSkip() throws {
        // Without a tokenizer's help: the generator over tokens.
        let decoder = try Skip.decoder()
        let meter = SkippingMeter()
        let (gated, gate) = try plan("teal:0.5", decoder).applied(to: decoder)
        let generator = Generator(gated, skipping: Skipping(gate: gate, meter: meter))
        let found = try generator.generate([1, 5, 9], .init(maximumTokens: 12, ignoresEnd: true))
        let plain = try Generator(decoder).generate([1, 5, 9], .init(maximumTokens: 12, ignoresEnd: true))
        let saved = plain.bytesPerToken - found.bytesPerToken
        #expect(Double(saved) > 0.4 * Double(decoder.linearBytes) && Double(saved) < 0.6 * Double(decoder.linearBytes))
        meter.reset()
        #expect(meter.total.vectors == 0 && meter.total.byteShare == 1)
    }
}
