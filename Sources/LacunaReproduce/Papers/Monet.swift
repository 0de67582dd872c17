import Lacuna

/// Checks that experts made of pairs of parts specialise, and that a domain's can be removed alone.
struct MonetReproduction: Reproduction {
    let shortName = "Monet"
    let paper = 80
    let title = "Monet: Mixture of Monosemantic Experts for Transformers"
    let arXiv: String? = "2412.04139"
    let claim =
        "Very many experts, each a pair of parts of two tables, are summed exactly at the cost of the tables, and chosen without sorting by a quantile of "
        + "normalised scores; they become about one thing each, so that removing a domain's takes that domain away and leaves the others."

    private static let (domains, width, side) = (8, 16, 16)

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        let steps = context.quick ? 200 : 1200
        var values: [String: [Double]] = [:]
        func note(_ name: String, _ value: Double) { values[name, default: []].append(value) }
        func sample(_ name: String) -> Sample { Sample(values[name] ?? []) }
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("domains", place, of: seeds.count)
            note("active", try Self.active(seed: seed))
            for (name, kind) in [("vertical", MonetSettings.Decomposition.vertical), ("horizontal", .horizontal)] {
                for (key, value) in try Self.purged(seed: seed, kind, steps: steps) { note("\(name) \(key)", value) }
            }
            for (key, value) in try Self.dense(seed: seed, steps: steps) { note("dense \(key)", value) }
        }
        var measurements = [
            Measurement("parts that a head chooses of 512 by normal scores, 32 wanted", sample("active"))
        ]
        var checks = [
            Check("32 parts within 5 %", sample("active").values.map { abs($0 / 32 - 1) }.max() ?? 1, .less, 0.05)
        ]
        for (name, words) in [("vertical", "halves"), ("horizontal", "layers")] {
            measurements += [
                Measurement(
                    "error over the targets' square, pairs of \(words)", sample("\(name) error"),
                    baseline: sample("dense error"),
                    baselineName: "a dense part"),
                Measurement(
                    "parts that a domain loses, of \(2 * Self.side), pairs of \(words)", sample("\(name) parts")),
                Measurement(
                    "error of the domain without its parts, in errors before, pairs of \(words)", sample("\(name) own"),
                    baseline: sample("dense own"), baselineName: "as many neurons of a dense part"),
                Measurement(
                    "error of the others, pairs of \(words)", sample("\(name) others"),
                    baseline: sample("dense others"),
                    baselineName: "as many neurons of a dense part"),
            ]
            checks += [
                Check("\(words): the domain's error grows five times", sample("\(name) own"), exceeds: 5),
                Check(
                    "\(words): more than four times as much as the others'",
                    sample("\(name) own") / sample("\(name) others"), exceeds: 4),
                Check(
                    "\(words): more selectively than neurons of a dense part",
                    sample("\(name) own") / sample("\(name) others") - sample("dense own") / sample("dense others"),
                    exceeds: 0),
            ]
        }
        var missing: [String] = []
        var notes = [
            "Parts are looked at one by one, not in pairs. Errors of others are to grow by at most 1.3 by the sheet of the paper; what they grow by is measured."
        ]
        if context.quick {
            notes.append("What experts of a language model respond to is part of the longer version.")
        } else {
            var shares: [String: [Double]] = [:]
            for (place, seed) in seeds.prefix(5).enumerated() {
                try context.progress.report("language models", place, of: 5)
                guard let found = try Self.language(seed: seed, progress: context.progress) else {
                    missing.append(SkippingTask.isMissing)
                    break
                }
                for (name, value) in found.numbers { shares[name, default: []].append(value) }
                if place == 0 {
                    notes.append(
                        "Parts of the first model and the characters that they are given to most: \(found.features).")
                }
            }
            if let own = shares["share"], let neurons = shares["neurons"] {
                measurements += [
                    Measurement(
                        "language: share of a part's gates on its most frequent character", Sample(own),
                        baseline: Sample(neurons),
                        baselineName: "of a dense model's neurons"),
                    Measurement(
                        "language: loss a character", Sample(shares["loss"]!), baseline: Sample(shares["dense loss"]!),
                        baselineName: "a dense part of as many weights"),
                ]
                checks.append(
                    Check(
                        "language: parts are more about one character than neurons", Sample(own) - Sample(neurons),
                        exceeds: 0))
            }
        }
        return Outcome(
            setting:
                "\(seeds.count) seeds: \(Self.domains) domains in \(Self.width) dimensions with a linear map each; \(Self.side)² experts of 8 neurons, 2 heads that choose 2 of "
                + "\(Self.side), Adam, \(steps) steps of 256 vectors; skew 2"
                + (context.quick ? "" : "; language models of two blocks on Jane Austen, 32² experts"),
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    private static func active(seed: UInt64) throws -> Double {
        var random = SeededGenerator(seed: seed, stream: 80)
        let layer = try Monet(
            MonetSettings(width: 64, side: 512, size: 2, heads: 8, decomposition: .horizontal), using: &random)
        let tape = Tape<Float>()
        let gates = tape.withoutRecording {
            layer.gates(tape.constant(Tensor(normal: [64, 64], using: &random))).first.value
        }
        return Double(gates.scalars.count { $0 > 0 }) / Double(64 * 8)
    }

    private static func task(_ seed: UInt64) -> TopicTask {
        TopicTask(topics: domains, width: width, outputs: width, length: 256, dwell: 1, seed: seed)
    }

    private static func errors(
        _ found: Tensor<Float>, _ batch: (inputs: Tensor<Float>, targets: Tensor<Float>, topics: [Int])
    )
        -> [Double]
    {
        var (sums, squares) = ([Double](repeating: 0, count: domains), [Double](repeating: 0, count: domains))
        for (row, topic) in batch.topics.enumerated() {
            for c in 0..<width {
                let difference = Double(found[row, c] - batch.targets[row, c])
                sums[topic] += difference * difference
                squares[topic] += Double(batch.targets[row, c]) * Double(batch.targets[row, c])
            }
        }
        return zip(sums, squares).map { $0 / max($1, 1e-12) }
    }

    /// Means over domains of what their errors, and those of the others, become when something of theirs is taken away.
    private static func selectivity(_ before: [Double], _ after: [[Double]]) -> (own: Double, others: Double) {
        var (own, others) = (0.0, 0.0)
        for d in 0..<domains {
            own += after[d][d] / before[d] / Double(domains)
            for o in 0..<domains where o != d { others += after[d][o] / before[o] / Double(domains * (domains - 1)) }
        }
        return (own, others)
    }

    private static func purged(
        seed: UInt64, _ kind: MonetSettings.Decomposition, steps: Int
    ) throws -> [(String, Double)] {
        let task = task(seed)
        var random = SeededGenerator(seed: seed, stream: 8000)
        let layer = try Monet(
            MonetSettings(width: width, side: side, size: 8, heads: 2, chosen: 2, decomposition: kind), using: &random)
        try task.train(layer, steps: steps, hooks: [MonetRegularization()], seed: seed)
        let batch = task.fresh
        let found = try MonetDomains(layer, batch.inputs, labels: batch.topics)
        let tape = Tape<Float>()
        let before = errors(tape.evaluating { layer(tape.constant(batch.inputs)).value }, batch)
        let parts = (0..<domains).map { found.parts(of: $0) }
        let after = parts.map { parts in
            errors(
                tape.evaluating { MonetDomains.purged(layer, tape.constant(batch.inputs), parts: parts).value }, batch)
        }
        let (own, others) = selectivity(before, after)
        return [
            ("error", before.reduce(0, +) / Double(domains)), ("own", own), ("others", others),
            ("parts", Double(parts.joined().reduce(0) { $0 + $1.count }) / Double(domains)),
        ]
    }

    /// A dense part of ReLUs of which the neurons that a domain activates most are taken away, as large a share as its part of all domains.
    private static func dense(seed: UInt64, steps: Int) throws -> [(String, Double)] {
        let task = task(seed)
        var random = SeededGenerator(seed: seed, stream: 8001)
        let model = MLP(widths: [width, 256, width], using: &random)
        try task.train(model, steps: steps, seed: seed)
        let batch = task.fresh
        let tape = Tape<Float>()
        let hidden = tape.evaluating { model.layers[0](tape.constant(batch.inputs)).relu().value }
        var means = [[Double]](repeating: [Double](repeating: 0, count: 256), count: domains)
        for (row, topic) in batch.topics.enumerated() { for i in 0..<256 { means[topic][i] += Double(hidden[row, i]) } }
        let before = errors(tape.evaluating { model(tape.constant(batch.inputs)).value }, batch)
        let after = (0..<domains).map { d -> [Double] in
            let top = Set((0..<256).sorted { means[d][$0] > means[d][$1] }.prefix(256 / domains))
            var mask = Tensor<Float>(repeating: 1, shape: [256])
            for i in top { mask[i] = 0 }
            return errors(
                tape.evaluating { model.layers[1](tape.constant(hidden).multipliedByRow(tape.constant(mask))).value },
                batch)
        }
        let (own, others) = selectivity(before, after)
        return [("error", before.reduce(0, +) / Double(domains)), ("own", own), ("others", others)]
    }

    /// What the parts of a language model's first layer are given to, next to the neurons of a dense one.
    private static func language(
        seed: UInt64, progress: (any ProgressReporter)?
    ) throws -> (numbers: [(String, Double)], features: String)? {
        guard let language = try TinyLanguageModel() else { return nil }
        let length = TinyLanguageModel.context
        let ids = Array(language.valid.prefix(64 * length))
        var random = SeededGenerator(seed: seed, stream: 8002)
        let model = try language.model(seed: seed)
        let parts = 32
        var layers: [Monet] = []
        for block in model.blocks {
            // Tables of 32 parts of 2 · 4 neurons, in and out, and routers: as many weights as the dense part.
            let layer = try Monet(MonetSettings(width: 96, side: parts, size: 8, heads: 4, chosen: 2), using: &random)
            layers.append(layer)
            block.mixer = .custom(layer)
        }
        try language.train(
            model, steps: 1000, learningRate: 5e-3, hooks: [MonetRegularization()], seed: seed, progress: progress)
        let dense = try language.model(seed: seed)
        try language.train(dense, steps: 1000, learningRate: 5e-3, seed: seed, progress: progress)
        let characters = language.vocabulary.count
        /// The largest share of a unit's mass on one character, and which, for units that have any.
        func shares(_ mass: [[Double]]) -> [(share: Double, unit: Int, character: Int)] {
            mass.enumerated().compactMap { unit, row in
                let total = row.reduce(0, +)
                guard total > 0, let best = row.indices.max(by: { row[$0] < row[$1] }) else { return nil }
                return (row[best] / total, unit, best)
            }
        }
        func mass(_ rows: Tensor<Float>, _ units: Int) -> [[Double]] {
            var result = [[Double]](repeating: [Double](repeating: 0, count: characters), count: units)
            rows.withPointer { rows in
                for (t, id) in ids.enumerated() {
                    for u in 0..<units { result[u][Int(id)] += Double(max(rows[t * units + u], 0)) }
                }
            }
            return result
        }
        let tape = Tape<Float>()
        var gates: Tensor<Float>?
        layers[0].watch = { first, _ in
            gates = first.permuted([0, 2, 1]).rowSums().value
        }
        // Watchers see what is recorded; statistics are the running ones.
        tape.isTraining = false
        _ = model.hiddenStates(ids, batch: ids.count / length, on: tape)
        tape.reset()
        layers[0].watch = nil
        var hidden: Tensor<Float>?
        dense.feedForwards[0].watch = { hidden = $0.map(.absolute).value }
        tape.evaluating { _ = dense.hiddenStates(ids, batch: ids.count / length, on: tape) }
        guard let gates, let hidden else { return nil }
        let (own, neurons) = (shares(mass(gates, parts)), shares(mass(hidden, hidden.columns)))
        func mean(_ found: [(share: Double, unit: Int, character: Int)]) -> Double {
            found.reduce(0) { $0 + $1.share } / Double(max(found.count, 1))
        }
        let sharpest = own.sorted { $0.share == $1.share ? $0.unit < $1.unit : $0.share > $1.share }.prefix(6)
        let features = sharpest.map { found in
            let character = language.vocabulary.decode([Int32(found.character)]).debugDescription
            return "part \(found.unit): \(character) \(Int((found.share * 100).rounded())) %"
        }
        return (
            [
                ("share", mean(own)), ("neurons", mean(neurons)), ("loss", logarithm(language.perplexity(model))),
                ("dense loss", logarithm(language.perplexity(dense))),
            ], features.joined(separator: ", ")
        )
    }
}
