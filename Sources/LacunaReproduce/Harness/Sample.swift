import Lacuna

/// A quantity measured once for each seed: what a claim about a distribution is judged by.
public struct Sample: Sendable, Equatable {
    public var values: [Double]

    public init(_ values: [Double]) { self.values = values }

    /// Measures once for each seed.
    public init(seeds: some Sequence<UInt64>, _ measure: (_ seed: UInt64) throws -> Double) rethrows {
        values = try seeds.map(measure)
    }

    /// Not a number without values.
    public var mean: Double { values.reduce(0, +) / Double(values.count) }

    /// Of the mean: the sample's deviation, by n - 1, over √n. Infinite for fewer than two values, so that an effect measured
    /// once proves nothing.
    public var standardError: Double {
        guard values.count > 1 else { return .infinity }
        let (mean, n) = (mean, Double(values.count))
        return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (n - 1) / n).squareRoot()
    }

    /// Differences of two quantities seed by seed: what the seeds have in common cancels.
    ///
    /// - Precondition: Both were measured for the same seeds.
    public static func - (a: Sample, b: Sample) -> Sample { zip(a, b, -) }

    /// Ratios of two quantities seed by seed.
    ///
    /// - Precondition: Both were measured for the same seeds.
    public static func / (a: Sample, b: Sample) -> Sample { zip(a, b, /) }

    private static func zip(_ a: Sample, _ b: Sample, _ combine: (Double, Double) -> Double) -> Sample {
        require(a.values.count == b.values.count, "\(a.values.count) and \(b.values.count) seeds")
        return Sample(a.values.indices.map { combine(a.values[$0], b.values[$0]) })
    }
}

extension Check {
    /// Whether a quantity is above `bar` by more than its own standard error.
    public init(_ statement: String, _ sample: Sample, exceeds bar: Double = 0) {
        self.init(statement, sample.mean - sample.standardError, .greater, bar)
    }

    /// Whether a quantity is below `bar` by more than its own standard error.
    public init(_ statement: String, _ sample: Sample, staysBelow bar: Double) {
        self.init(statement, sample.mean + sample.standardError, .less, bar)
    }
}

extension Measurement {
    /// A mean over seeds and its standard error, next to the baseline's mean over the same seeds.
    public init(_ quantity: String, _ sample: Sample, baseline: Sample? = nil, baselineName: String = "") {
        self.init(quantity, measured: sample.mean, baseline: baseline?.mean, baselineName: baselineName)
        standardError = sample.standardError
        baselineError = baseline?.standardError
    }
}
