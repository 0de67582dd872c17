import LacunaModels
import LacunaSparse
import LacunaTensor

/// Experts that take equal shares of a batch, each from at most so many vectors: a ``SparseTransport`` between vectors and experts,
/// whose costs are the negated shares of a softmax over the scores `W x`. A vector is read by the experts that take from it, weighted by
/// how much they take; one that none takes from by the expert with its largest score.
///
/// Tianlin Liu, Joan Puigcerver, Mathieu Blondel, "Sparsity-Constrained Optimal Transport", arXiv 2209.15466. No expert's load is above
/// `capacity` but for vectors that would go unread. Fewer vectors than experts cannot be shared out evenly: they go to the expert
/// with the largest score, as a ``TopRouter`` of one has it.
public struct TransportRouter: Router {
    /// [experts, inputs].
    public let scores: LinearLayer
    /// Vectors that an expert takes from, over an even share of them: 1 for as many as there are for each; above 0.
    public let capacity: Double
    /// γ of the transport over the number of vectors, each of which has as small a part of the plan: in units of shares.
    public let regularization: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a capacity or regularisation that is not positive.
    public init(_ scores: LinearLayer, capacity: Double = 1, regularization: Double = 0.1) throws {
        guard capacity > 0, capacity.isFinite else {
            throw LacunaError.invalidArgument("capacity", reason: "\(capacity) is not positive")
        }
        _ = try SparseTransport(entries: 1, regularization: regularization)
        (self.scores, self.capacity, self.regularization) = (scores, capacity, regularization)
    }

    public var inputs: Int { scores.inputs }
    public var experts: Int { scores.outputs }
    public var byteCount: Int { scores.weight.byteCount + 4 * (scores.bias?.count ?? 0) }

    /// Vectors that an expert takes from, of so many.
    public func load(_ vectors: Int) -> Int {
        max(1, Int((capacity * Double(vectors) / Double(experts)).rounded(.up)))
    }

    public func route(_ x: UnsafePointer<Float>, count: Int, layer: Int) -> [[RoutedExpert]] {
        let n = experts
        let shares = shares(x, count: count)
        func largest(_ row: Int) -> [RoutedExpert] {
            let best = (0..<n).max { shares[row * n + $0] < shares[row * n + $1] } ?? 0
            return [RoutedExpert(best, weight: 1)]
        }
        guard count >= n, shares.allSatisfy(\.isFinite),
            let transport = try? SparseTransport(entries: load(count), regularization: regularization * Double(count)),
            let found = try? transport.solve(
                Tensor(shares.map { -Double($0) }, shape: [count, n]),
                rows: [Double](repeating: 1 / Double(count), count: count),
                columns: [Double](repeating: 1 / Double(n), count: n))
        else { return (0..<count).map(largest) }
        return (0..<count).map { row in
            let taken = (0..<n).filter { found.plan[row, $0] > 0 }
            let sum = taken.reduce(0.0) { $0 + found.plan[row, $1] }
            return taken.isEmpty
                ? largest(row) : taken.map { RoutedExpert($0, weight: Float(found.plan[row, $0] / sum)) }
        }
    }

    /// [count · experts].
    private func shares(_ x: UnsafePointer<Float>, count: Int) -> [Float] {
        var shares = [Float](repeating: 0, count: count * experts)
        shares.withUnsafeMutableBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return }
            Product.gemm(scores.weight, x, count: count, into: start)
            for row in 0..<count {
                let logits = start + row * experts
                if let bias = scores.bias { for e in 0..<experts { logits[e] += bias.scalars[e] } }
                AttentionKernels.softmax(logits, count: experts)
            }
        }
        return shares
    }
}
