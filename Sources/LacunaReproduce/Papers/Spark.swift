import Lacuna

/// Checks how many numbers a statistical top-k keeps, and what it costs against sorting.
struct SparkReproduction: Reproduction {
    let shortName = "Spark"
    let paper = 52
    let title = "Spark Transformer: Reactivating Sparsity in FFN and Attention"
    let arXiv: String? = "2506.06644"
    let claim =
        "Mean and deviation of a vector give a threshold that about k of its entries exceed, in two passes and without sorting; "
        + "the number is as exact as the entries are normal."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 20)).map { context.seed &* 1000 &+ UInt64($0) }
        var measurements: [Measurement] = []
        var checks: [Check] = []
        for (place, (d, k)) in [(512, 41), (13824, 1106)].enumerated() {
            try context.progress.report("distributions", place, of: 2)
            let found = try Sample(seeds: seeds) { try Self.ratio(seed: $0, d, k) { $0.normal() } }
            measurements.append(Measurement("entries kept over k = \(k) of \(d), normal", found))
            checks.append(Check("normal, k = \(k): within 5 % on average", abs(found.mean - 1), .less, 0.05))
        }
        let laplace = try Sample(seeds: seeds) {
            try Self.ratio(seed: $0, 13824, 1106) {
                -logarithm(1 - $0.uniform()) * ($0.uniform() < 0.5 ? 1 : -1)
            }
        }
        let student = try Sample(seeds: seeds) {
            try Self.ratio(seed: $0, 13824, 1106) { generator in
                let chi = (0..<3).reduce(0.0) { sum, _ in
                    let z = generator.normal()
                    return sum + z * z
                }
                return generator.normal() / (chi / 3).squareRoot()
            }
        }
        measurements += [
            Measurement("the same, Laplace", laplace), Measurement("the same, Student's t with 3 degrees", student),
        ]
        checks += [
            Check("Laplace: fewer", laplace, staysBelow: 0.92), Check("Student: far fewer", student, staysBelow: 0.75),
        ]
        var generator = SeededGenerator(seed: context.seed, stream: 52)
        let x = (0..<13824).map { _ in Float(generator.normal()) }
        let selection = try StatisticalTopK(density: 0.08)
        func seconds(_ body: () -> Int) -> Double {
            (0..<15).map { _ in
                let start = monotonicSeconds()
                let n = body()
                return n > 0 ? monotonicSeconds() - start : .infinity
            }.min() ?? .infinity
        }
        let quick = seconds { selection.active(x, count: x.count).count }
        let sorting = seconds { x.sorted(by: >).prefix(1106).count }
        measurements.append(
            Measurement(
                "microseconds for 13,824 entries", measured: quick * 1e6, baseline: sorting * 1e6,
                baselineName: "sorting"))
        checks.append(Check("at least 5 times as fast as sorting", sorting / quick, .atLeast, 5))
        return Outcome(
            setting: "\(seeds.count) vectors of each length and distribution",
            measurements: measurements, checks: checks,
            notes: [
                "The selection alone: training transformers with it, and its feed-forward part and attention, are not part of this "
                    + "check."
            ])
    }

    private static func ratio(
        seed: UInt64, _ d: Int, _ k: Int, _ draw: (inout SeededGenerator) -> Double
    ) throws -> Double {
        var generator = SeededGenerator(seed: seed, stream: 53)
        let x = (0..<d).map { _ in Float(draw(&generator)) }
        return Double(try StatisticalTopK(density: Double(k) / Double(d)).active(x, count: d).count) / Double(k)
    }
}
