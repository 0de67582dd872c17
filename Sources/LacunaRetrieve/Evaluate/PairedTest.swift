import LacunaTensor

/// Whether two systems differ by more than chance on the same queries.
public struct PairedTest: Sendable, Equatable {
    /// Mean of a - b.
    public let difference: Double
    /// The chance of a difference at least as large, either way, if the systems were equal.
    public let probability: Double
    /// Where the true mean difference lies with 95 % confidence.
    public let interval: ClosedRange<Double>

    /// Student's t-test of the paired differences.
    ///
    /// - Parameters:
    ///   - a: A metric of every query for one system.
    ///   - b: The same for the other, in the same order.
    /// - Throws: `LacunaError.invalidArgument` for lists of different lengths, fewer than two queries or values that
    ///   are not finite.
    public static func student(_ a: [Double], _ b: [Double]) throws -> PairedTest {
        let differences = try Self.differences(a, b)
        let n = Double(differences.count)
        let mean = differences.reduce(0, +) / n
        let variance = differences.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (n - 1)
        let error = (variance / n).squareRoot()
        guard error > 0 else {
            return PairedTest(difference: mean, probability: mean == 0 ? 1 : 0, interval: mean...mean)
        }
        let margin = StudentDistribution(n - 1).twoSidedQuantile(0.05) * error
        return PairedTest(
            difference: mean, probability: StudentDistribution(n - 1).twoSidedTail(mean / error),
            interval: mean - margin...mean + margin)
    }

    /// The paired bootstrap: queries are drawn with replacement. The probability counts how often the mean of
    /// differences, shifted to have mean 0, is as far from 0 as the one measured (the latter included among them, so
    /// that it is never 0); the interval is between percentiles.
    ///
    /// (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993; Sakai, "Evaluating evaluation metrics based on
    /// the bootstrap", 2006.)
    ///
    /// - Throws: As ``student(_:_:)``, and for no samples.
    public static func bootstrap(
        _ a: [Double], _ b: [Double], samples: Int = 10_000, seed: UInt64 = 0
    ) throws -> PairedTest {
        let differences = try Self.differences(a, b)
        guard samples >= 1 else { throw LacunaError.invalidArgument("samples", reason: "\(samples) is below 1") }
        let n = differences.count
        let mean = differences.reduce(0, +) / Double(n)
        var generator = SeededGenerator(seed: seed, stream: 0x7061_6972)
        var means = [Double](repeating: 0, count: samples)
        var extreme = 1
        // A draw as extreme up to rounding is as extreme.
        let bar = abs(mean) - 1e-12 * (differences.reduce(0) { $0 + abs($1) } / Double(n))
        for sample in 0..<samples {
            var sum = 0.0
            for _ in 0..<n { sum += differences[Int.random(in: 0..<n, using: &generator)] }
            means[sample] = sum / Double(n)
            if abs(means[sample] - mean) >= bar { extreme += 1 }
        }
        means.sort()
        let cut = Int((0.025 * Double(samples)).rounded(.down))
        return PairedTest(
            difference: mean, probability: Double(extreme) / Double(samples + 1),
            interval: means[cut]...means[samples - 1 - cut])
    }

    private static func differences(_ a: [Double], _ b: [Double]) throws -> [Double] {
        guard a.count == b.count, a.count > 1 else {
            throw LacunaError.invalidArgument(
                "queries", reason: "\(a.count) and \(b.count) values; two or more of the same queries are needed")
        }
        let differences = zip(a, b).map { $0 - $1 }
        guard differences.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("queries", reason: "a value is not finite")
        }
        return differences
    }
}
