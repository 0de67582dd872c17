import LacunaTensor

/// Mutual information of histograms with as many bins as a penalised likelihood chooses for each variable.
///
/// The number of bins `D` maximises `Σ N_j log N_j + n log D - (D - 1 + log(D)^2.5)` over the bins' counts `N_j`, where bins
/// are of equal width on the robust scale. Counting is unbiased by smoothing, but few observations in many bins make
/// independent variables look dependent.
///
/// Lucien Birgé, Yves Rozenholc, "How Many Bins Should Be Put in a Regular Histogram", ESAIM: Probability and Statistics 2006.
public struct HistogramInformation: MutualInformationEstimator {
    /// Bins at most.
    public var maximumBins: Int
    /// Variables of at most so many different values are discrete: a bin for each.
    public var discreteLevels: Int

    /// Settings as their properties say.
    public init(maximumBins: Int = 100, discreteLevels: Int = 10) {
        require(maximumBins >= 1 && discreteLevels >= 2)
        self.maximumBins = maximumBins
        self.discreteLevels = discreteLevels
    }

    public func prepare(_ x: [Double]) throws -> PreparedVariable {
        let variable = try PreparedVariable(x, discreteLevels: discreteLevels)
        guard case .continuous(let values, _) = variable.content else { return variable }
        let bins = bestBinCount(values)
        return PreparedVariable(content: .discrete(labels: Self.labels(values, bins), levels: bins))
    }

    public func information(_ x: PreparedVariable, _ y: PreparedVariable, order: [Int]? = nil) -> Double {
        guard case .discrete(let a, let rows) = x.content, case .discrete(let b, let columns) = y.content else {
            return 0
        }
        var table = [Double](repeating: 0, count: rows * columns)
        for i in a.indices { table[Int(a[i]) * columns + Int(b[order?[i] ?? i])] += 1 }
        return tableInformation(table, rows: rows, columns: columns)
    }

    /// The number of bins that the criterion prefers; the smallest of equal ones.
    public func bestBinCount(_ values: [Double]) -> Int {
        let n = Double(values.count)
        let limit = min(maximumBins, max(1, Int(n / max(1, logarithm(n)))))
        var (best, bestScore) = (1, -Double.infinity)
        for bins in 1...limit {
            var counts = [Double](repeating: 0, count: bins)
            for label in Self.labels(values, bins) { counts[Int(label)] += 1 }
            let likelihood = counts.reduce(0.0) { $1 > 0 ? $0 + $1 * logarithm($1) : $0 }
            let d = Double(bins)
            let score = likelihood + n * logarithm(d) - (d - 1 + power(logarithm(d), 2.5))
            if score > bestScore { (best, bestScore) = (bins, score) }
        }
        return best
    }

    private static func labels(_ values: [Double], _ bins: Int) -> [Int32] {
        var (low, high) = (Double.infinity, -Double.infinity)
        for value in values {
            low = min(low, value)
            high = max(high, value)
        }
        let width = (high - low) / Double(bins)
        return values.map { width > 0 ? Int32(min(bins - 1, Int(($0 - low) / width))) : 0 }
    }
}

extension PreparedVariable {
    init(content: Content) { self.content = content }
}
