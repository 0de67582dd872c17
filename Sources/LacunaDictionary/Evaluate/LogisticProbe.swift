import LacunaTensor

/// A linear classifier of two classes: logistic regression with a small ridge, exact to the last digits.
public struct LogisticProbe: Sendable {
    /// What each column counts, [columns].
    public let direction: [Double]
    /// Added to the inner product; above 0 is the class.
    public let offset: Double

    /// Minimises the mean logistic loss plus `ridge / 2` times the squared norm of the coefficients of columns of deviation 1, by Newton
    /// steps that are halved until they help.
    ///
    /// - Parameters:
    ///   - x: [examples, columns]. Columns that do not vary count nothing.
    ///   - labels: One an example, of both kinds.
    ///   - ridge: Above 0, so that classes that can be told apart without error have a solution.
    /// - Throws: `LacunaError.invalidArgument` for other numbers of labels, one kind of them alone, and a ridge that is not positive;
    ///   `.numerical` for examples that are not finite.
    /// - Complexity: O(examples · columns²) a step, of which there are about ten.
    public init(_ x: Tensor<Float>, labels: [Bool], ridge: Double = 1e-3) throws {
        guard x.rank == 2, labels.count == x.rows, labels.contains(true), labels.contains(false) else {
            throw LacunaError.invalidArgument("labels", reason: "\(labels.count) for \(x.shape), of both kinds")
        }
        guard ridge > 0, ridge.isFinite else { throw LacunaError.invalidArgument("ridge", reason: "\(ridge)") }
        guard x.isFinite else { throw LacunaError.numerical(operation: "probe", reason: "examples are not all finite") }
        let (n, d) = (x.rows, x.columns)
        // Columns of mean 0 and deviation 1, and one of ones behind them.
        var (means, scales) = ([Double](repeating: 0, count: d), [Double](repeating: 0, count: d))
        for t in 0..<n { for i in 0..<d { means[i] += Double(x[t, i]) / Double(n) } }
        for t in 0..<n {
            for i in 0..<d {
                let difference = Double(x[t, i]) - means[i]
                scales[i] += difference * difference / Double(n)
            }
        }
        scales = zip(scales, means).map { $0 > 1e-12 * max($1 * $1, 1e-30) ? 1 / $0.squareRoot() : 0 }
        var design = Tensor<Double>(uninitialized: [n, d + 1])
        for t in 0..<n {
            for i in 0..<d { design[t, i] = (Double(x[t, i]) - means[i]) * scales[i] }
            design[t, d] = 1
        }
        func loss(_ w: Tensor<Double>) -> (value: Double, margins: [Double]) {
            let margins = design.multiplied(by: w).scalars
            var value = 0.0
            for (margin, label) in zip(margins, labels) {
                let signed = label ? -margin : margin
                // log(1 + e^s) without overflow.
                value += max(signed, 0) + logarithm(1 + exponential(-abs(signed)))
            }
            let square = (0..<d).reduce(0.0) { $0 + w[$1, 0] * w[$1, 0] }
            return (value / Double(n) + ridge / 2 * square, margins)
        }
        var w = Tensor<Double>(zeros: [d + 1, 1])
        var state = loss(w)
        for _ in 0..<60 {
            var weighted = Tensor<Double>(uninitialized: [n, d + 1])
            var slope = Tensor<Double>(zeros: [d + 1, 1])
            for t in 0..<n {
                let p = 1 / (1 + exponential(-state.margins[t]))
                let (root, residual) = ((p * (1 - p) / Double(n)).squareRoot(), (p - (labels[t] ? 1 : 0)) / Double(n))
                for i in 0...d {
                    weighted[t, i] = design[t, i] * root
                    slope[i, 0] += design[t, i] * residual
                }
            }
            var curvature = Tensor<Double>(zeros: [d + 1, d + 1])
            curvature.withMutablePointer { c in
                weighted.withPointer { LinearAlgebra.accumulateGram($0, rows: n, columns: d + 1, into: c) }
                for i in 0...d { for j in 0..<i { c[j * (d + 1) + i] = c[i * (d + 1) + j] } }
            }
            for i in 0..<d {
                curvature[i, i] += ridge
                slope[i, 0] += ridge * w[i, 0]
            }
            curvature[d, d] += 1e-12
            let step = try curvature.solvePositiveDefinite(slope)
            var (length, next, found) = (1.0, w, state)
            repeat {
                next = w
                for i in 0...d { next[i, 0] -= length * step[i, 0] }
                found = loss(next)
                length /= 2
            } while found.value > state.value && length > 1e-6
            let gain = state.value - found.value
            if gain >= 0 { (w, state) = (next, found) }
            if gain <= 1e-13 * max(state.value, 1e-3) { break }
        }
        let direction = (0..<d).map { w[$0, 0] * scales[$0] }
        self.direction = direction
        offset = w[d, 0] - zip(direction, means).reduce(0) { $0 + $1.0 * $1.1 }
    }

    /// Whether each row of `x` [examples, columns] is of the class.
    public func predictions(_ x: Tensor<Float>) -> [Bool] {
        require(x.columns == direction.count, "\(x.columns) columns for a probe of \(direction.count)")
        return (0..<x.rows).map { t in
            direction.indices.reduce(offset) { $0 + direction[$1] * Double(x[t, $1]) } > 0
        }
    }

    /// `2 · both / (said + true)`: 1 if what is said is what is true, 0 where nothing is found.
    public static func f1(_ said: [Bool], _ truth: [Bool]) -> Double {
        let total = said.count { $0 } + truth.count { $0 }
        return total > 0 ? 2 * Double(zip(said, truth).count { $0 && $1 }) / Double(total) : 0
    }
}
