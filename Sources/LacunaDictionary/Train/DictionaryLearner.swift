import LacunaLearn
import LacunaSparse
import LacunaTensor

/// One dictionary in training: its loss, and what happens to it around the steps of a ``Trainer``.
final class DictionaryLearner: TrainingHook {
    let dictionary: SparseAutoencoder
    let use: FeatureUse
    private let settings: DictionaryTraining
    private let steps: Int
    private let logEvery: Int
    private let label: String
    /// Batches of the run, for what looks beyond the present one.
    private let batch: (Int) -> ActivationBatch
    /// Every process is given whole batches and takes its share of their tokens; what depends on all of them is asked of the others.
    private let collective: any Collective
    /// What activations are multiplied by while the dictionary is trained.
    private var scale: (input: Float, output: Float) = (1, 1)
    /// The code of the present step, and what it left.
    private var code: (pattern: SparsePattern, values: [Float])?
    /// What thresholds are of, if not the values of the code.
    private var scores: [Float]?
    private var quality = (error: 0.0, spread: 0.0)

    /// - Parameter label: Before the names of metrics; empty for a dictionary by itself.
    init(
        _ dictionary: SparseAutoencoder, _ settings: DictionaryTraining, steps: Int, logEvery: Int, label: String,
        collective: any Collective = SingleProcess(), batch: @escaping (Int) -> ActivationBatch
    ) throws {
        try settings.validate(for: dictionary.configuration, steps: steps)
        (self.dictionary, self.settings, self.steps, self.logEvery) = (dictionary, settings, steps, logEvery)
        (self.label, self.batch, self.collective) = (label, batch, collective)
        use = FeatureUse(width: dictionary.width)
    }

    // MARK: Before and after the run

    func begin(_ run: TrainingRun) throws {
        let first = batch(0)
        try check(first)
        if settings.startsAtMedian {
            dictionary.decoderBias.value = GeometricMedian.of(rows: scaled(first, by: measuredScale(first)).goal)
        }
    }

    func attach(_ run: TrainingRun) throws {
        // The first batch is the same whenever it is asked for, so the scale need not be kept.
        scale = measuredScale(batch(0))
    }

    func end(_ run: TrainingRun) throws { dictionary.rescale(input: scale.input, output: scale.output) }

    private func measuredScale(_ first: ActivationBatch) -> (input: Float, output: Float) {
        guard settings.scalesInputs else { return (1, 1) }
        func factor(_ x: Tensor<Float>) -> Float {
            let norms = x.withPointer { Directions.norms($0, rows: x.rows, columns: x.columns) }
            let mean = norms.reduce(0.0) { $0 + Double($1) } / Double(max(x.rows, 1))
            return mean > 0 ? Float(Double(x.columns).squareRoot() / mean) : 1
        }
        let input = factor(first.inputs)
        return (input, first.targets.map(factor) ?? input)
    }

    private func scaled(
        _ batch: ActivationBatch, by scale: (input: Float, output: Float)
    ) -> (batch: ActivationBatch, goal: Tensor<Float>) {
        var result = batch
        result.inputs = batch.inputs.multiplied(byNumber: scale.input)
        result.targets = batch.targets?.multiplied(byNumber: scale.output)
        return (result, result.targets ?? result.inputs)
    }

    private func check(_ batch: ActivationBatch) throws {
        let configuration = dictionary.configuration
        try dictionary.requireShapes(batch)
        if batch.inputs.rows < collective.count {
            throw LacunaError.invalidArgument(
                "batch", reason: "\(batch.inputs.rows) tokens for \(collective.count) processes to share")
        }
        for (name, tensor) in [
            ("activations", batch.inputs), ("targets", batch.targets), ("gradients", batch.gradients),
        ] {
            if let tensor, !tensor.isFinite {
                throw LacunaError.numerical(
                    operation: "training a dictionary", reason: "the \(name) of batch \(batch.step) are not all finite")
            }
        }
        if case .gradientAware(_, let strength) = configuration.rule, strength > 0, batch.gradients == nil {
            throw LacunaError.invalidArgument(
                "gradients", reason: "the rule needs them, and batch \(batch.step) has none")
        }
    }

    // MARK: The loss

    func loss(_ original: ActivationBatch, on tape: Tape<Float>, step: Int) throws -> Variable<Float> {
        try check(original)
        let (batch, goal) = scaled(original.tokens(collective.share(of: original.inputs.rows)), by: scale)
        // Of all processes together: their losses add up to that of the batch.
        let tokens = Float(max(original.inputs.rows, 1))
        let rule = dictionary.rule
        var ranking: [Int]?
        if case .featureChoice = rule { ranking = use.ranking }
        let pass = try dictionary.pass(
            batch, ranking: ranking, prefixes: settings.prefixes, on: tape, among: collective)
        let target = tape.constant(goal)
        func squaredError(_ y: Variable<Float>) -> Variable<Float> {
            let difference = y - target
            return (difference * difference).sum().affine(1 / tokens)
        }
        var loss = squaredError(pass.reconstructions[0])
        for other in pass.reconstructions.dropFirst() { loss = loss + squaredError(other) }
        loss = loss.affine(1 / Float(pass.reconstructions.count))
        if let gate = pass.gateReconstruction { loss = loss + squaredError(gate) }
        let values = pass.values.withPointer { Array(UnsafeBufferPointer(start: $0, count: pass.values.count)) }
        if let term = try penalty(pass, tokens: tokens, step: step) { loss = loss + term }
        let residual = goal.subtracting(pass.reconstructions.last!.value)
        if let term = try auxiliary(batch, residual: residual, on: tape) { loss = loss + term }
        code = (pass.pattern, values)
        scores = pass.norms.map { norms in norms.withPointer { n in values.indices.map { values[$0] * n[$0] } } }
        if isLogged(step + 1) {
            quality = (
                try collective.sum(residual.sumOfSquares), try Moments.sumOfSquaresAroundMean(goal, among: collective)
            )
        }
        return loss
    }

    private typealias Moments = DictionaryQuality.Moments

    private func penalty(_ pass: DictionaryPass, tokens: Float, step: Int) throws -> Variable<Float>? {
        guard let sparsity = settings.sparsity else { return nil }
        let weight = sparsity.weight(step)
        if case .jumpReLU(let k, let bandwidth) = dictionary.rule {
            let threshold = dictionary.logThreshold!.on(pass.values.tape)
            let count = pass.raw!.countAbove(threshold, at: pass.pattern, bandwidth: bandwidth)
            let own = count.item
            let all = try collective.sum(own)
            let excess = count.affine(1 / (tokens * Float(k)), (all - own) / (tokens * Float(k)) - 1)
            let square = (excess * excess).sum()
            // Every process has the whole square, whose derivative is by its own tokens; their values are to add up to it.
            let surplus = square.item * (1 - 1 / Float(collective.count))
            return square.affine(Float(weight), -Float(weight) * surplus)
        }
        var strengths = pass.gate ?? pass.values
        if let norms = pass.norms { strengths = strengths * norms }
        let power = sparsity.power(step)
        // Strengths are positive: relu and gate keep nothing else. λ follows a power that changes, so that the
        // penalty of the present codes stays what it was.
        let state = use.penalty.buffer.pointer
        func total(_ p: Double) -> Double {
            strengths.withPointer { v in
                (0..<strengths.count).reduce(0.0) { $0 + (v[$1] > 0 ? LacunaTensor.power(Double(v[$1]), p) : 0) }
            }
        }
        if try collective.any(strengths.count > 0), Double(state[1]) != power {
            let sums = try collective.sum([total(Double(state[1])), total(power)])
            if sums[0] > 0 && sums[1] > 0 { state[0] *= Float(sums[0] / sums[1]) }
            state[1] = Float(power)
        }
        if strengths.count == 0 { return nil }
        let sum = power == 1 ? strengths.sum() : (strengths + 1e-12).raised(to: power).sum()
        return sum.affine(Float(weight) * state[0] / tokens)
    }

    private func auxiliary(
        _ batch: ActivationBatch, residual: Tensor<Float>, on tape: Tape<Float>
    ) throws -> Variable<Float>? {
        guard let term = settings.auxiliary, let encoder = dictionary.encoderWeight else { return nil }
        let columns = use.chosen(term.choice, active: Double(dictionary.rule.activeFeatures ?? 1))
        if columns.isEmpty || term.coefficient == 0 { return nil }
        let spread = try Moments.sumOfSquaresAroundMean(residual, among: collective)
        if !(spread > 0) { return nil }
        let d = dictionary.configuration.inputDimensions
        var full = dictionary.preActivations(batch.inputs)
        let rows = Buffer<Float>(uninitialized: columns.count * d)
        for (i, j) in columns.enumerated() {
            (rows.pointer + i * d).update(from: encoder.buffer.pointer + j * d, count: d)
        }
        let bias = full.bias
        let norms = full.featureScale
        full = PreActivations(inputs: batch.inputs, weight: rows.pointer, bias: columns.map { bias[$0] })
        full.featureScale = norms.map { norms in columns.map { norms[$0] } }
        let count = min(term.count ?? max(dictionary.configuration.outputDimensions / 2, 1), columns.count)
        let part = withExtendedLifetime(rows) { full.selected(.token(count), signed: dictionary.rule.isSigned) }
        if part.count == 0 { return nil }
        let pattern = part.pattern.renamed(columns, of: dictionary.width)
        let center = dictionary.configuration.centersInputs ? dictionary.decoderBias.on(tape) : nil
        let values = tape.constant(batch.inputs).sampledLinear(
            center: center, encoder.on(tape), bias: dictionary.encoderBias!.on(tape), at: pattern, known: part.values)
        let difference = values.decoded(dictionary.decoderWeight.on(tape), at: pattern) - tape.constant(residual)
        return (difference * difference).sum().affine(Float(term.coefficient / spread))
    }

    // MARK: Around the steps

    func beforeStep(_ run: TrainingRun) throws {
        let rate = settings.rate(width: dictionary.width) * (settings.resampling?.rate(run.step) ?? 1)
        for parameter in dictionary.parameters { parameter.rateFactor = rate }
    }

    func gradientsReady(_ run: TrainingRun) throws {
        let decoder = dictionary.decoderWeight
        if normalizes, decoder.hasGradient {
            Directions.project(
                decoder.gradientPointer, tangentTo: decoder.buffer.pointer, rows: dictionary.width,
                columns: dictionary.configuration.outputDimensions)
        }
        if let clipNorm = settings.clipNorm { Parameter.clipGradients(dictionary.trainableParameters, norm: clipNorm) }
    }

    func afterStep(_ run: TrainingRun) throws {
        if normalizes {
            Directions.normalize(
                dictionary.decoderWeight.buffer.pointer, rows: dictionary.width,
                columns: dictionary.configuration.outputDimensions)
            dictionary.decoderWeight.noteChange()
        }
        guard let code else { return }
        try use.note(code.pattern, values: code.values, decay: settings.activityDecay, among: collective)
        let start = settings.thresholdStart ?? min(1000, steps / 2)
        if dictionary.rule.looksAtBatches, run.step >= start {
            try dictionary.averageThresholds(
                code.pattern, scores ?? code.values, decay: run.step == start ? 0 : settings.thresholdDecay,
                among: collective)
        }
        let done = run.step + 1
        if let resampling = settings.resampling, done % resampling.every == 0,
            done / resampling.every <= resampling.times,
            done < steps
        {
            try resample(resampling, step: done, slots: run.optimizer.slotNames)
        }
        if isLogged(done) {
            let prefix = label.isEmpty ? "" : label + "."
            let totals = try collective.sum([code.values.count { $0 != 0 }, code.pattern.rows])
            let active = Double(totals[0]) / Double(max(totals[1], 1))
            let unexplained = quality.spread > 0 ? quality.error / quality.spread : .nan
            run.metrics += [
                (prefix + "unexplained", unexplained), (prefix + "active", active),
                (prefix + "dead", use.deadShare(afterTokens: deadAfter)),
            ]
        }
        self.code = nil
    }

    private var normalizes: Bool { settings.normalizesDirections && dictionary.configuration.parts.isEmpty }

    private func isLogged(_ done: Int) -> Bool { done % logEvery == 0 || done == steps }

    private var deadAfter: Int {
        if case .dead(let tokens)? = settings.auxiliary?.choice { tokens } else { 10_000_000 }
    }

    private func resample(_ settings: Resampling, step: Int, slots: [String]) throws {
        let quiet = use.quiet.buffer.pointer
        let tokens = Float(batch(0).inputs.rows) * Float(settings.every)
        let dead = (0..<dictionary.width).filter { quiet[$0] >= min(tokens, 0x1p24) }
        if dead.isEmpty || dead.count == dictionary.width { return }
        var candidates: [(vector: [Float], weight: Double)] = []
        for index in max(0, step - settings.batches)..<step {
            let (batch, goal) = scaled(batch(index), by: scale)
            let rest = goal.subtracting(dictionary.decode(try dictionary.encode(batch.inputs, scope: .batch)))
            let rows = goal.rows
            let errors = rest.withPointer { Directions.dots($0, $0, rows: rows, columns: goal.columns) }
            // A transcoder's inputs have other dimensions than its goal.
            let d = batch.inputs.columns
            batch.inputs.withPointer { x in
                for t in 0..<rows where errors[t] > 0 {
                    candidates.append((Array(UnsafeBufferPointer(start: x + t * d, count: d)), Double(errors[t])))
                }
            }
        }
        var generator = SeededGenerator(seed: self.settings.seed, stream: 0x5E5A &+ UInt64(step))
        // Without replacement by the largest u^(1/w): Efraimidis and Spirakis, 2006. Logarithms, so that nothing
        // underflows.
        let keyed = candidates.indices.map { i in
            (logarithm(max(generator.uniform(), 1e-300)) / candidates[i].weight, i)
        }
        let drawn = keyed.sorted { $0.0 != $1.0 ? $0.0 > $1.0 : $0.1 < $1.1 }.prefix(dead.count).map(\.1)
        dictionary.restart(
            zip(dead, drawn).map { ($0, candidates[$1].vector) }, encoderScale: Float(settings.encoderScale),
            dead: Set(dead), slots: slots)
        for j in dead { quiet[j] = 0 }
    }
}

extension SparsePattern {
    /// The same rows in a wider pattern, in which column `j` of this one is `columns[j]`; ascending.
    func renamed(_ columns: [Int], of width: Int) -> SparsePattern {
        withCompressedRows { starts, indices in
            SparsePattern(
                rows: rows, columns: width, starts: Buffer(starts),
                columnIndices: Buffer(indices.map { UInt32(columns[Int($0)]) }))
        }
    }
}
