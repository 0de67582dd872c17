import Lacuna

/// Checks that patterns stored once get codes whose overlap follows theirs, at a cost that does not grow.
struct SparseyReproduction: Reproduction {
    let shortName = "Sparsey"
    let paper = 35
    let title = "Superposed Episodic and Semantic Memory via Sparse Distributed Representation"
    let arXiv: String? = "1710.07829"
    let claim =
        "Patterns are stored in one presentation, in fixed time, under sparse codes that overlap the more the more similar the "
        + "patterns are, and are recognised from parts."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = context.quick ? 5 : 20
        let overlaps = [20, 18, 16, 12, 8, 4]
        var shared = [Sample](repeating: Sample(), count: overlaps.count)
        var (recall, familiarity, saturation) = (Sample(), Sample(), Sample())
        for index in 0..<seeds {
            try context.progress.report("fields", index, of: seeds)
            var generator = SeededGenerator(seed: context.seed &* 1000 &+ UInt64(index), stream: 0x5EA)
            var field = try SparseyField(modules: 24, cells: 8, inputs: 200)
            func pattern() -> [Int] { Array((0..<200).shuffled(using: &generator).prefix(20)) }
            let patterns = (0..<20).map { _ in pattern() }
            let codes = patterns.map { field.learn($0, using: &generator).code! }
            saturation.values.append(field.saturation)
            familiarity.values.append(
                patterns.reduce(0.0) { $0 + field.response(to: $1, using: &generator).familiarity } / 20)
            var (right, cues) = (0, 0)
            for (place, kept) in overlaps.enumerated() {
                var same = 0.0
                for (number, stored) in patterns.enumerated() {
                    let others = (0..<200).filter { !stored.contains($0) }.shuffled(using: &generator)
                    let probe = stored.shuffled(using: &generator).prefix(kept) + others.prefix(20 - kept)
                    let code = field.response(to: Array(probe), using: &generator).code!
                    same += Double(zip(code, codes[number]).count { $0 == $1 }) / 24
                    if kept >= 12 {
                        let found = field.response(to: Array(probe), recognises: true, using: &generator).code!
                        let nearest = codes.indices.max { a, b in
                            zip(codes[a], found).count { $0 == $1 } < zip(codes[b], found).count { $0 == $1 }
                        }!
                        right += nearest == number ? 1 : 0
                        cues += 1
                    }
                }
                shared[place].values.append(same / 20)
            }
            recall.values.append(Double(right) / Double(cues))
        }
        let falls = zip(shared, shared.dropFirst()).map { ($0 - $1).mean }
        return Outcome(
            setting:
                "24 modules of 8 cells, 20 patterns of 20 of 200 bits, each stored once; probes that share some of the bits; "
                + "\(seeds) seeds; chance is 0.125",
            measurements: zip(overlaps, shared).map { kept, value in
                value.measured("winners shared with the code of a pattern that has \(kept) of 20 bits in common")
            } + [
                recall.measured("stored code nearest to the cue's, of cues with at least 12 bits"),
                familiarity.measured("familiarity of stored patterns"), saturation.measured("weights set"),
            ],
            checks: [
                Check("a stored pattern has its code again", shared[0].low, .greater, 0.9),
                Check("overlap of codes falls with overlap of patterns, step by step", falls.min()!, .greater, -0.01),
                Check("from a pattern to one with 8 bits by over 0.3", (shared[0] - shared[4]).low, .greater, 0.3),
                Check("to near chance at 4 bits", shared[5].high, .less, 0.3),
                Check("cues with 12 bits or more are recognised", recall.low, .greater, 0.97),
                Check("stored patterns are familiar", familiarity.low, .greater, 0.999),
            ])
    }
}
