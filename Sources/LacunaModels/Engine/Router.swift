import LacunaSparse
import LacunaTensor

/// Decides which experts of a layer read a vector, and what their outputs are weighted by.
public protocol Router: Sendable {
    /// The experts of each of `count` vectors, at least one, no expert twice.
    ///
    /// - Parameter x: [count, inputs].
    func route(_ x: UnsafePointer<Float>, count: Int, layer: Int) -> [[RoutedExpert]]
    /// Entries of a vector.
    var inputs: Int { get }
    /// How many experts there are to choose from.
    var experts: Int { get }
}

/// An expert that reads a vector.
public struct RoutedExpert: Sendable, Hashable {
    public var expert: Int
    /// What its output is multiplied by.
    public var weight: Float

    public init(_ expert: Int, weight: Float) { (self.expert, self.weight) = (expert, weight) }
}

/// The experts with the largest scores `W x`, weighted by the softmax of the scores. All of them is the dense mixture, one
/// the switch layer.
///
/// Noam Shazeer, Azalia Mirhoseini, Krzysztof Maziarz, Andy Davis, Quoc Le, Geoffrey Hinton, Jeff Dean, "Outrageously Large
/// Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer", arXiv 1701.06538, without its noise; one expert, weighted by
/// its share among all: William Fedus, Barret Zoph, Noam Shazeer, "Switch Transformers", arXiv 2101.03961.
public struct TopRouter: Router {
    /// [experts, inputs].
    public let scores: LinearLayer
    /// Experts that read a vector.
    public let count: Int
    /// Whether the weights of the chosen add up to 1; otherwise those of all do.
    public let normalizes: Bool

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless `count` is in `1...experts`.
    public init(_ scores: LinearLayer, count: Int = 1, normalizes: Bool = false) throws {
        guard count >= 1 && count <= scores.outputs else {
            throw LacunaError.invalidArgument("count", reason: "\(count) of \(scores.outputs) experts")
        }
        (self.scores, self.count, self.normalizes) = (scores, count, normalizes)
    }

    public var inputs: Int { scores.inputs }
    public var experts: Int { scores.outputs }

    public func route(_ x: UnsafePointer<Float>, count rows: Int, layer: Int) -> [[RoutedExpert]] {
        let logits = Buffer<Float>(uninitialized: rows * experts)
        Product.gemm(scores.weight, x, count: rows, into: logits.pointer)
        return (0..<rows).map { row in
            let share = logits.pointer + row * experts
            scores.addBias(share)
            VectorMath.softmax(share, count: experts)
            // Of equals the first; what is not a number comes last.
            let order = (0..<experts).sorted { a, b in
                share[a] == share[b] || share[a].isNaN && share[b].isNaN ? a < b : share[a] > share[b] || share[b].isNaN
            }
            let chosen = order.prefix(count)
            let sum = normalizes ? chosen.reduce(0) { $0 + share[$1] } : 1
            return chosen.map { RoutedExpert($0, weight: share[$0] / sum) }
        }
    }
}

/// A feed-forward part of many experts, of which each vector is read by those that a router chooses:
/// `y = Σ_e weight_e(x) · expert_e(x)`.
///
/// Work goes expert by expert: the rows that an expert is to read are brought together, so that its matrices are read once
/// for all of them, and those of experts that nobody chose not at all.
public struct ExpertFeedForward: Sendable {
    public let router: any Router
    public let experts: [FeedForward]

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the router chooses among another number of experts, or their
    ///   inputs and outputs differ from each other's or the router's.
    public init(router: any Router, experts: [FeedForward]) throws {
        guard router.experts == experts.count, !experts.isEmpty else {
            throw LacunaError.invalidArgument(
                "experts", reason: "\(experts.count) of them, where the router has \(router.experts)")
        }
        for (index, expert) in experts.enumerated() {
            let first = [expert.gate, expert.up].compactMap(\.self)
            guard first.allSatisfy({ $0.inputs == router.inputs && $0.outputs == expert.down.inputs }),
                expert.down.outputs == experts[0].down.outputs
            else {
                throw LacunaError.invalidArgument(
                    "experts", reason: "expert \(index) has other inputs or outputs than the router or expert 0")
            }
        }
        (self.router, self.experts) = (router, experts)
    }

    /// What a step read.
    public struct Report: Sendable, Equatable {
        /// How many vectors each expert read.
        public var rows: [Int]
        /// Bytes of the matrices of the experts that read any.
        public var bytesTouched: Int
    }

    /// - Parameters:
    ///   - x: [n, inputs].
    ///   - layer: The number that router and gate are told.
    ///   - gate: Which inputs the products of the experts read; nil for all.
    /// - Returns: [n, outputs], and what was read.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for inputs of another width.
    public func callAsFunction(
        _ x: Tensor<Float>, layer: Int = 0, gate: (any InputGate)? = nil
    ) throws -> (outputs: Tensor<Float>, report: Report) {
        guard x.rank == 2, x.columns == router.inputs else {
            throw LacunaError.invalidArgument("inputs", reason: "\(x.shape) for vectors of \(router.inputs) entries")
        }
        let (n, width, outputs) = (x.rows, router.inputs, experts[0].down.outputs)
        var result = Tensor<Float>(zeros: [n, outputs])
        var report = Report(rows: experts.map { _ in 0 }, bytesTouched: 0)
        let workspace = StepWorkspace()
        try x.withPointer { x in
            let routes = n == 0 ? [] : router.route(x, count: n, layer: layer)
            require(routes.count == n, "a router that chose for \(routes.count) of \(n) vectors")
            var readers = experts.map { _ in [(row: Int, weight: Float)]() }
            for (row, chosen) in routes.enumerated() {
                for route in chosen { readers[route.expert].append((row, route.weight)) }
            }
            try result.withMutablePointer { y in
                for (expert, rows) in zip(experts, readers) where !rows.isEmpty {
                    let gathered = workspace.pointer(.normalized, rows.count * width)
                    for (i, reader) in rows.enumerated() {
                        (gathered + i * width).update(from: x + reader.row * width, count: width)
                    }
                    let part = workspace.pointer(.change, rows.count * outputs)
                    let context = StepContext(
                        rotations: [], headSize: 0, spans: [], count: rows.count, gate: gate, workspace: workspace)
                    try expert.step(gathered, context: context, layer: layer, into: part, observe: nil)
                    for (i, reader) in rows.enumerated() {
                        let (source, target) = (part + i * outputs, y + reader.row * outputs)
                        for c in 0..<outputs { target[c] += reader.weight * source[c] }
                    }
                }
            }
            report.rows = readers.map(\.count)
        }
        for (expert, rows) in zip(experts, report.rows) where rows > 0 {
            report.bytesTouched += [expert.gate, expert.up, expert.down].reduce(0) { $0 + ($1?.weight.byteCount ?? 0) }
        }
        return (result, report)
    }
}
