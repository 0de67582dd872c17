import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Decides which experts of a layer read a vector, and what their outputs are weighted by.
public protocol Router: Sendable {
    /// The experts of each of `count` vectors, no expert twice. The output of a vector without experts is 0.
    ///
    /// - Parameter x: [count, inputs].
    func route(_ x: UnsafePointer<Float>, count: Int, layer: Int) -> [[RoutedExpert]]
    /// Entries of a vector.
    var inputs: Int { get }
    /// How many experts there are to choose from.
    var experts: Int { get }
    /// How many of them read one vector, at most. The default is all.
    var expertsPerVector: Int { get }
    /// Bytes of the router's own weights. The default is 0.
    var byteCount: Int { get }
}

extension Router {
    /// All of them.
    public var expertsPerVector: Int { experts }
    /// A router without weights.
    public var byteCount: Int { 0 }
}

/// An expert that reads a vector.
public struct RoutedExpert: Sendable, Hashable {
    /// Its number, from 0.
    public var expert: Int
    /// What its output is multiplied by.
    public var weight: Float

    /// An expert by its number, and the weight of its output.
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
    public var expertsPerVector: Int { count }
    public var byteCount: Int { scores.weight.byteCount + 4 * (scores.bias?.count ?? 0) }

    public func route(_ x: UnsafePointer<Float>, count rows: Int, layer: Int) -> [[RoutedExpert]] {
        let logits = Buffer<Float>(uninitialized: rows * experts)
        Product.gemm(scores.weight, x, count: rows, into: logits.pointer)
        return (0..<rows).map { row in
            let share = logits.pointer + row * experts
            scores.addBias(share)
            VectorMath.softmax(share, count: experts)
            let chosen = chosen(UnsafePointer(share))
            let sum = normalizes ? chosen.reduce(0) { $0 + share[$1] } : 1
            return chosen.map { RoutedExpert($0, weight: share[$0] / sum) }
        }
    }

    /// The experts with the largest shares, the largest first; of equals the first, and what is not a number last.
    func chosen(_ share: UnsafePointer<Float>) -> [Int] {
        let order = (0..<experts).sorted { a, b in
            share[a] == share[b] || share[a].isNaN && share[b].isNaN ? a < b : share[a] > share[b] || share[b].isNaN
        }
        return Array(order.prefix(count))
    }
}

/// A feed-forward part of many experts, of which each vector is read by those that a router chooses:
/// `y = Σ_e weight_e(x) · expert_e(x)`. In a ``TransformerBlock`` it is a ``ChannelMixer``; learned it is
/// ``TrainableExperts``.
///
/// Work goes expert by expert: the rows that an expert is to read are brought together, so that its matrices are read once
/// for all of them, and those of experts that nobody chose not at all.
public struct ExpertFeedForward: Sendable {
    /// Says who reads what.
    public let router: any Router
    /// All with the router's inputs, and outputs of one width.
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
        let n = x.rows
        var result = Tensor<Float>(uninitialized: [n, outputs])
        let context = StepContext(
            rotations: [], headSize: 0, spans: [], count: n, gate: gate, workspace: StepWorkspace())
        let rows = try x.withPointer { x in
            try result.withMutablePointer { try step(x, context: context, layer: layer, into: $0) }
        }
        let touched = zip(experts, rows).reduce(0) { $0 + ($1.1 > 0 ? $1.0.byteCount : 0) }
        return (result, Report(rows: rows, bytesTouched: touched))
    }

    /// Entries of an output.
    public var outputs: Int { experts[0].down.outputs }

    /// Bytes of the router and all experts.
    public var byteCount: Int { router.byteCount + experts.reduce(0) { $0 + $1.byteCount } }

    /// Bytes that one vector reads of them, where experts differ those of the largest.
    public var bytesTouchedPerVector: Int {
        router.byteCount + experts.map(\.byteCount).sorted(by: >).prefix(router.expertsPerVector).reduce(0, +)
    }

    /// The outputs for a step's rows `x`.
    ///
    /// - Returns: How many rows each expert read.
    func step(
        _ x: UnsafePointer<Float>, context: StepContext, layer: Int, into y: UnsafeMutablePointer<Float>
    ) throws -> [Int] {
        let (n, width, outputs) = (context.count, router.inputs, outputs)
        let readers = readers(n == 0 ? [] : router.route(x, count: n, layer: layer), count: n)
        y.update(repeating: 0, count: n * outputs)
        for (expert, rows) in zip(experts, readers) where !rows.isEmpty {
            let gathered = context.pointer(.gathered, rows.count * width)
            for (i, reader) in rows.enumerated() {
                (gathered + i * width).update(from: x + reader.row * width, count: width)
            }
            let part = context.pointer(.expert, rows.count * outputs)
            let own = StepContext(
                rotations: [], headSize: 0, spans: [], count: rows.count, gate: context.gate, meter: context.meter,
                workspace: context.workspace)
            try expert.step(gathered, context: own, layer: layer, into: part, observe: nil)
            for (i, reader) in rows.enumerated() {
                let (source, target) = (part + i * outputs, y + reader.row * outputs)
                for c in 0..<outputs { target[c] += reader.weight * source[c] }
            }
        }
        return readers.map(\.count)
    }

    /// The rows that each expert reads, ascending.
    func readers(_ routes: [[RoutedExpert]], count: Int) -> [[(row: Int, weight: Float)]] {
        require(routes.count == count, "a router that chose for \(routes.count) of \(count) vectors")
        var readers = experts.map { _ in [(row: Int, weight: Float)]() }
        for (row, chosen) in routes.enumerated() {
            for route in chosen { readers[route.expert].append((row, route.weight)) }
        }
        return readers
    }
}

// MARK: - On the tape

/// ``ExpertFeedForward`` to be learned: the experts, and the scores of a ``TopRouter``, whose gradient comes through the
/// weights of the experts that it chose. Which those are is no function with a gradient. Another router chooses and weighs as
/// it does when it runs, and nothing of it is learned.
///
/// Parameters are called `gate.weight` for the scores and `experts.0.gate_proj.weight` and so on for the experts.
public final class TrainableExperts: UnaryLayer {
    /// The router's scores; nil for a router that is not learned.
    public let scores: Linear?
    /// The experts, in the order of their numbers.
    public let experts: [TrainableFeedForward]
    /// Sees the router's logits and their softmax, [n, experts], and the experts that each row chose, where a ``TopRouter`` is
    /// learned; nil for no one. Methods that balance experts set it for a training run.
    public var watch: ((_ logits: Variable<Float>, _ shares: Variable<Float>, _ chosen: [[Int]]) -> Void)?
    private let form: ExpertFeedForward

    /// - Parameter weight: Makes the trained form of a stored matrix, given its role: that of the router's scores is
    ///   `LinearRole.gate`.
    public init(
        _ part: ExpertFeedForward, weight: (LinearRole, any StoredMatrix) throws -> any TrainableWeight
    ) rethrows {
        form = part
        scores = try (part.router as? TopRouter).map { try $0.scores.trainable(.gate, weight) }
        experts = try part.experts.map { try TrainableFeedForward($0, weight: weight) }
    }

    /// The router's scores and the matrices of the experts.
    public var parts: [(name: String, part: Any)] {
        (scores.map { [("gate", $0)] } ?? [])
            + experts.enumerated().flatMap { index, expert -> [(String, Any)] in
                [("gate_proj", expert.gate), ("up_proj", expert.up), ("down_proj", expert.down)].compactMap {
                    name, layer in layer.map { ("experts.\(index).\(name)", $0) }
                }
            }
    }

    /// What each expert's weight for each row is before any choice, [n, experts]: of which terms that balance the experts are
    /// made. nil for a router that is not learned.
    public func shares(_ x: Variable<Float>) -> Variable<Float>? { scores.map { $0(x).softmax() } }

    /// [n, outputs] for rows [n, inputs].
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let n = x.rows
        // A weight for each pair of a row and an expert that it chose, in the order of rows.
        let routes: [[RoutedExpert]]
        var weights: Variable<Float>?
        if let scores, let router = form.router as? TopRouter {
            let logits = scores(x)
            let shares = logits.softmax()
            routes = shares.withPointer { shares in
                (0..<n).map { row in
                    router.chosen(shares + row * router.experts).map { RoutedExpert($0, weight: 1) }
                }
            }
            watch?(logits, shares, routes.map { $0.map(\.expert) })
            let chosen = shares.taking(routes.flatMap { $0.map { Int32($0.expert) } }, router.count)
            let scaled = router.normalizes ? chosen / chosen.rowSums().reshaped([n, 1]) : chosen
            weights = scaled.reshaped([n * router.count])
        } else {
            routes = n == 0 ? [] : x.withPointer { form.router.route($0, count: n, layer: 0) }
        }
        var total = x.tape.constant(Tensor<Float>(zeros: [n, form.outputs]))
        var places = experts.map { _ in [Int32]() }
        var place: Int32 = 0
        for chosen in routes {
            for route in chosen {
                places[route.expert].append(place)
                place += 1
            }
        }
        for (index, rows) in form.readers(routes, count: n).enumerated() where !rows.isEmpty {
            let numbers = rows.map { Int32($0.row) }
            let output = experts[index](x.gathered(numbers))
            let factor =
                weights.map { $0.reshaped([$0.count, 1]).gathered(places[index]).reshaped([rows.count]) }
                ?? x.tape.constant(Tensor(rows.map(\.weight)))
            total = total + output.multipliedByColumn(factor).scattered(numbers, into: n)
        }
        return total
    }

    /// The form to be run, with matrices as they are stored now.
    ///
    /// - Throws: As ``TrainableWeight/stored(_:)``.
    public func stored(_ values: ValueType) throws -> ExpertFeedForward {
        let router =
            try (form.router as? TopRouter).flatMap { router in
                try scores.map {
                    try TopRouter(LinearLayer($0, values), count: router.count, normalizes: router.normalizes)
                        as any Router
                }
            } ?? form.router
        return try ExpertFeedForward(router: router, experts: experts.map { try $0.stored(values) })
    }
}
