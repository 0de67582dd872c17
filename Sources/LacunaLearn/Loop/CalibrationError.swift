import LacunaTensor

extension Classification {
    /// The expected calibration error: how far the sureness of predictions is from their share of right ones.
    ///
    /// Rows are sorted into bins of equal width by their largest probability; `Σ_b (n_b / n) |accuracy_b - mean sureness_b|` over the
    /// bins that are not empty. Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Weinberger, "On Calibration of Modern Neural Networks",
    /// arXiv 1706.04599. It is a number of all rows together: the mean of the errors of parts is another.
    ///
    /// - Parameters:
    ///   - probabilities: [n, classes], not logits: each row sums to 1.
    ///   - labels: One a row, in 0..<classes.
    ///   - bins: At least 1.
    /// - Returns: 0...1; 0 without rows.
    /// - Throws: `LacunaError.invalidArgument` for rows that are no probabilities, and for labels or bins out of range.
    /// - Complexity: O(n · classes).
    public static func calibrationError(
        _ probabilities: Tensor<Float>, _ labels: [Int32], bins: Int = 15
    ) throws -> Double {
        guard bins >= 1 else { throw LacunaError.invalidArgument("bins", reason: "\(bins) is not at least 1") }
        guard probabilities.rank == 2, probabilities.rows == labels.count else {
            throw LacunaError.invalidArgument(
                "labels", reason: "\(labels.count) for probabilities of shape \(probabilities.shape)")
        }
        let classes = probabilities.columns
        var (counts, right, sureness) = (
            [Int](repeating: 0, count: bins), [Int](repeating: 0, count: bins), [Double](repeating: 0, count: bins)
        )
        for (row, label) in labels.enumerated() {
            guard label >= 0, Int(label) < classes else {
                throw LacunaError.invalidArgument("labels", reason: "\(label) is not in 0..<\(classes)")
            }
            let values = (0..<classes).map { Double(probabilities[row, $0]) }
            guard values.allSatisfy({ $0 >= 0 }), abs(values.reduce(0, +) - 1) < 1e-3 else {
                throw LacunaError.invalidArgument("probabilities", reason: "row \(row) does not sum to 1: logits?")
            }
            let best = values.indices.max { values[$0] < values[$1] }!
            // Bins are (a, b]: certainty belongs to the last.
            let bin = min(max(Int((values[best] * Double(bins)).rounded(.up)) - 1, 0), bins - 1)
            counts[bin] += 1
            sureness[bin] += values[best]
            if best == Int(label) { right[bin] += 1 }
        }
        let sum = (0..<bins).reduce(0.0) { $0 + abs(Double(right[$1]) - sureness[$1]) }
        return labels.isEmpty ? 0 : sum / Double(labels.count)
    }
}
