import LacunaTensor

/// Groups points around means: Lloyd's steps from k-means++ starts, the best of several.
///
/// Stuart Lloyd, "Least Squares Quantization in PCM", IEEE Transactions on Information Theory 1982; David Arthur, Sergei
/// Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007.
public struct KMeans: Sendable {
    /// How many means, at least 1.
    public var clusters: Int
    /// Starts, of which the best is kept; at least 1.
    public var restarts: Int
    /// Steps from one start at most.
    public var iterations: Int
    /// Decides the starts.
    public var seed: UInt64

    /// Settings as their properties say.
    public init(clusters: Int, restarts: Int = 5, iterations: Int = 100, seed: UInt64 = 0) {
        require(clusters >= 1 && restarts >= 1 && iterations >= 1)
        (self.clusters, self.restarts, self.iterations, self.seed) = (clusters, restarts, iterations, seed)
    }

    /// Means and which point belongs to which.
    public struct Result: Sendable, Equatable {
        /// [clusters, dimensions].
        public let means: Tensor<Double>
        /// The mean nearest to each point.
        public let places: [Int]
        /// The sum of squared distances to them.
        public let distance: Double
    }

    /// - Parameter points: [n, dimensions].
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer points than clusters, and numbers that are not finite;
    ///   ``LacunaError/numerical(operation:reason:)`` where squares of distances are not.
    /// - Complexity: O(n · clusters · dimensions) a step.
    public func fit(_ points: Tensor<Double>) throws -> Result {
        guard points.rank == 2, points.rows >= clusters else {
            throw LacunaError.invalidArgument("points", reason: "\(points.shape) cannot make \(clusters) clusters")
        }
        guard points.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("points", reason: "have a number that is not finite")
        }
        var best: Result?
        for restart in 0..<restarts {
            var generator = SeededGenerator(seed: seed, stream: 0x4B3A &+ UInt64(restart))
            let found = descend(points, from: start(points, using: &generator))
            if found.distance < best?.distance ?? .infinity { best = found }
        }
        guard let best else {
            throw LacunaError.numerical(operation: "k-means", reason: "squared distances are not finite")
        }
        return best
    }

    private static func distance(_ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>, _ count: Int) -> Double {
        var sum = 0.0
        for k in 0..<count { sum += (a[k] - b[k]) * (a[k] - b[k]) }
        return sum
    }

    /// Points that are far from those taken already.
    private func start(_ points: Tensor<Double>, using generator: inout SeededGenerator) -> Tensor<Double> {
        let (n, d) = (points.rows, points.columns)
        var chosen = [Int(generator.next() % UInt64(n))]
        var far = [Double](repeating: .infinity, count: n)
        while chosen.count < clusters {
            points.withPointer { p in
                for i in 0..<n { far[i] = min(far[i], Self.distance(p + i * d, p + chosen[chosen.count - 1] * d, d)) }
            }
            let total = far.reduce(0, +)
            var (place, rest) = (n - 1, generator.uniform() * total)
            for i in 0..<n {
                rest -= far[i]
                if rest < 0 {
                    place = i
                    break
                }
            }
            chosen.append(place)
        }
        return Tensor(chosen.flatMap { i in (0..<d).map { points[i, $0] } }, shape: [clusters, d])
    }

    private func descend(_ points: Tensor<Double>, from start: Tensor<Double>) -> Result {
        let (n, d, m) = (points.rows, points.columns, start.rows)
        var means = start.scalars
        var places = [Int](repeating: -1, count: n)
        var distance = Double.infinity
        for _ in 0..<iterations {
            var (changed, sum) = (false, 0.0)
            points.withPointer { p in
                for i in 0..<n {
                    var (best, nearest) = (Double.infinity, 0)
                    for c in 0..<m {
                        let here = means.withUnsafeBufferPointer {
                            Self.distance(p + i * d, $0.baseAddress! + c * d, d)
                        }
                        if here < best { (best, nearest) = (here, c) }
                    }
                    if places[i] != nearest { (places[i], changed) = (nearest, true) }
                    sum += best
                }
            }
            distance = sum
            if !changed { break }
            var (sums, counts) = ([Double](repeating: 0, count: m * d), [Double](repeating: 0, count: m))
            for i in 0..<n {
                counts[places[i]] += 1
                for k in 0..<d { sums[places[i] * d + k] += points[i, k] }
            }
            // A mean without points stays where it is.
            for c in 0..<m where counts[c] > 0 { for k in 0..<d { means[c * d + k] = sums[c * d + k] / counts[c] } }
        }
        return Result(means: Tensor(means, shape: [m, d]), places: places, distance: distance)
    }
}
