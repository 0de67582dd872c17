import LacunaLearn
import LacunaModels
import LacunaTensor

extension ActivationMethod {
    /// Leaves out neurons of gated feed-forward parts by ``StatisticalTopK`` of `gate x`, which needs no calibration: networks that
    /// were trained with it have that sparsity by construction; others pay for the neurons it leaves out.
    ///
    /// Chong You and others, "Spark Transformer: Reactivating Sparsity in FFN and Attention", arXiv 2506.06644. Neurons that stay
    /// keep their values, as networks that are loaded were not trained with the paper's soft threshold; ``SparkFeedForward`` is the
    /// part that was.
    public static let spark = ActivationMethod(
        name: "spark", target: .preactivations, score: .magnitude, choice: .statistical,
        card: MethodCard(
            name: "spark", family: .activation,
            paper: .init(
                authors: "Chong You et al.",
                title: "Spark Transformer: Reactivating Sparsity in FFN and Attention", arXiv: "2506.06644"),
            composition: ["gate preactivation", "statistical top-k", "row-skipping and input-major products"]))
}

/// About the k largest of d numbers, without sorting: those above `θ = mean + deviation · Q(1 - k/d)`, Q the quantile function of
/// the normal distribution. As exact as the numbers are normal: of Laplace's it keeps fewer, of Student's far fewer.
public struct StatisticalTopK: Sendable, Hashable {
    /// k / d, in `0 < … <= 1`.
    public let density: Double
    /// Q(1 - k/d); -∞ for all numbers.
    public let quantile: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a density that is not above 0 and at most 1.
    public init(density: Double) throws {
        guard density > 0 && density <= 1 else {
            throw LacunaError.invalidArgument("density", reason: "\(density) is not above 0 and at most 1")
        }
        self.density = density
        quantile = density == 1 ? -.infinity : NormalDistribution.quantile(1 - density)
    }

    /// θ of some numbers, with the deviation of all of them (divided by d); -∞ if all are to be kept.
    ///
    /// - Complexity: O(count), two passes.
    public func threshold(_ x: UnsafePointer<Float>, count: Int) -> Float {
        if density == 1 || count == 0 { return -.infinity }
        var sum = 0.0
        for i in 0..<count { sum += Double(x[i]) }
        let mean = sum / Double(count)
        var squares = 0.0
        for i in 0..<count {
            let difference = Double(x[i]) - mean
            squares += difference * difference
        }
        return Float(mean + (squares / Double(count)).squareRoot() * quantile)
    }

    /// The numbers above θ, as indices; at least the largest.
    public func active(_ x: UnsafePointer<Float>, count: Int) -> [UInt32] {
        let limit = threshold(x, count: count)
        let chosen = (0..<UInt32(count)).filter { x[Int($0)] > limit }
        if !chosen.isEmpty || count == 0 { return chosen }
        return [UInt32((0..<count).max { x[$0] < x[$1] }!)]
    }

    /// `max(x - θ, 0)`: what networks are trained with, the z ≥ 0 that minimises `θ Σ z + ½ ‖x - z‖²`. With a density of 1 the
    /// numbers themselves.
    public func soft(_ x: [Float]) -> [Float] {
        if density == 1 { return x }
        let limit = x.withUnsafeBufferPointer { $0.isEmpty ? 0 : threshold($0.baseAddress!, count: x.count) }
        return x.map { max($0 - limit, 0) }
    }
}

extension Variable {
    /// Of each row `max(x - θ, 0)`, θ that of the row (``StatisticalTopK/soft(_:)``). Gradients go through what is above θ, and through the
    /// row's mean and deviation.
    ///
    /// - Complexity: O(count), a few passes.
    public func softTopK(_ selection: StatisticalTopK) -> Variable {
        if selection.density == 1 { return self }
        let (rows, width) = (rows, columns)
        func moments(_ x: UnsafePointer<Scalar>) -> (mean: Double, deviation: Double) {
            var (sum, squares) = (0.0, 0.0)
            for i in 0..<width { sum += Double(x[i]) }
            let mean = sum / Double(max(width, 1))
            for i in 0..<width { squares += (Double(x[i]) - mean) * (Double(x[i]) - mean) }
            return (mean, (squares / Double(max(width, 1))).squareRoot())
        }
        return tape.operation(inputs: [self], shape: shape) { inputs, output in
            guard let x = inputs[0].baseAddress, let y = output.baseAddress else { return }
            for row in 0..<rows {
                let (x, y) = (x + row * width, y + row * width)
                let (mean, deviation) = moments(x)
                let limit = Scalar(mean + deviation * selection.quantile)
                for i in 0..<width { y[i] = max(x[i] - limit, 0) }
            }
        } backward: { pass in
            pass.accumulate(0) { dx in
                guard let x = pass.inputs[0].baseAddress else { return }
                for row in 0..<rows {
                    let start = row * width
                    let (mean, deviation) = moments(x + start)
                    // What all survivors together ask θ to be.
                    var sum = 0.0
                    for i in start..<start + width where pass.output[i] > 0 { sum += Double(pass.gradient[i]) }
                    let slope = deviation > 0 ? selection.quantile / deviation : 0
                    for i in start..<start + width {
                        let own = pass.output[i] > 0 ? Double(pass.gradient[i]) : 0
                        let share = sum / Double(width) * (1 + slope * (Double(x[i]) - mean))
                        dx[i] += Scalar(own - share)
                    }
                }
            }
        }
    }
}
