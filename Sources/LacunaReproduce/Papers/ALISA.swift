import Lacuna

/// Checks that sums over the last queries find heavy keys, and find new ones soon after the old have lost their weight.
struct ALISAReproduction: Reproduction {
    let shortName = "ALISA"
    let paper = 63
    let title = "ALISA: Accelerating Large Language Model Inference via Sparsity-Aware KV Caching"
    let arXiv: String? = "2403.17312"
    let claim =
        "A fifth of the keys, half of them the last ones and half those that were paid most attention of late, holds nearly all that the "
        + "best fifth holds, where windows and strides do not; a language model loses little. What does not fit into fast memory is moved, "
        + "and what is cheaper to compute again deleted, by a plan that a greedy search finds."

    private static let (count, size, share) = (512, 32, 0.2)

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 10)).map { context.seed &* 1000 &+ UInt64($0) }
        var kept: [String: [Double]] = [:]
        var after: [String: [Double]] = [:]
        var unread: [String: [Double]] = [:]
        for seed in seeds {
            for (name, mass) in try Self.stream(seed: seed, .none) { kept[name, default: []].append(mass) }
            for (name, mass) in try Self.stream(seed: seed, .toNewKeys) { after[name, default: []].append(mass) }
            for (name, mass) in try Self.stream(seed: seed, .toOldKeys) { unread[name, default: []].append(mass) }
        }
        func sample(_ masses: [String: [Double]], _ name: String) -> Sample { Sample(masses[name] ?? []) }
        let found = sample(kept, "alisa")
        var measurements = [
            Measurement(
                "share of the attention in a fifth of the keys", found, baseline: sample(kept, "best"),
                baselineName: "the best fifth")
        ]
        for (name, words) in [
            ("window and best", "half last ones, half the best others"), ("all", "sums over all queries"),
            ("strided", "half last ones, half every so many"),
            ("local", "last ones only"),
        ] {
            measurements.append(Measurement("the same, \(words)", sample(kept, name)))
        }
        measurements.append(
            Measurement(
                "after new keys have become heavy, from as many queries later as are summed over",
                sample(after, "alisa"),
                baseline: sample(after, "all"), baselineName: "sums over all queries"))
        measurements.append(
            Measurement(
                "the same if the new heavy keys are old ones that nothing had looked at", sample(unread, "alisa"),
                baseline: sample(unread, "window and best"), baselineName: "half last ones, half the best others"))
        var checks = [
            Check(
                "nine tenths of what the last ones and the best others hold", found / sample(kept, "window and best"),
                exceeds: 0.9),
            Check("twice what strides hold", found / sample(kept, "strided"), exceeds: 2),
            Check(
                "after a change more than sums over all queries find", sample(after, "alisa") - sample(after, "all"),
                exceeds: 0),
            Check(
                "after a change nine tenths of those again", sample(after, "alisa") / sample(after, "window and best"),
                exceeds: 0.9),
        ]
        var losses: [String: [Double]] = [:]
        var description = ""
        var missing: [String] = []
        var notes: [String] = []
        for (place, seed) in seeds.prefix(5).enumerated() {
            try context.progress.report("language models", place, of: 5)
            guard
                let task = try SkippingTask.small(
                    seed: seed, steps: context.quick ? 120 : 1000, progress: context.progress)
            else { continue }
            description = task.description
            let text = Array(task.tokens.prefix(task.window * (context.quick ? 4 : 24)))
            func loss(_ words: String?) throws -> Double {
                var skipping = Skipping()
                if let words {
                    try CacheRequest(attention: words, keeping: nil) {
                        throw LacunaError.invalidArgument("attention", reason: "no channels are calibrated here")
                    }.apply(to: &skipping)
                }
                return try Perplexity.measureWriting(
                    skipping.engine(task.decoder), tokens: text, window: task.window, prompt: task.window / 2
                ).loss
            }
            losses["dense", default: []].append(try loss(nil))
            losses["alisa", default: []].append(try loss("alisa:0.4"))
            // As many positions of a window of 64 at its middle: 0.4 of 48.
            losses["window", default: []].append(try loss("window:15"))
        }
        if let dense = losses["dense"], let alisa = losses["alisa"], let window = losses["window"] {
            measurements.append(
                Measurement(
                    "loss a character of text that is written, 40 % of the keys read", Sample(alisa),
                    baseline: Sample(dense), baselineName: "all keys"))
            measurements.append(
                Measurement("the same, as many last ones and the first four", Sample(window)))
            checks.append(
                Check(
                    "language model: the loss grows by less than 5 %", Sample(alisa) / Sample(dense), staysBelow: 1.05))
        } else {
            missing.append(SkippingTask.isMissing)
        }
        notes.append(
            "Keys that nothing has looked at while they were near stay unread when they begin to matter: the sums know of no others."
        )
        let (planned, one) = try Self.planned(random: context.seed)
        measurements.append(
            Measurement(
                "seconds of greedy plans over those of the best of all plans, \(planned.values.count) machines", planned
            ))
        measurements.append(
            Measurement("seconds of the same plans without deletions over those with", one))
        checks += [
            Check("plans are within 10 % of the best", planned.values.max() ?? .infinity, .atMost, 1.1),
            Check("deleting and computing again pays on some", one.values.max() ?? 0, .greater, 1.02),
        ]
        notes.append(
            "The schedule that moves, deletes and recomputes keys and values between an accelerator and its host is planned on models of machines; "
                + "there is one memory here, and nothing is moved.")
        return Outcome(
            setting:
                "\(seeds.count) streams of \(Self.count) keys of \(Self.size), deviation 0.5, 8 heavy ones (4 in a direction) in the first half, "
                + "queries 5 in that direction, 2 nats more for the last 8 positions, a fifth of the keys; "
                + description,
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    /// Plans for machines of random memory, bandwidth and rate: the seconds of greedy ones over those of the best on their grid, and those of the
    /// same plans without deletions over the greedy ones'.
    private static func planned(random seed: UInt64) throws -> (greedy: Sample, undeleted: Sample) {
        var generator = SeededGenerator(seed: seed, stream: 630)
        var (ratios, gains) = ([Double](), [Double]())
        for index in 0..<8 {
            let work = try OffloadPlanner.Work(
                prompt: 16, steps: 64, layers: 4, width: 64, batch: 4, share: 0.2 + 0.3 * generator.uniform())
            let machine = try OffloadPlanner.Machine(
                fastBytes: work.positionBytes * (24 + 40 * generator.uniform()),
                bandwidth: 1e9 * power(10, 2 * generator.uniform()), rate: 1e11 * power(10, 2 * generator.uniform()),
                fastBandwidth: 1e11, overlaps: index % 2 == 1)
            let planner = OffloadPlanner(machine: machine, work: work, resolution: 8)
            guard let found = planner.plan(), let best = planner.exhaustivePlan() else { continue }
            ratios.append(found.cost.seconds / best.cost.seconds)
            var undeleted = found.plan
            (undeleted.deleted, undeleted.firstDeletion) = (0, work.steps)
            gains.append(planner.cost(undeleted).seconds / found.cost.seconds)
        }
        return (Sample(ratios), Sample(gains))
    }

    /// Where the keys are that queries look for from five eighths of a stream on.
    private enum Change {
        case none, toNewKeys, toOldKeys
    }

    /// Positions within which new heavy keys come.
    private static let arrival = 40

    /// The mean share of attention that each choice of keys holds, over the queries of the second half, or of those long enough after
    /// another direction has become that of the queries.
    private static func stream(seed: UInt64, _ change: Change) throws -> [String: Double] {
        var generator = SeededGenerator(seed: seed, stream: 63)
        func direction() -> [Float] {
            let x = (0..<size).map { _ in Float(generator.normal()) }
            let length = x.reduce(0) { $0 + $1 * $1 }.squareRoot()
            return x.map { $0 / length }
        }
        let directions = [direction(), direction()]
        let places = (0..<count / 2).shuffled(using: &generator)
        let turn = change == .none ? count : count * 5 / 8
        let later = (count * 5 / 8..<count * 5 / 8 + arrival).shuffled(using: &generator)
        let heavy = [Set(places[..<8]), Set(change == .toNewKeys ? later[..<8] : places[8..<16])]
        let keys = (0..<count).map { position in
            (0..<size).map { e in
                var x = 0.5 * Float(generator.normal())
                for which in 0..<2 where heavy[which].contains(position) { x += 4 * directions[which][e] }
                return x
            }
        }
        let queries = (0..<count).map { position in
            (0..<size).map { 0.5 * Float(generator.normal()) + 5 * directions[position < turn ? 0 : 1][$0] }
        }
        let shape = KeyValueShape(layers: 1, heads: 1, headSize: size, capacity: count)
        let methods = try [("alisa", ALISA(share: share)), ("all", ALISA(share: share, remembersAll: true))]
        let stores = methods.map { AttentionMassCache(KeyValueCache(shape), shape: shape, method: $0.1) }
        var sums: [String: Double] = [:]
        var judged = 0
        for position in 0..<count {
            let half = methods[0].1.half(position + 1)
            let isJudged = position >= (change == .none ? count / 2 : turn + arrival + half)
            if isJudged { judged += 1 }
            var weights = (0...position).map { t -> Double in
                let product = zip(queries[position], keys[t]).reduce(Float(0)) { $0 + $1.0 * $1.1 }
                return Double(product) / Double(size).squareRoot() + (t > position - 8 ? 2 : 0)
            }
            let top = weights.max() ?? 0
            weights = weights.map { exponential($0 - top) }
            let total = weights.reduce(0, +)
            func hold(_ name: String, _ chosen: some Sequence<Int>) {
                if isJudged { sums[name, default: 0] += chosen.reduce(0.0) { $0 + weights[$1] / total } }
            }
            for ((name, method), store) in zip(methods, stores) {
                store.append(layer: 0, keys: keys[position], values: keys[position], count: 1)
                queries[position].withUnsafeBufferPointer { query in
                    let request = KeyRequest(
                        layer: 0, head: 0, keyHead: 0, position: position, visible: 0..<position + 1,
                        query: query.baseAddress!, store: store)
                    let ranges = method.select(request)
                    hold(name, ranges.joined())
                    let read = ranges.joined().reduce(0.0) { $0 + weights[$1] }
                    method.observe(request, ranges: ranges, weights: ranges.joined().map { Float(weights[$0] / read) })
                }
                store.advance(by: 1)
            }
            let older = position + 1 - half
            let spaced = (0..<min(half, max(older, 0))).map { $0 * older / half }
            hold("strided", Set(spaced).union(max(0, older)...position))
            hold("local", max(0, position + 1 - 2 * half)...position)
            let rest = (0..<max(0, older)).sorted { weights[$0] > weights[$1] }.prefix(half)
            hold("window and best", rest + (max(0, older)...position))
            hold("best", (0...position).sorted { weights[$0] > weights[$1] }.prefix(2 * half))
        }
        return sums.mapValues { $0 / Double(judged) }
    }
}
