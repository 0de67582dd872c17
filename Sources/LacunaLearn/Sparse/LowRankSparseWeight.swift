import LacunaSparse
import LacunaTensor

/// A weight that is a low-rank product and a few entries more: `W = scale · B A + S`, all three trained.
///
/// Andi Han, Jiaxiang Li, Wei Huang, Mingyi Hong, Akiko Takeda, Pratik Jawanpuria, Bamdev Mishra, "SLTrain: a sparse plus
/// low-rank approach for parameter and memory efficient pretraining", arXiv 2406.02214.
public final class LowRankSparseWeight: StatefulModule, TrainableWeight {
    /// [rank, inputs].
    public let a: Parameter<Float>
    /// [outputs, rank].
    public let b: Parameter<Float>
    /// The entries of `S`, [support.count].
    public let values: Parameter<Float>
    /// Places of the entries of `S`: row · inputs + column, ascending.
    public private(set) var support: [Int32]
    /// What the product is multiplied by.
    public let scale: Float
    /// How inputs are multiplied.
    public var product: Product
    /// Where the entries of `S` stand, as products want it.
    private var pattern: SparsePattern?

    /// How inputs are multiplied by such a weight.
    public enum Product: String, Sendable, Hashable, CaseIterable {
        /// `scale · B (A x) + S x`: multiplications are those of the stored numbers alone, and `A x` is kept for the way back.
        case factored
        /// As by a matrix, which is whole during each product, as the authors have it: nothing is kept for the way back.
        case materialized
    }

    /// A weight of given parts.
    ///
    /// - Precondition: Factors of one rank, and as many values as places, which ascend.
    public init(
        a: Tensor<Float>, b: Tensor<Float>, scale: Float, values: [Float], support: [Int32],
        product: Product = .factored
    ) {
        require(a.rank == 2 && b.rank == 2 && a.shape[0] == b.shape[1], "factors of different rank")
        require(
            values.count == support.count && Self.isValid(support, below: b.shape[0] * a.shape[1]), "a bad support")
        self.a = Parameter(a)
        self.b = Parameter(b)
        self.values = Parameter(Tensor(values), decays: true)
        self.support = support
        self.scale = scale
        self.product = product
    }

    private static func isValid(_ support: [Int32], below limit: Int) -> Bool {
        (support.first ?? 0) >= 0 && Int(support.last ?? -1) < limit && zip(support, support.dropFirst()).allSatisfy(<)
    }

    /// The start that the authors use: A and the entries of S uniform in ±1/√inputs, B zero, a random support of
    /// `density · outputs · inputs` entries, rounded down.
    public convenience init(
        outputs: Int, inputs: Int, rank: Int, alpha: Float, density: Double, product: Product = .factored,
        using generator: inout SeededGenerator
    ) {
        let start = Initialization.uniform
        let count = Int(density * Double(outputs * inputs))
        self.init(
            a: start.tensor([rank, inputs], fanIn: inputs, using: &generator), b: Tensor(zeros: [outputs, rank]),
            scale: rank == 0 ? 0 : alpha / Float(rank),
            values: start.tensor([count], fanIn: inputs, using: &generator).scalars,
            support: sampledPlaces(count, of: outputs * inputs, using: &generator), product: product)
    }

    public var outputs: Int { b.shape[0] }
    public var inputs: Int { a.shape[1] }
    /// r: rows of A, columns of B.
    public var rank: Int { a.shape[0] }
    public var activeCount: Int { rank == 0 ? values.count : outputs * inputs }
    public var multiplyAdds: Int { a.count + b.count + values.count }
    public var byteCount: Int { a.buffer.byteCount + b.buffer.byteCount + values.buffer.byteCount + 4 * support.count }
    public var storage: String { "low-rank + sparse" }

    public func densified() -> Tensor<Float> {
        var result = Tensor<Float>(zeros: [outputs, inputs])
        if rank > 0 { result = b.value.multiplied(by: a.value) }
        let n = result.count
        result.withMutablePointer { w in
            for i in 0..<n { w[i] *= scale }
            for (place, value) in zip(support, values.buffer.elements) { w[Int(place)] += value }
        }
        return result
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let tape = x.tape
        if product == .materialized {
            return x.linear(
                lowRank: a.on(tape), b.on(tape), scale: scale, values: values.on(tape), support: support, bias: bias)
        }
        func sparse(_ bias: Variable<Float>?) -> Variable<Float> {
            x.linear(csr: places(), values: values.on(tape), bias: bias)
        }
        if rank == 0 { return sparse(bias) }
        let low = x.linear(a.on(tape)).affine(scale).linear(b.on(tape), bias: bias)
        return support.isEmpty ? low : low + sparse(nil)
    }

    private func places() -> SparsePattern {
        if let pattern { return pattern }
        var found = SparsePattern(rows: outputs, columns: inputs)
        for place in support { found[Int(place) / inputs, Int(place) % inputs] = true }
        pattern = found
        return found
    }

    public var integerState: [(name: String, values: [Int32])] { [("support", support)] }

    public func restore(integerState: [String: [Int32]], file: String) throws {
        let restored = integerState["support"] ?? []
        guard Self.isValid(restored, below: outputs * inputs) else {
            throw LacunaError.malformed(file: file, location: "support", reason: "is not an ascending list of places")
        }
        (support, pattern) = (restored, nil)
        values.rearrange(from: Array(repeating: -1, count: restored.count)) { _ in 0 }
    }
}

/// `count` different numbers of `0..<n`, ascending, every set equally likely.
///
/// - Complexity: O(n).
package func sampledPlaces(_ count: Int, of n: Int, using generator: inout SeededGenerator) -> [Int32] {
    require(count >= 0 && count <= n && n <= Int(Int32.max), "\(count) of \(n)")
    var result: [Int32] = []
    result.reserveCapacity(count)
    // Each place is taken with the share of what is still needed in what is still there (Knuth's algorithm S).
    for place in 0..<n where Int.random(in: 0..<n - place, using: &generator) < count - result.count {
        result.append(Int32(place))
    }
    return result
}
