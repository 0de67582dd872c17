import LacunaModels
import LacunaSparse
import LacunaTensor

/// Who read what: how many experts a token leaves out, how many a chunk of consecutive tokens does, and how evenly work is spread.
public struct RoutingStatistics: Sendable, Hashable {
    /// How many experts there were to choose from.
    public let experts: Int
    /// Vectors that were routed.
    public let vectors: Int
    /// Consecutive vectors of a chunk.
    public let chunk: Int
    /// Share of the experts that a vector is not read by, 0...1: the token-level sparsity. Not a number without vectors.
    public let tokenSparsity: Double
    /// Share of the experts that no vector of a chunk is read by: the chunk-level sparsity. Not a number without a whole chunk.
    public let chunkSparsity: Double
    /// How many vectors each expert reads.
    public let loads: [Int]

    /// - Parameters:
    ///   - routes: The experts of each vector, sequences one after the other.
    ///   - length: Vectors of a sequence. Chunks are cut from its beginning and do not cross its end; what is left there is no chunk.
    ///   - chunk: Vectors of a chunk, at least 1.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for lengths below 1 or an expert that there is not.
    public init(_ routes: [[RoutedExpert]], experts: Int, length: Int, chunk: Int = 8) throws {
        guard length >= 1, chunk >= 1, experts >= 1 else {
            throw LacunaError.invalidArgument(
                "chunk", reason: "\(chunk) vectors of sequences of \(length), \(experts) experts: at least 1 of each")
        }
        var loads = [Int](repeating: 0, count: experts)
        for row in routes {
            for route in row {
                guard loads.indices.contains(route.expert) else {
                    throw LacunaError.invalidArgument("routes", reason: "expert \(route.expert) of \(experts)")
                }
                loads[route.expert] += 1
            }
        }
        var unions: [Int] = []
        for start in stride(from: 0, to: routes.count, by: length) {
            let end = min(start + length, routes.count)
            for first in stride(from: start, to: end, by: chunk) where first + chunk <= end {
                unions.append(Set(routes[first..<first + chunk].joined().map(\.expert)).count)
            }
        }
        (self.experts, vectors, self.chunk, self.loads) = (experts, routes.count, chunk, loads)
        tokenSparsity = 1 - Double(loads.reduce(0, +)) / Double(routes.count * experts)
        chunkSparsity = 1 - Double(unions.reduce(0, +)) / Double(unions.count * experts)
    }

    /// Experts that read nothing.
    public var deadExperts: Int { loads.count { $0 == 0 } }

    /// The deviation of the loads, by n, over their mean; 0 where all are equal.
    public var loadVariation: Double {
        let mean = Double(loads.reduce(0, +)) / Double(experts)
        let squares = loads.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
        return mean == 0 ? 0 : (squares / Double(experts)).squareRoot() / mean
    }

    /// How much the expert that a vector chose tells about a label of the vector, in nats: `Σ p(e, l) log(p(e, l) / (p(e) p(l)))` over all
    /// choices, at most the entropy of the labels.
    ///
    /// - Parameters:
    ///   - labels: One for each row of `routes`, from 0.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for another number of labels, or negative ones.
    public static func information(_ routes: [[RoutedExpert]], labels: [Int]) throws -> Double {
        guard labels.count == routes.count, labels.allSatisfy({ $0 >= 0 }) else {
            throw LacunaError.invalidArgument("labels", reason: "\(labels.count) for \(routes.count) vectors")
        }
        var joint: [[Int]: Double] = [:]
        var (byExpert, byLabel) = ([Int: Double](), [Int: Double]())
        var total = 0.0
        for (row, label) in zip(routes, labels) {
            for route in row {
                joint[[route.expert, label], default: 0] += 1
                byExpert[route.expert, default: 0] += 1
                byLabel[label, default: 0] += 1
                total += 1
            }
        }
        // In a fixed order, so that sums do not depend on how keys are hashed.
        return joint.sorted { $0.key.lexicographicallyPrecedes($1.key) }.reduce(0) { sum, entry in
            let (e, l) = (byExpert[entry.key[0]] ?? 1, byLabel[entry.key[1]] ?? 1)
            return sum + entry.value / total * logarithm(entry.value * total / (e * l))
        }
    }
}

/// A router that writes down what another one chooses.
final class RecordingRouter: Router {
    let base: any Router
    private let record = Locked<[[RoutedExpert]]>([])

    init(_ base: any Router) { self.base = base }

    var inputs: Int { base.inputs }
    var experts: Int { base.experts }
    var expertsPerVector: Int { base.expertsPerVector }
    var byteCount: Int { base.byteCount }
    var routes: [[RoutedExpert]] { record.withLock { $0 } }

    func route(_ x: UnsafePointer<Float>, count: Int, layer: Int) -> [[RoutedExpert]] {
        let found = base.route(x, count: count, layer: layer)
        record.withLock { $0 += found }
        return found
    }
}

extension Transformer {
    /// What the routers of layers with experts choose on a text, by layer.
    ///
    /// - Parameters:
    ///   - tokens: Whole sequences of `length` tokens, each from position 0.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for tokens that are not whole sequences or that the model does not have.
    public func routes(_ tokens: [Int], length: Int) throws -> [Int: [[RoutedExpert]]] {
        guard length >= 1, tokens.count % length == 0 else {
            throw LacunaError.invalidArgument(
                "tokens", reason: "\(tokens.count) are not whole sequences of \(length)")
        }
        var watched = self
        var routers: [Int: RecordingRouter] = [:]
        for (layer, block) in blocks.enumerated() {
            guard case .experts(let part) = block.mixer else { continue }
            let router = RecordingRouter(part.router)
            routers[layer] = router
            try watched.replaceFeedForward(
                layer: layer, with: ExpertFeedForward(router: router, experts: part.experts))
        }
        _ = try watched.hiddenStates(tokens, sequenceLength: length)
        return routers.mapValues(\.routes)
    }
}
