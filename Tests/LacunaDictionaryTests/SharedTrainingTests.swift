import LacunaDictionary
import Testing

@testable import LacunaDictionary

/// Dictionaries that several processes train together, threads standing in for them, against one that does it alone.
@Suite struct SharedTrainingTests {
    private static let bed = try! SuperposedAtoms(dimensions: 8, atoms: 12, activity: .exactly(2), seed: 1)

    private static func source(_ tokens: Int = 41) -> GeneratedBatches {
        GeneratedBatches { [bed] step in
            var generator = SeededGenerator(seed: 4, stream: UInt64(step))
            let x = bed.draw(tokens, using: &generator).x
            return ActivationBatch(step: step, inputs: x, gradients: Tensor(normal: [tokens, 8], using: &generator))
        }
    }

    private static func settings(_ rule: SelectionRule) -> DictionaryTraining {
        var settings = DictionaryTraining()
        settings.learningRate = 3e-3
        settings.warmUp = 5
        settings.thresholdStart = 4
        settings.thresholdDecay = 0.8
        settings.auxiliary = rule == .matchingPursuit(3) ? nil : AuxiliaryLoss(.dead(afterTokens: 60), count: 3)
        switch rule {
        case .relu, .gated: settings.sparsity = SparsityPenalty(0.05)
        case .jumpReLU: settings.sparsity = SparsityPenalty(0.5)
        default: break
        }
        return settings
    }

    /// What training comes to: parameters, what is known of the use of features, and metrics.
    private struct Result: Sendable {
        var parameters: [[Float]]
        var metrics: [String: Double]
    }

    private static func trained(
        _ rules: [SelectionRule], _ collective: any Collective, steps: Int = 14, parts: [Int] = [], tokens: Int = 41,
        directory: String? = nil, stopAfter: Int? = nil, resumes: Bool = false,
        _ change: (inout DictionaryTraining) -> Void = { _ in }
    ) throws -> Result {
        let dictionaries = try rules.map { rule in
            var configuration = DictionaryConfiguration(inputDimensions: 8, width: 12, rule: rule)
            configuration.parts = parts
            var settings = settings(rule)
            change(&settings)
            return (dictionary: try SparseAutoencoder(configuration, seed: 2), settings: settings)
        }
        let trainer = try DictionaryTrainer(
            dictionaries, source: source(tokens), steps: steps, logEvery: 7, collective: collective)
        if resumes { try trainer.resume(from: directory!) }
        let report = try trainer.train(directory: directory, stopAfter: stopAfter)
        return Result(
            parameters: dictionaries.flatMap { $0.dictionary.parameters.map { $0.buffer.array } },
            metrics: Dictionary(report.metrics.flatMap { m in m.values.map { ("\(m.step) \($0.name)", $0.value) } }) {
                $1
            })
    }

    private func expectSame(
        _ found: [Result], _ alone: Result, _ tolerance: Float = 2e-4, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        for result in found {
            // Copies that the processes keep are the same to the bit.
            #expect(result.parameters == found[0].parameters, sourceLocation: sourceLocation)
            #expect(result.metrics == found[0].metrics, sourceLocation: sourceLocation)
        }
        for (a, b) in zip(found[0].parameters, alone.parameters) {
            let worst = zip(a, b).map { abs($0 - $1) }.max() ?? 0
            #expect(worst < tolerance, "differ by \(worst)", sourceLocation: sourceLocation)
        }
        #expect(Set(found[0].metrics.keys) == Set(alone.metrics.keys), sourceLocation: sourceLocation)
        for (name, value) in alone.metrics {
            let other = found[0].metrics[name] ?? .nan
            #expect(
                abs(other - value) <= 1e-3 * max(1, abs(value)), "\(name): \(other), \(value)",
                sourceLocation: sourceLocation)
        }
    }

    @Test(arguments: DictionaryTrainingTests.rules) func twoAndThreeGiveWhatOneDoes(rule: SelectionRule) throws {
        let alone = try Self.trained([rule], SingleProcess())
        for count in [2, 3] {
            expectSame(try ThreadRanks.run(count) { try Self.trained([rule], $0) }, alone)
        }
        // Training has moved what is compared by far more than the tolerance.
        let first = try Self.trained([rule], SingleProcess(), steps: 1)
        let moved = zip(first.parameters.flatMap(\.self), alone.parameters.flatMap(\.self)).map { abs($0 - $1) }.max()!
        #expect(moved > 1e-2)
    }

    /// Penalties that are annealed, features that are given new directions, nested widths, two models' activations, and several rules at
    /// once.
    @Test func everythingElseIsSharedToo() throws {
        func check(
            _ rules: [SelectionRule], parts: [Int] = [],
            _ change: @escaping @Sendable (inout DictionaryTraining) -> Void
        ) throws {
            let alone = try Self.trained(rules, SingleProcess(), parts: parts, change)
            expectSame(try ThreadRanks.run(2) { try Self.trained(rules, $0, parts: parts, change) }, alone)
        }
        try check([.relu]) {
            $0.sparsity = SparsityPenalty(.constant(0.05), power: .linear(from: 1, to: 0.6, steps: 14))
        }
        try check([.topK(2)]) { $0.resampling = Resampling(every: 5, times: 2, batches: 3, rise: 3) }
        try check([.batchTopK(3)]) { $0.prefixes = [4, 8] }
        try check([.batchTopK(3)], parts: [4, 4]) { _ in }
        try check([.topK(3), .batchTopK(3)]) {
            $0.auxiliary = AuxiliaryLoss(.underUsed(share: 0.9, exponent: 1, shift: 1))
        }
    }

    @Test func aSharedRunResumes() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.remove(directory) }
        let whole = try ThreadRanks.run(2) { try Self.trained([.batchTopK(3)], $0) }
        _ = try ThreadRanks.run(2) { try Self.trained([.batchTopK(3)], $0, directory: directory, stopAfter: 6) }
        let resumed = try ThreadRanks.run(2) {
            try Self.trained([.batchTopK(3)], $0, directory: directory, resumes: true)
        }
        #expect(resumed.map(\.parameters) == whole.map(\.parameters))
    }

    @Test func everyProcessNeedsATokenOfEveryBatch() {
        #expect(throws: LacunaError.invalidArgument("batch", reason: "2 tokens for 3 processes to share")) {
            _ = try ThreadRanks.run(3) { try Self.trained([.topK(3)], $0, tokens: 2) }
        }
    }

    /// Competitions over a batch keep the same entries however the batch is cut, also where strengths are equal.
    @Test(arguments: [
        SelectionRule.batchTopK(2), .batchAbsTopK(2), .featureChoice(2, profile: .zipf(exponent: 1, shift: 1)),
    ])
    func competitionsAreOverTheWholeBatch(rule: SelectionRule) throws {
        var generator = SeededGenerator(seed: 3)
        // Few different numbers: many ties.
        var x = Tensor<Float>(zeros: [700, 8])
        for t in 0..<700 { for i in 0..<8 { x[t, i] = Float(Int(generator.uniform() * 3)) - 1 } }
        @Sendable func make() throws -> SparseAutoencoder {
            let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 12, rule: rule), seed: 5)
            for parameter in [a.encoderWeight!, a.decoderWeight] {
                for i in 0..<parameter.count { parameter.buffer.pointer[i] = parameter.buffer.pointer[i] > 0 ? 1 : -1 }
            }
            return a
        }
        let whole = try make().pass(ActivationBatch(step: 0, inputs: x), ranking: nil, prefixes: [], on: Tape())
        let inputs = x
        let parts = try ThreadRanks.run(3) { ranks in
            let batch = ActivationBatch(step: 0, inputs: inputs).tokens(ranks.share(of: 700))
            return try make().pass(batch, ranking: nil, prefixes: [], on: Tape(), among: ranks).pattern
        }
        let pattern = whole.pattern
        #expect(parts.reduce(0) { $0 + $1.count } == pattern.count && pattern.count > 1000)
        var row = 0
        for part in parts {
            for t in 0..<part.rows {
                if part.keptColumns(row: t) != pattern.keptColumns(row: row) {
                    // Equals of one feature: which of them, the search of single features does not promise.
                    guard case .featureChoice = rule else {
                        Issue.record("token \(row)")
                        return
                    }
                }
                row += 1
            }
        }
        for j in 0..<12 {
            func count(_ p: SparsePattern) -> Int { (0..<p.rows).count { p[$0, j] } }
            #expect(parts.reduce(0) { $0 + count($1) } == count(pattern))
        }
    }
}
