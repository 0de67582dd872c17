import LacunaIO
import LacunaTensor

/// The shift and scale that bring the columns of training data to mean 0 and deviation 1. Kept with a model, it prepares
/// later rows as the first ones were.
public struct Standardization: Sendable, Hashable {
    /// Of each column.
    public let means: [Float]
    /// The inverse of each column's deviation; 0 for a column that never changes: it says nothing and becomes 0.
    public let scales: [Float]

    /// - Precondition: As many scales as means.
    public init(means: [Float], scales: [Float]) {
        require(means.count == scales.count, "\(scales.count) scales for \(means.count) means")
        (self.means, self.scales) = (means, scales)
    }

    /// By the statistics of `rows` [n, columns].
    public init(of rows: Tensor<Float>) {
        let (n, d) = (rows.rows, rows.columns)
        var (means, scales) = ([Float](repeating: 0, count: d), [Float](repeating: 0, count: d))
        for c in 0..<d where n > 0 {
            let column = (0..<n).map { Double(rows[$0, c]) }
            let mean = column.reduce(0, +) / Double(n)
            let variance = column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
            (means[c], scales[c]) = (Float(mean), variance > 1e-12 ? Float(1 / variance.squareRoot()) : 0)
        }
        self.init(means: means, scales: scales)
    }

    /// Rows [n, columns], standardised.
    public func callAsFunction(_ rows: Tensor<Float>) -> Tensor<Float> {
        require(rows.columns == means.count, "rows of \(rows.columns) for \(means.count) columns")
        var result = rows
        let (n, d) = (rows.rows, rows.columns)
        result.withMutablePointer { p in
            for r in 0..<n { for c in 0..<d { p[r * d + c] = (p[r * d + c] - means[c]) * scales[c] } }
        }
        return result
    }

    /// For a model's files.
    public var json: JSONValue {
        [
            "means": .array(means.map { .number(Double($0)) }), "scales": .array(scales.map { .number(Double($0)) }),
        ]
    }

    /// Takes back what ``json`` gave.
    ///
    /// - Throws: `LacunaError.malformed` for anything else.
    public init(_ fields: JSONFields) throws {
        func numbers(_ key: String) throws -> [Float] {
            try fields.array(key).map {
                guard let value = $0.doubleValue, value.isFinite else {
                    throw fields.failure(key, "expected numbers, found \($0.kind)")
                }
                return Float(value)
            }
        }
        let (means, scales) = (try numbers("means"), try numbers("scales"))
        guard means.count == scales.count else {
            throw fields.failure("scales", "\(scales.count) for \(means.count) means")
        }
        self.init(means: means, scales: scales)
    }
}
