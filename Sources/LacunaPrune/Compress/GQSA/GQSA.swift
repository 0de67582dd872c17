import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Prunes whole quantisation groups and keeps the others in 4 bits: groups of consecutive inputs of a row, of which every row
/// keeps equally many, with one position, scale and zero each (``CodeGroupMatrix``).
///
/// 1. A group's importance is the mean of `w² / [H⁻¹]_jj` over its entries (or of `w² H_jj`, or of `w²`), `H` from the layer's inputs.
/// 2. The kept weights are fitted to make up for the others, by conjugate gradients on `tr((V - W) H (V - W)ᵀ)` over the kept
///    entries, and rounded: `s = (max - min) / 15`, `z = round(-min / s)`, 0 within the range.
/// 3. Values, scales and zeros are trained through the rounding: of a matrix by itself on its outputs, and in a model block by
///    block on what the dense block gives for what the compressed blocks before it give (BQPO).
/// 4. Scales and zeros of the whole model are trained on the prediction of the calibration text, codes and groups as they are
///    (E2E-OQP).
///
/// Chao Zeng, Songwei Liu, Shu Yang, Fangmin Chen, Lean Fu, Xing Mei, "GQSA: Group Quantization and Sparsity for Accelerating
/// Large Language Model Inference", arXiv 2412.17560. Groups of 16 and the two stages are theirs; rates and numbers of steps, the
/// importance's exact form and the fit before rounding are not from the paper. Without training, pruned groups cost more quality than
/// 2:4 does.
public struct GQSA: RecoveringCompression {
    /// What decides which groups stay.
    public enum Saliency: String, Sendable, Hashable, CaseIterable {
        /// `w² / [H⁻¹]_jj`: what removing a weight costs after the others have made up for it.
        case hessian
        /// `w² H_jj`.
        case activation
        /// `w²`.
        case magnitude
    }

    /// Columns of a group: a multiple of 16, at most 256, that divides the inputs of every layer.
    public var groupSize: Int
    /// What decides which groups stay.
    public var saliency: Saliency
    /// Steps of conjugate gradients that fit the kept weights before they are rounded; 0 leaves them as they are.
    public var fitSteps: Int
    /// Training of a matrix by itself, on rows that have its inputs' second moments.
    public var layer: Reconstruction
    /// Training of a block, on sequences.
    public var block: Reconstruction
    /// Training of all scales and zeros, on sequences.
    public var model: Reconstruction
    /// Share of the mean diagonal of `H` added to its diagonal.
    public var damping: Double
    /// Decides the order of sequences.
    public var seed: UInt64

    /// Rates are relative to the mean size of what they change.
    public init(
        groupSize: Int = 16, saliency: Saliency = .hessian, fitSteps: Int = 40,
        layer: Reconstruction = Reconstruction(steps: 40, learningRate: 3e-3, batch: 1),
        block: Reconstruction = Reconstruction(steps: 60, learningRate: 2e-3, batch: 4),
        model: Reconstruction = Reconstruction(steps: 40, learningRate: 1e-3, batch: 4), damping: Double = 0.01,
        seed: UInt64 = 0
    ) {
        (self.groupSize, self.saliency, self.fitSteps) = (groupSize, saliency, fitSteps)
        (self.layer, self.block, self.model) = (layer, block, model)
        (self.damping, self.seed) = (damping, seed)
    }

    public var card: MethodCard {
        MethodCard(
            name: "gqsa", family: .compensating,
            paper: .init(
                authors: "Chao Zeng, Songwei Liu, Shu Yang, Fangmin Chen, Lean Fu, Xing Mei",
                title: "GQSA: Group Quantization and Sparsity for Accelerating Large Language Model Inference",
                arXiv: "2412.17560"),
            composition: [
                "w² / [H⁻¹]_jj", "blocks 1 × G within rows", "4-bit groups trained by block, then scales and zeros",
            ])
    }
    public var requirement: ScoreRequirement { .gram }
    public var fixedValues: ValueType? { .int4 }

    /// Groups that a row of so many columns keeps.
    private func kept(_ columns: Int, sparsity: Double) throws -> Int {
        guard groupSize % 16 == 0, (16...256).contains(groupSize), columns % groupSize == 0 else {
            throw LacunaError.invalidArgument(
                "groups", reason: "of \(groupSize) columns: a multiple of 16, at most 256, that divides \(columns)")
        }
        let groups = columns / groupSize
        return groups - Selection.removedCount(sparsity: sparsity, of: groups)
    }

    /// Which groups stay.
    ///
    /// - Throws: As ``compress(_:statistics:request:)``.
    public func mask(
        _ weight: Tensor<Float>, statistics: InputStatistics?, sparsity: Double
    ) throws -> SparsePattern {
        let seen = try requireSeen(weight, statistics)
        let scores: Tensor<Float>
        switch saliency {
        case .hessian:
            scores = try OptimalBrainSurgeonScore(damping: damping).scores(weight: weight, statistics: seen)
        case .activation:
            let size = try ActivationWeightedScore().scores(weight: weight, statistics: seen)
            scores = size * size
        case .magnitude: scores = weight * weight
        }
        return try Selection.mask(
            scores: scores, pattern: .block(rows: 1, columns: groupSize, .row),
            amount: .count(kept(weight.columns, sparsity: sparsity)))
    }

    public func compress(
        _ weight: Tensor<Float>, statistics: InputStatistics?, request: CompressionRequest
    ) throws -> any StoredMatrix {
        guard request.values == .int4 else {
            throw LacunaError.invalidArgument("values", reason: "\(card.name) stores int4, not \(request.values)")
        }
        guard fitSteps >= 0 else { throw LacunaError.invalidArgument("fit", reason: "\(fitSteps) steps") }
        for part in [layer, block, model] { try part.validate() }
        let seen = try requireSeen(weight, statistics)
        guard weight.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.numerical(operation: card.name, reason: "a weight of '\(request.name)' is not finite")
        }
        let mask = try mask(weight, statistics: seen, sparsity: request.sparsity ?? 0)
        let hessian = try seen.hessian(Float.self, damping: damping)
        let fitted = Self.fitted(weight, mask, hessian: hessian, steps: fitSteps)
        var groups = try CodeGroups(DenseRows(fitted, mask: mask), size: groupSize)
        if layer.steps > 0, groups.kept > 0 {
            let trained = CodeGroupWeight(groups, values: fitted)
            // Rows with the inputs' second moments: the error of what a layer makes of them is that of its outputs.
            let rows = try hessian.cholesky().transposed()
            let target = rows.multiplied(by: weight, otherTransposed: true)
            try layer.run(
                trained.parameters, pair: { _ in (rows, target) }, forward: { trained.apply($0, bias: nil) })
            groups = trained.codeGroups
        }
        return try CodeGroupMatrix(groups)
    }

    /// The matrix on the kept entries that changes the outputs least: the minimum of `tr((V - W) H (V - W)ᵀ)`, approached by
    /// conjugate gradients with the diagonal of `H` as preconditioner, all rows side by side.
    ///
    /// - Complexity: A product of `W`'s shape with `H` in each step.
    static func fitted(
        _ weight: Tensor<Float>, _ mask: SparsePattern, hessian: Tensor<Float>, steps: Int
    ) -> Tensor<Float> {
        let (rows, columns) = (weight.rows, weight.columns)
        let inverse = (0..<columns).map { 1 / max(hessian[$0, $0], .leastNormalMagnitude) }
        func preconditioned(_ matrix: Tensor<Float>) -> Tensor<Float> { matrix * Tensor(inverse, shape: [1, columns]) }
        func products(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Tensor<Float> {
            (a * b).sum(axis: 1, keepingAxis: true)
        }
        /// a / b of every row, 0 where nothing is left to do.
        func ratios(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Tensor<Float> {
            Tensor(zip(a.scalars, b.scalars).map { $1 > 0 ? $0 / $1 : 0 }, shape: [rows, 1])
        }
        var result = mask.applied(to: weight)
        if steps == 0 || rows == 0 { return result }
        var residual = mask.applied(to: (weight - result).multiplied(by: hessian))
        var direction = preconditioned(residual)
        var energy = products(residual, direction)
        for _ in 0..<steps {
            let image = mask.applied(to: direction.multiplied(by: hessian))
            let length = ratios(energy, products(direction, image))
            result += length * direction
            residual -= length * image
            let next = preconditioned(residual)
            let rest = products(residual, next)
            direction = next + ratios(rest, energy) * direction
            energy = rest
        }
        return result
    }

    // MARK: In a model

    public func recover(
        _ decoder: inout Transformer, layer index: Int, names: [String], states: BlockStates,
        step: (_ step: Int) throws -> Void
    ) throws {
        guard block.steps > 0, states.sequences > 0 else { return }
        let own = Set(names)
        let network = try TrainableTransformer(decoder) { name, matrix in
            guard own.contains(name), let groups = matrix as? CodeGroupMatrix else { return FrozenWeight(matrix) }
            return CodeGroupWeight(groups.codeGroups, values: matrix.densified())
        }
        let weights = Self.onlyGroupsTrain(network)
        try block.run(block: network.blocks[index], states, seed: seed &+ UInt64(index), step: step)
        for (name, weight) in weights where own.contains(name) {
            decoder[linear: name] = try CodeGroupMatrix(weight.codeGroups)
        }
    }

    public func finish(
        _ decoder: inout Transformer, names: [String], calibration: CalibrationSet, step: (_ step: Int) throws -> Void
    ) throws {
        guard model.steps > 0 else { return }
        let own = Set(names)
        let network = try TrainableTransformer(decoder) { name, matrix in
            guard own.contains(name), let groups = matrix as? CodeGroupMatrix else { return FrozenWeight(matrix) }
            return CodeGroupWeight(groups.codeGroups)
        }
        network.recomputesBlocks = true
        let weights = Self.onlyGroupsTrain(network)
        let length = calibration.sequenceLength
        let examples = (0..<calibration.sequenceCount).map { index in
            let tokens = calibration.tokens[index * length..<(index + 1) * length].map { Int32($0) }
            return TokenExamples.Example(tokens: tokens, counts: Array(repeating: true, count: length))
        }
        guard length > 1 else { return }
        var plan = TrainingPlan(
            steps: model.steps, learningRate: .cosine(from: model.learningRate, to: 0, steps: model.steps))
        (plan.clipNorm, plan.seed, plan.logEvery, plan.savesModel) = (1, seed, model.steps, false)
        try withoutActuallyEscaping(step) { step in
            let trainer = try Trainer(
                model: network, optimizer: Adam(learningRate: 0),
                source: TokenExamples(
                    examples, length: length, batchSize: min(model.batch, examples.count), seed: seed),
                plan: plan, hooks: [StepHook(step)],
                loss: { batch, tape in network.loss(batch.ids, next: batch.next, batch: batch.count, on: tape) })
            try trainer.train()
        }
        for (name, weight) in weights { decoder[linear: name] = try CodeGroupMatrix(weight.codeGroups) }
    }

    /// Tells somebody of every step.
    private final class StepHook: TrainingHook {
        private let body: (Int) throws -> Void
        init(_ body: @escaping (Int) throws -> Void) { self.body = body }
        func afterStep(_ run: TrainingRun) throws { try body(run.step) }
    }

    /// Freezes everything but 4-bit groups, which are returned by the names of their weights.
    private static func onlyGroupsTrain(_ network: TrainableTransformer) -> [(name: String, weight: CodeGroupWeight)] {
        let found = network.linears.compactMap { entry in
            (entry.layer.weight as? CodeGroupWeight).map { (entry.name + ".weight", $0) }
        }
        let own = Set(found.flatMap { $0.1.parameters }.map { ObjectIdentifier($0) })
        for parameter in network.parameters where !own.contains(ObjectIdentifier(parameter)) {
            parameter.isTrainable = false
        }
        return found.map { (name: $0.0, weight: $0.1) }
    }
}
