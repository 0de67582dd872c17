import LacunaTensor

/// Puts the documents of a list around some of them, drawn at random.
struct Clustering {
    let vectors: DocumentVectors
    let largest: LargestComponents

    /// - Returns: The clusters that are not empty.
    func clusters(
        of documents: [UInt32], centres count: Int, smallest: Int, generator: SeededGenerator, scratch: BlockScratch
    ) -> [[UInt32]] {
        var generator = generator
        // The first of a shuffle are a sample without replacement.
        var order = documents
        let count = min(count, order.count)
        if count == 1 { return [documents] }
        for i in 0..<count { order.swapAt(i, Int.random(in: i..<order.count, using: &generator)) }
        let centres = order[..<count]
        scratch.setCentres(centres, vectors)
        defer { scratch.clearCentres() }
        var clusters = [[UInt32]](repeating: [], count: count)
        for document in documents { clusters[nearest(document, scratch, allowed: nil)].append(document) }
        let allowed = clusters.map { $0.count > smallest }
        if allowed.contains(true) && allowed.contains(false) {
            for cluster in 0..<count where !allowed[cluster] {
                for document in clusters[cluster] {
                    clusters[nearest(document, scratch, allowed: allowed)].append(document)
                }
                clusters[cluster] = []
            }
        }
        return clusters.filter { !$0.isEmpty }
    }

    /// The centre with the largest inner product, of equals the first.
    private func nearest(_ document: UInt32, _ scratch: BlockScratch, allowed: [Bool]?) -> Int {
        let range = largest.starts[Int(document)]..<largest.starts[Int(document) + 1]
        let scores = scratch.centreScores(largest.terms, largest.weights, range)
        var best = -1
        for i in scores.indices where allowed?[i] ?? true {
            if best < 0 || scores[i] > scores[best] { best = i }
        }
        return best
    }
}

/// Working memory for building blocks, one a thread.
final class BlockScratch {
    /// For every term its place among the terms of the centres, or of the block, and -1 at rest.
    private let places: Buffer<Int32>
    private var touched: [UInt32] = []
    /// For every term of the centres, which of them have it.
    private var heads: [[(centre: Int32, weight: Float)]] = []
    private var scores: [Float] = []

    init(termCount: Int) { places = Buffer(repeating: -1, count: termCount) }

    func setCentres(_ centres: ArraySlice<UInt32>, _ vectors: DocumentVectors) {
        scores = [Float](repeating: 0, count: centres.count)
        for (index, document) in centres.enumerated() {
            vectors.forEachEntry(of: Int(document)) { term, weight in
                if places.pointer[term] < 0 {
                    places.pointer[term] = Int32(touched.count)
                    touched.append(UInt32(truncatingIfNeeded: term))
                    if heads.count < touched.count { heads.append([]) }
                }
                heads[Int(places.pointer[term])].append((Int32(index), weight))
            }
        }
    }

    func clearCentres() {
        for (i, term) in touched.enumerated() {
            places.pointer[Int(term)] = -1
            heads[i].removeAll(keepingCapacity: true)
        }
        touched.removeAll(keepingCapacity: true)
    }

    /// The inner products of some entries with all centres.
    func centreScores(_ terms: [UInt32], _ weights: [Float], _ range: Range<Int>) -> [Float] {
        for i in scores.indices { scores[i] = 0 }
        for i in range {
            let place = places.pointer[Int(terms[i])]
            if place < 0 { continue }
            let weight = weights[i]
            heads[Int(place)].withUnsafeBufferPointer { head in
                scores.withUnsafeMutableBufferPointer { scores in
                    for entry in head { scores[Int(entry.centre)] += weight * entry.weight }
                }
            }
        }
        return scores
    }

    /// The largest weight of every term in a block, as far as it is kept, in steps rounded up.
    ///
    /// What is kept are the largest until they make up `energy` of all, the one that crosses it included.
    func summary(
        of block: [UInt32], _ vectors: DocumentVectors, energy: Double
    ) -> (step: Float, entries: [(term: UInt32, code: UInt8)]) {
        var maxima: [(term: UInt32, weight: Float)] = []
        for document in block {
            vectors.forEachEntry(of: Int(document)) { term, weight in
                let place = places.pointer[term]
                if place < 0 {
                    places.pointer[term] = Int32(maxima.count)
                    maxima.append((UInt32(truncatingIfNeeded: term), weight))
                } else if weight > maxima[Int(place)].weight {
                    maxima[Int(place)].weight = weight
                }
            }
        }
        for entry in maxima { places.pointer[Int(entry.term)] = -1 }
        let largest = maxima.reduce(Float(0)) { max($0, $1.weight) }
        // A step so large that no quotient exceeds 255 for rounding.
        let step = (largest / 255).nextUp
        if energy < 1 {
            maxima.sort { $0.weight != $1.weight ? $0.weight > $1.weight : $0.term < $1.term }
            let goal = energy * maxima.reduce(0) { $0 + Double($1.weight) }
            var (sum, kept) = (0.0, 0)
            while kept < maxima.count && sum < goal {
                sum += Double(maxima[kept].weight)
                kept += 1
            }
            maxima.removeLast(maxima.count - kept)
        }
        return (step, maxima.map { ($0.term, Self.code($0.weight, step: step)) })
    }

    /// The least number of steps that is not below a weight.
    static func code(_ weight: Float, step: Float) -> UInt8 {
        var code = (weight / step).rounded(.up)
        if code * step < weight { code += 1 }
        return UInt8(min(max(code, 1), 255))
    }
}
