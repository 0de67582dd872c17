import LacunaTensor

/// Ranks the columns of a design by their mutual information with a target, and says which of them stand out from chance.
///
/// No shape of the dependence is assumed, so a column that acts through its square is found where its correlation is 0. The
/// target is permuted to learn how large the largest of all columns' informations is when nothing is related to it:
/// p-values compare with that maximum, so that screening ten thousand columns brings no more false alarms than screening one.
///
/// Kai Yang, Masoud Asgharian, Nikhil Bhagwat, Jean-Baptiste Poline, Celia Greenwood, "fastHDMI: Fast Mutual Information
/// Estimation for High-Dimensional Data", arXiv 2410.10082; p-values: Peter Westfall, Stanley Young, "Resampling-Based Multiple
/// Testing", Wiley 1993.
public struct InformationScreen<Estimator: MutualInformationEstimator>: Sendable {
    /// How information is measured.
    public var estimator: Estimator
    /// Permutations of the target; 0 for none. With `B` of them no p-value is below `1 / (B + 1)`.
    public var permutations: Int
    /// Decides the permutations.
    public var seed: UInt64
    /// Told about columns; its error, as when a user cancels, ends the ranking.
    public var progress: (any ProgressReporter)?

    /// - Parameter permutations: At least 0; 0 for no p-values.
    public init(
        estimator: Estimator = KernelDensityInformation(), permutations: Int = 0, seed: UInt64 = 0,
        progress: (any ProgressReporter)? = nil
    ) {
        require(permutations >= 0)
        self.estimator = estimator
        self.permutations = permutations
        self.seed = seed
        self.progress = progress
    }

    /// What is known of one column.
    public struct Column: Sendable, Equatable {
        /// Its place in the design.
        public let column: Int
        /// Mutual information with the target, in nats.
        public let information: Double
        /// Pearson's correlation with the target; 0 if either is constant.
        public let correlation: Double
        /// Probability that the best of all columns would tell as much about an unrelated target; nil without permutations.
        public let pValue: Double?

        /// `√(1 - exp(-2 I))`: the correlation that normal variables of this information would have.
        ///
        /// Edward Linfoot, "An Informational Measure of Correlation", Information and Control 1957.
        public var dependence: Double { (1 - exponential(-2 * information)).squareRoot() }
    }

    /// All columns, the most telling first; equal ones in order of their numbers.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the numbers of rows differ, are below 2, or a number is not
    ///   finite; ``LacunaError/cancelled``.
    public func rank(_ design: any Design, target: [Double]) throws -> [Column] {
        guard design.rows == target.count else {
            throw LacunaError.invalidArgument(
                "design", reason: "has \(design.rows) rows, the target has \(target.count)")
        }
        try design.requireFinite()
        let y = try estimator.prepare(target)
        let (n, p) = (target.count, design.columns)
        var generator = SeededGenerator(seed: seed, stream: 0x5C4EE)
        let orders = (0..<permutations).map { _ in (0..<n).shuffled(using: &generator) }
        let found = Buffer<Double>(repeating: 0, count: p)
        let correlations = Buffer<Double>(repeating: 0, count: p)
        let chance = Buffer<Double>(repeating: 0, count: p * max(permutations, 1))
        // Batches let the work be cancelled; each column is by itself, so threads do not change results.
        let batch = 64
        for start in stride(from: 0, to: p, by: batch) {
            try progress.report("screening columns", start, of: p)
            Parallel.forEach(min(batch, p - start)) { k in
                let j = start + k
                var values = [Double](repeating: 0, count: n)
                design.add(1, column: j, to: &values)
                // Finite numbers were checked above, and there are two or more.
                guard let x = try? estimator.prepare(values) else { return }
                found.pointer[j] = estimator.information(x, y, order: nil)
                correlations.pointer[j] = Self.correlation(values, target)
                for (b, order) in orders.enumerated() {
                    chance.pointer[b * p + j] = estimator.information(x, y, order: order)
                }
            }
        }
        let largest = (0..<permutations).map { b in (0..<p).reduce(0.0) { max($0, chance.pointer[b * p + $1]) } }
        return (0..<p).map { j in
            let information = found.pointer[j]
            let reached = largest.count { $0 >= information }
            return Column(
                column: j, information: information, correlation: correlations.pointer[j],
                pValue: permutations > 0 ? Double(1 + reached) / Double(permutations + 1) : nil)
        }.sorted { ($0.information, $1.column) > ($1.information, $0.column) }
    }

    /// Leaves out columns that repeat a better one: those whose information with a column kept so far exceeds that with the
    /// target.
    ///
    /// - Parameter ranked: As ``rank(_:target:)`` returned them, or the first of them.
    /// - Complexity: One estimate for each pair of a column and a kept one.
    public func clumped(_ ranked: [Column], _ design: any Design) throws -> [Column] {
        var kept: [(column: Column, variable: PreparedVariable)] = []
        for candidate in ranked {
            var values = [Double](repeating: 0, count: design.rows)
            design.add(1, column: candidate.column, to: &values)
            let variable = try estimator.prepare(values)
            if kept.contains(where: {
                estimator.information($0.variable, variable, order: nil) > candidate.information
            }) {
                continue
            }
            kept.append((candidate, variable))
        }
        return kept.map(\.column)
    }

    private static func correlation(_ x: [Double], _ y: [Double]) -> Double {
        let n = Double(x.count)
        // Relative to the largest magnitudes, so that squares neither overflow nor vanish.
        let (a, b) = (x.reduce(0) { max($0, abs($1)) }, y.reduce(0) { max($0, abs($1)) })
        if a == 0 || b == 0 { return 0 }
        let (meanX, meanY) = (x.reduce(0) { $0 + $1 / a } / n, y.reduce(0) { $0 + $1 / b } / n)
        var (xx, yy, xy) = (0.0, 0.0, 0.0)
        for i in x.indices {
            let (u, v) = (x[i] / a - meanX, y[i] / b - meanY)
            xx += u * u
            yy += v * v
            xy += u * v
        }
        return xx > 1e-28 * n && yy > 1e-28 * n ? xy / (xx * yy).squareRoot() : 0
    }
}
