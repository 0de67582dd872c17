import LacunaLearn
import LacunaSparse
import LacunaTensor

/// How well a dictionary describes activations, and how its features are used.
public struct DictionaryQuality: Sendable {
    /// Tokens looked at.
    public let tokens: Int
    /// Active features a token, on average.
    public let active: Double
    /// `Σ‖x - x̂‖² / Σ‖x - mean x‖²`, the share of variance that is not explained.
    public let unexplained: Double
    /// Mean cosine of `x` and `x̂`.
    public let cosine: Double
    /// Share of the tokens in which each feature is active.
    public let density: [Double]
    /// Mean magnitude of each feature where it is active; 0 for those that never are.
    public let strength: [Double]

    /// `1 - unexplained`.
    public var explained: Double { 1 - unexplained }
    /// Share of the features that are never active.
    public var dead: Double { share { $0 == 0 } }
    /// Share of the features that are active in more than a share of the tokens.
    public func dense(above bound: Double = 0.1) -> Double { share { $0 > bound } }

    private func share(_ holds: (Double) -> Bool) -> Double {
        Double(density.count(where: holds)) / Double(max(density.count, 1))
    }

    /// How many features are active in 1 to 1/10 of the tokens, 1/10 to 1/100 and so on down to 1e-7; those that
    /// never are do not count.
    public var densityHistogram: [(upTo: Double, features: Int)] {
        (0..<7).map { decade in
            let (high, low) = (power(10, -Double(decade)), power(10, -Double(decade + 1)))
            return (high, density.count { $0 > 0 && $0 <= high && ($0 > low || decade == 6) })
        }
    }

    /// - Parameters:
    ///   - batches: Activations, and targets for a transcoder.
    ///   - scope: Whether tokens are encoded each by itself, as they are after training.
    /// - Throws: As ``SparseAutoencoder/encode(_:gradients:scope:)``; `LacunaError.invalidArgument` for no tokens.
    public init(
        of dictionary: SparseAutoencoder, on batches: some Sequence<ActivationBatch>,
        scope: SparseAutoencoder.Scope = .token
    ) throws {
        var moments = Moments(dimensions: dictionary.configuration.outputDimensions)
        var (error, cosines, entries) = (0.0, 0.0, 0)
        var counts = [Int](repeating: 0, count: dictionary.width)
        var sums = [Double](repeating: 0, count: dictionary.width)
        for batch in batches {
            try dictionary.requireShapes(batch)
            let code = try dictionary.encode(batch.inputs, gradients: batch.gradients, scope: scope)
            let (goal, found) = (batch.targets ?? batch.inputs, dictionary.decode(code))
            error += goal.subtracting(found).sumOfSquares
            let (n, d) = (goal.rows, goal.columns)
            goal.withPointer { x in
                found.withPointer { y in
                    let both = Directions.dots(x, y, rows: n, columns: d)
                    let (a, b) = (
                        Directions.norms(x, rows: n, columns: d), Directions.norms(y, rows: n, columns: d)
                    )
                    for t in 0..<n where a[t] > 0 && b[t] > 0 { cosines += Double(both[t]) / Double(a[t] * b[t]) }
                }
            }
            moments.add(goal)
            code.forEachEntry { _, j, value in
                if value != 0 {
                    counts[j] += 1
                    sums[j] += Double(abs(value))
                    entries += 1
                }
            }
        }
        guard moments.count > 0 else { throw LacunaError.invalidArgument("activations", reason: "there are no tokens") }
        tokens = moments.count
        let total = Double(tokens)
        active = Double(entries) / total
        unexplained = error / moments.sumOfSquaresAroundMean
        cosine = cosines / total
        density = counts.map { Double($0) / total }
        strength = zip(sums, counts).map { $1 > 0 ? $0 / Double($1) : 0 }
    }

    /// Mean and spread of vectors that come in pieces.
    struct Moments {
        private(set) var count = 0
        private var mean: [Double]
        private(set) var sumOfSquaresAroundMean = 0.0

        init(dimensions: Int) { mean = [Double](repeating: 0, count: dimensions) }

        /// Chan's formula for joining two samples, which subtracts no large numbers from each other.
        mutating func add(_ x: Tensor<Float>) {
            if x.rows > 0 { add(x.rows, x.rowMean.map(Double.init), x.sumOfSquaresAroundMean) }
        }

        private mutating func add(_ rows: Int, _ own: [Double], _ squares: Double) {
            let (n, m) = (Double(count), Double(rows))
            var shift = 0.0
            for j in own.indices {
                let difference = own[j] - mean[j]
                shift += difference * difference
                mean[j] += difference * m / (n + m)
            }
            sumOfSquaresAroundMean += squares + shift * n * m / (n + m)
            count += rows
        }

        /// `Σ ‖x - mean‖²` of rows that several processes have a part of each, at least one row.
        static func sumOfSquaresAroundMean(_ x: Tensor<Float>, among collective: any Collective) throws -> Double {
            if collective.count == 1 { return x.sumOfSquaresAroundMean }
            let own = [Double(x.rows), x.sumOfSquaresAroundMean] + x.rowMean.map(Double.init)
            var moments = Moments(dimensions: x.columns)
            for part in try collective.gather(own) { moments.add(Int(part[0]), Array(part[2...]), part[1]) }
            return moments.sumOfSquaresAroundMean
        }
    }
}
