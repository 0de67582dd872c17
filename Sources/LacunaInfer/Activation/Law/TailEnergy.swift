import LacunaModels
import LacunaSparse
import LacunaTensor

/// How much of a feed-forward part's output comes from the neurons that contribute least: with `c_i = |h_i| ‖W_down[:, i]‖` the
/// contribution of a neuron to a token, the mean over tokens of `‖W_down (h where c <= t)‖ / ‖W_down h‖`, the cumulative errors of tail truncation
/// (CETT) of a threshold t.
///
/// Yuqi Luo, Chenyang Song, Xu Han, Yingfa Chen, Chaojun Xiao, Xiaojun Meng, Liqun Deng, Jiansheng Wei, Zhiyuan Liu, Maosong Sun,
/// "Sparsing Law: Towards Large Language Models with Greater Activation Sparsity", arXiv 2411.02335.
public struct TailEnergy: Sendable {
    /// The norms of the columns of W_down.
    public let norms: [Float]
    private let hidden: [Float]
    private let contributions: [Float]
    private let outputNorms: [Double]
    private let down: any StoredMatrix
    private let rows: Int

    /// Values among which a threshold is looked for.
    static let gridCount = 65_536

    /// - Parameters:
    ///   - hidden: What W_down reads, [tokens, neurons].
    ///   - down: W_down, [width, neurons].
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for no tokens, or another number of neurons;
    ///   ``LacunaError/numerical(operation:reason:)`` for numbers that are not finite.
    public init(_ hidden: Tensor<Float>, down: any StoredMatrix) throws {
        guard hidden.rank == 2, hidden.columns == down.columns, hidden.rows > 0 else {
            throw LacunaError.invalidArgument(
                "hidden", reason: "\(hidden.shape) for a matrix of \(down.columns) columns")
        }
        rows = hidden.rows
        self.hidden = hidden.scalars
        self.down = down
        let norms = down.columnNorms
        self.norms = norms
        contributions = self.hidden.enumerated().map { abs($1) * norms[$0 % norms.count] }
        guard contributions.allSatisfy(\.isFinite) else {
            throw LacunaError.numerical(operation: "tail energy", reason: "activations are not finite")
        }
        outputNorms = Self.outputNorms(self.hidden, rows: hidden.rows, down)
    }

    private static func outputNorms(_ hidden: [Float], rows: Int, _ down: any StoredMatrix) -> [Double] {
        let width = down.rows
        let outputs = Buffer<Float>(uninitialized: max(rows * width, 1))
        hidden.withUnsafeBufferPointer { Product.gemm(down, $0.baseAddress!, count: rows, into: outputs.pointer) }
        return (0..<rows).map { row in
            (0..<width).reduce(0.0) { sum, i in
                let y = Double(outputs.pointer[row * width + i])
                return sum + y * y
            }.squareRoot()
        }
    }

    /// The mean over tokens of the norm of what contributions of at most `threshold` add, over the norm of the whole; tokens whose whole
    /// is 0 count as 0. The norm is that of the sum of the tail, not the sum of its norms.
    ///
    /// - Complexity: O(tokens · neurons · width).
    public func callAsFunction(_ threshold: Float) -> Double {
        var tail = hidden
        for i in tail.indices where contributions[i] > threshold { tail[i] = 0 }
        let norms = Self.outputNorms(tail, rows: rows, down)
        return zip(norms, outputNorms).reduce(0) { $0 + ($1.1 > 0 ? $1.0 / $1.1 : 0) } / Double(rows)
    }

    /// Share of tokens and neurons with a contribution above a threshold.
    public func activationRatio(_ threshold: Float) -> Double {
        Double(contributions.count { $0 > threshold }) / Double(contributions.count)
    }

    /// The largest threshold, of 65 536 between the least contribution and the 0.99 quantile (or the largest, if the target is not met
    /// before), whose tail has at most this energy, found by halving. Tails need not grow with every step for every token; on average
    /// they do.
    ///
    /// - Parameter target: 0...1.
    public func threshold(_ target: Double) -> Float {
        let sorted = contributions.sorted()
        let (least, largest) = (sorted[0], sorted[sorted.count - 1])
        let quantile = sorted[min(Int(0.99 * Double(sorted.count)), sorted.count - 1)]
        let top = self(quantile) >= target ? quantile : largest
        func value(_ place: Int) -> Float { least + (top - least) * Float(place) / Float(Self.gridCount - 1) }
        // Where the least contribution already has more energy than wanted, nothing is left out but exact zeros.
        if self(value(0)) > target { return 0 }
        var (low, high) = (0, Self.gridCount)
        while high - low > 1 {
            let middle = (low + high) / 2
            if self(value(middle)) <= target { low = middle } else { high = middle }
        }
        return value(low)
    }
}
