import LacunaTensor

/// Estimates how much one variable tells about another, in nats: 0 for independent variables, whatever the shape of the
/// dependence otherwise.
public protocol MutualInformationEstimator: Sendable {
    /// - Parameters:
    ///   - x: Finite numbers.
    ///   - y: As many.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for different lengths, fewer than 2 numbers, or numbers that are
    ///   not finite.
    func information(_ x: [Double], _ y: [Double]) throws -> Double
    /// What ``information(_:_:)`` needs of one variable, made once for many pairs.
    func prepare(_ x: [Double]) throws -> PreparedVariable
    /// The information between two prepared variables, the rows of the second taken in another order if one is given.
    func information(_ x: PreparedVariable, _ y: PreparedVariable, order: [Int]?) -> Double
}

extension MutualInformationEstimator {
    public func information(_ x: [Double], _ y: [Double]) throws -> Double {
        guard x.count == y.count else {
            throw LacunaError.invalidArgument("variables", reason: "have \(x.count) and \(y.count) values")
        }
        return information(try prepare(x), try prepare(y), order: nil)
    }
}

/// A variable as an estimator of mutual information sees it.
public struct PreparedVariable: Sendable {
    enum Content: Sendable {
        /// The same value throughout: it tells nothing.
        case constant
        /// The number of each row's value among the different ones.
        case discrete(labels: [Int32], levels: Int)
        /// Numbers on a robust scale: median 0, interquartile range that of a standard normal variable.
        case continuous(values: [Double], spread: Double)
    }
    let content: Content

    /// - Parameter discreteLevels: Variables of at most so many different values are discrete.
    init(_ x: [Double], discreteLevels: Int) throws {
        guard x.count >= 2 else {
            throw LacunaError.invalidArgument("variable", reason: "has \(x.count) values; 2 are needed")
        }
        if let bad = x.firstIndex(where: { !$0.isFinite }) {
            throw LacunaError.invalidArgument("variable", reason: "value \(bad + 1) is \(x[bad])")
        }
        let sorted = x.sorted()
        var distinct: [Double] = []
        for value in sorted where value != distinct.last {
            distinct.append(value)
            if distinct.count > discreteLevels { break }
        }
        if sorted.first == sorted.last {
            content = .constant
        } else if distinct.count <= discreteLevels {
            content = .discrete(
                labels: x.map { value in Int32(distinct.firstIndex(of: value) ?? 0) }, levels: distinct.count)
        } else {
            let scaled = RobustScale(sorted: sorted).apply(x)
            content = .continuous(values: scaled.values, spread: scaled.spread)
        }
    }
}

/// Centre and scale by quartiles, which outliers do not move.
struct RobustScale {
    let median: Double
    /// Interquartile range over that of a standard normal variable; the standard deviation where the quartiles coincide.
    let scale: Double
    /// Scaled values are held within this distance from 0, so that no outlier stretches a grid until all else is in one cell.
    static let limit = 8.0

    /// - Parameter sorted: Ascending, not all equal.
    init(sorted: [Double]) {
        func quantile(_ q: Double) -> Double {
            let place = q * Double(sorted.count - 1)
            let low = Int(place)
            let rest = place - Double(low)
            return rest == 0 ? sorted[low] : sorted[low] * (1 - rest) + sorted[low + 1] * rest
        }
        let middle = quantile(0.5)
        median = middle
        let range = (quantile(0.75) - quantile(0.25)) / 1.3489795003921634
        if range > 0 {
            scale = range
        } else {
            let largest = max(abs(sorted[0] - middle), abs(sorted[sorted.count - 1] - middle))
            // Relative to the largest deviation, so that squares neither overflow nor vanish.
            let square = sorted.reduce(0.0) { sum, value in
                let share = (value - middle) / largest
                return sum + share * share
            }
            scale = largest * (square / Double(sorted.count)).squareRoot()
        }
    }

    /// The scaled values, and the smaller of their standard deviation and the robust one, by which bandwidths are chosen.
    func apply(_ x: [Double]) -> (values: [Double], spread: Double) {
        let values = x.map { min(Self.limit, max(-Self.limit, ($0 - median) / scale)) }
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
        return (values, min(1, max(variance.squareRoot(), 1e-3)))
    }
}

/// `Σ p log(p / (p_row p_column))` of a table of counts or masses of any total.
func tableInformation(_ table: UnsafePointer<Double>, rows: Int, columns: Int) -> Double {
    var total = 0.0
    var joint = 0.0
    var byRow = [Double](repeating: 0, count: rows)
    var byColumn = [Double](repeating: 0, count: columns)
    for i in 0..<rows {
        for j in 0..<columns {
            let mass = table[i * columns + j]
            if mass <= 0 { continue }
            joint += mass * logarithm(mass)
            byRow[i] += mass
            byColumn[j] += mass
        }
        total += byRow[i]
    }
    if total <= 0 { return 0 }
    let alone = (byRow + byColumn).reduce(0.0) { $1 > 0 ? $0 + $1 * logarithm($1) : $0 }
    return max(0, (joint - alone) / total + logarithm(total))
}
