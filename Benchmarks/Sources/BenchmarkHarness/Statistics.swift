/// Order statistics of a sample: timings have long tails, so nothing here takes a mean.
public enum Statistics {
    /// The value below which the fraction `q` of the sample lies, interpolated between neighbours.
    ///
    /// - Precondition: The sample is not empty and `q` is in 0...1.
    public static func quantile(_ sample: [Double], _ q: Double) -> Double {
        precondition(!sample.isEmpty && q >= 0 && q <= 1)
        let sorted = sample.sorted()
        let position = q * Double(sorted.count - 1)
        let lower = Int(position)
        let upper = min(lower + 1, sorted.count - 1)
        return sorted[lower] + (sorted[upper] - sorted[lower]) * (position - Double(lower))
    }

    public static func median(_ sample: [Double]) -> Double { quantile(sample, 0.5) }

    /// Half the distance between the quartiles, as a fraction of the median: how far a typical value is off.
    public static func spread(_ sample: [Double]) -> Double {
        let middle = median(sample)
        return middle == 0 ? 0 : (quantile(sample, 0.75) - quantile(sample, 0.25)) / 2 / middle
    }
}
