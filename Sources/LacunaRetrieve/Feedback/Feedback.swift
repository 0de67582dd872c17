import LacunaSparse
import LacunaTensor

/// Makes a new query of an old one and of the documents that it found first: pseudo relevance feedback.
public enum Feedback: Sendable, Equatable {
    /// The mean of the query and the documents.
    case average
    /// `alpha · query + beta · mean of the documents`. (Rocchio, "Relevance feedback in information retrieval", 1971,
    /// without a negative part.)
    case rocchio(alpha: Float, beta: Float)

    /// The weights of the query and of the documents' mean.
    func weights(_ count: Int) -> (query: Float, documents: Float) {
        switch self {
        case .average: (1 / Float(count + 1), Float(count) / Float(count + 1))
        case .rocchio(let alpha, let beta): (alpha, beta)
        }
    }

    /// - Throws: `LacunaError.invalidArgument` for weights that are negative or not finite.
    public func check() throws {
        if case .rocchio(let alpha, let beta) = self {
            for (name, value) in [("alpha", alpha), ("beta", beta)] where !(value >= 0 && value.isFinite) {
                throw LacunaError.invalidArgument(name, reason: "\(value) is negative or not finite")
            }
        }
    }

    /// A new dense query. No documents leave it as it was.
    ///
    /// - Parameter documents: As long as the query each.
    public func query(_ query: [Float], documents: [[Float]]) throws -> [Float] {
        try check()
        if documents.isEmpty { return query }
        let (a, b) = weights(documents.count)
        return try query.indices.map { i in
            let sum = try documents.reduce(Float(0)) { sum, document in
                guard document.count == query.count else {
                    throw LacunaError.invalidArgument(
                        "documents", reason: "\(document.count) entries, the query has \(query.count)")
                }
                return sum + document[i]
            }
            return a * query[i] + b * sum / Float(documents.count)
        }
    }

    /// A new sparse query, of the `terms` largest weights. No documents leave it as it was.
    ///
    /// Query and documents are brought to a sum of 1 first, so that their weights compare; the result has the old
    /// query's sum. With `.rocchio(alpha: λ, beta: 1 - λ)` that is RM3 on learned weights. (Abdul-Jaleel and others,
    /// "UMass at TREC 2004: Novelty and HARD", 2004.)
    public func query(
        _ query: SparseVector<Float>, documents: [SparseVector<Float>], terms: Int
    ) throws -> SparseVector<Float> {
        try check()
        guard terms >= 1 else { throw LacunaError.invalidArgument("terms", reason: "\(terms) is below 1") }
        let total = query.sum()
        let useful = documents.filter { $0.sum() > 0 }
        if useful.isEmpty || total <= 0 { return query }
        let (a, b) = weights(useful.count)
        var sums: [Int: Float] = [:]
        query.forEachEntry { sums[$0, default: 0] += a * $1 / total }
        for document in useful {
            guard document.count == query.count else {
                throw LacunaError.invalidArgument(
                    "documents", reason: "\(document.count) entries, the query has \(query.count)")
            }
            let scale = b / Float(useful.count) / document.sum()
            document.forEachEntry { sums[$0, default: 0] += scale * $1 }
        }
        let kept = sums.sorted { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }.prefix(terms)
        let sum = kept.reduce(Float(0)) { $0 + $1.value }
        return try SparseVector(
            count: query.count,
            entries: kept.filter { $0.value > 0 }.map { (index: $0.key, value: $0.value * total / sum) })
    }
}
