import LacunaLearn
import LacunaTensor

/// What decides how many of some units stay, and which: a score for every unit, and weights `π` of candidates for their number.
///
/// A unit of rank `r` is multiplied by `λ sigmoid(s) + (1 - λ) m(r)`, `m(r) = Σ_i π_i [r < width_i]`: scores say who is first, candidates how
/// many there are, and `λ` (``mix``) goes from the one to the other. Gradients reach scores through the sigmoid alone: a rank has none.
/// Units lie in groups of one size, the entries of heads for instance; a candidate is then a number of groups and a number of units of each,
/// groups rank by the sums of their sigmoids and units within their group.
///
/// Hancheng Ye, Chong Yu, Peng Ye, Renqiu Xia, Yansong Tang, Jiwen Lu, Tao Chen, Bo Zhang, "Once for Both: Single Stage of Importance and
/// Sparsity Search for Vision Transformer Compression", arXiv 2403.15835.
public final class BiMask: Module {
    /// How many units may stay.
    public struct Width: Sendable, Hashable {
        /// Groups that stay, at least 1.
        public var groups: Int
        /// Units of each that stay, at least 1.
        public var size: Int
        /// Some of one group.
        public init(groups: Int = 1, size: Int) { (self.groups, self.size) = (groups, size) }
        /// Units in all.
        public var count: Int { groups * size }
    }

    /// `s` [groups · size].
    public let score: Parameter<Float>
    /// Of which `π` is the softmax, [candidates].
    public let logits: Parameter<Float>
    /// What may still be chosen.
    public private(set) var candidates: [Width]
    /// Groups and units of each that are there now.
    public private(set) var present: Width
    /// `λ`, 0...1: what the scores' part in the multiplier is.
    public var mix = 0.99
    /// What the multipliers are for good, once a width is chosen: no longer trained.
    public private(set) var decided: [Float]?

    /// Scores N(0, 0.2²), logits uniform in 0..<1: equal ones would have no way to differ.
    ///
    /// - Throws: `LacunaError.invalidArgument` without candidates, and for candidates larger than what there is or twice the same.
    public init(_ present: Width, candidates: [Width], using generator: inout SeededGenerator) throws {
        guard !candidates.isEmpty, Set(candidates).count == candidates.count,
            candidates.allSatisfy({
                (1...max(present.groups, 1)).contains($0.groups) && (1...max(present.size, 1)).contains($0.size)
            })
        else {
            throw LacunaError.invalidArgument("candidates", reason: "\(candidates) of \(present)")
        }
        (self.present, self.candidates) = (present, candidates)
        score = Parameter(Tensor(normal: [present.count], standardDeviation: 0.2, using: &generator), decays: false)
        logits = Parameter(Tensor(uniform: [candidates.count], in: 0..<1, using: &generator), decays: false)
    }

    public var parts: [(name: String, part: Any)] { [("score", score), ("logits", logits)] }

    /// `π` of the candidates now.
    public var shares: [Double] {
        let values = logits.value.scalars.map(Double.init)
        let largest = values.max() ?? 0
        let powers = values.map { exponential($0 - largest) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }

    private func shares(on tape: Tape<Float>) -> Variable<Float> {
        logits.on(tape).reshaped([1, candidates.count]).softmax()
    }

    /// The rank of every unit within its group, and of its group, from 0; of equal scores the first is first.
    private var ranks: (unit: [Int], group: [Int]) {
        let (s, size) = (score.value.scalars, present.size)
        func order(_ values: [Float]) -> [Int] {
            let sorted = values.indices.sorted { (values[$0], $1) > (values[$1], $0) }
            var ranks = Array(values.indices)
            for (rank, place) in sorted.enumerated() { ranks[place] = rank }
            return ranks
        }
        let sums = (0..<present.groups).map { group in
            s[group * size..<(group + 1) * size].reduce(Float(0)) { $0 + Float(1 / (1 + exponential(-Double($1)))) }
        }
        let within = (0..<present.groups).flatMap { order(Array(s[$0 * size..<($0 + 1) * size])) }
        return (within, order(sums))
    }

    /// The multiplier of every unit, [groups · size].
    public func multiplier(on tape: Tape<Float>) -> Variable<Float> {
        if let decided { return tape.constant(Tensor(decided)) }
        let (unit, group) = ranks
        let (n, size) = (present.count, present.size)
        let reach = candidates.flatMap { width in
            (0..<n).map { unit[$0] < width.size && group[$0 / size] < width.groups ? Float(1) : 0 }
        }
        let profile = shares(on: tape).multiplied(by: tape.constant(Tensor(reach, shape: [candidates.count, n])))
        return score.on(tape).sigmoid().affine(Float(mix)) + profile.reshaped([n]).affine(Float(1 - mix))
    }

    /// Units that are to be expected, `Σ_i π_i width_i`, [1, 1].
    public func expectedCount(on tape: Tape<Float>) -> Variable<Float> {
        if decided != nil { return tape.constant(Tensor([Float(present.count)], shape: [1, 1])) }
        let sizes = tape.constant(Tensor(candidates.map { Float($0.count) }, shape: [candidates.count, 1]))
        return shares(on: tape).multiplied(by: sizes)
    }

    /// Units that are to be expected now.
    public var expectedCount: Double {
        decided != nil
            ? Double(present.count) : zip(shares, candidates).reduce(0) { $0 + $1.0 * Double($1.1.count) }
    }

    // MARK: One of the candidates

    /// The terms that drive shares of K candidates to one of them: the entropy, and `tan(½π - πV) / K` with
    /// `V = Σ (π_i - 1/K)² / (1 - 1/K)`, held within 0.01...0.99: at equal shares the tangent is infinite, and the other way at a single one.
    public static func oneHotTerms(_ shares: [Double]) -> (entropy: Double, variance: Double, tangent: Double) {
        let k = Double(shares.count)
        let entropy = -shares.reduce(0) { $0 + ($1 > 0 ? $1 * logarithm($1) : 0) }
        let variance = shares.reduce(0) { $0 + ($1 - 1 / k) * ($1 - 1 / k) } / (1 - 1 / k)
        return (entropy, variance, cotangent(min(max(variance, 0.01), 0.99)) / k)
    }

    /// `tan(½π - πv)`.
    private static func cotangent(_ v: Double) -> Double { cosine(.pi * v) / sine(.pi * v) }

    /// The loss that drives the shares to one candidate, and scores to be small where nothing needs them: ``oneHotTerms(_:)``, and
    /// `price · Σ sigmoid(s)`. A single number; nil once one is left.
    public func oneHotLoss(price: Double, on tape: Tape<Float>) -> Variable<Float>? {
        let k = Float(candidates.count)
        if candidates.count < 2 || decided != nil { return nil }
        let row = logits.on(tape).reshaped([1, candidates.count])
        let (shares, logs) = (row.softmax(), row.logSoftmax())
        let variance = shares.affine(1, -1 / k).map(.square).sum().affine(1 / (1 - 1 / k)).clamped(to: 0.01...0.99)
        let tangent = tape.operation(inputs: [variance], shape: variance.shape) { inputs, output in
            output[0] = Float(Self.cotangent(Double(inputs[0][0])))
        } backward: { pass in
            pass.accumulate(0) { d in
                let s = sine(.pi * Double(pass.inputs[0][0]))
                d[0] -= Float(.pi / (s * s)) * pass.gradient[0]
            }
        }
        return (shares * logs).sum().affine(-1) + tangent.affine(1 / k)
            + score.on(tape).sigmoid().sum().affine(Float(price))
    }

    // MARK: Shrinking

    /// Units that stay: of each group in its old place the units in their old places.
    public typealias Kept = [(group: Int, units: [Int])]

    /// Drops candidates whose share is at most `threshold / K`. What no candidate that is left reaches is gone with them. Where none would
    /// be left, as with a threshold of 1 or more, all stay.
    ///
    /// - Returns: The units that stay, if some go; the caller removes the others from the network.
    public func dropCandidates(threshold: Double) -> Kept? {
        if decided != nil { return nil }
        let (shares, k) = (shares, Double(candidates.count))
        let left = shares.indices.filter { shares[$0] > threshold / k }
        if left.isEmpty { return nil }
        if left.count < candidates.count { return take(left) }
        return candidates.count == 1 ? take(left) : nil
    }

    /// Takes the candidate with the largest share.
    ///
    /// - Returns: As ``dropCandidates(threshold:)``.
    public func decide() -> Kept? {
        if decided != nil { return nil }
        let shares = shares
        return take([shares.indices.max { (shares[$0], $1) < (shares[$1], $0) }!])
    }

    private func take(_ left: [Int]) -> Kept? {
        logits.keep(left, along: 0)
        candidates = left.map { candidates[$0] }
        let box = Width(groups: candidates.map(\.groups).max()!, size: candidates.map(\.size).max()!)
        let (unit, group) = ranks
        let kept: Kept = (0..<present.groups).filter { group[$0] < box.groups }.map { place in
            (place, (0..<present.size).filter { unit[place * present.size + $0] < box.size })
        }
        let shrinks = box != present
        if shrinks {
            score.keep(kept.flatMap { place, units in units.map { place * present.size + $0 } }, along: 0)
            present = box
        }
        if candidates.count == 1 {
            // All that stays is within the width: m is 1.
            decided = score.value.scalars.map { s in
                Float(mix / (1 + exponential(-Double(s))) + 1 - mix)
            }
            (score.isTrainable, logits.isTrainable) = (false, false)
        }
        return shrinks ? kept : nil
    }

    /// Makes all multipliers 1, when what they were has gone into weights.
    func dissolve() { decided = decided?.map { _ in 1 } }
}

/// A weight whose outputs, bias included, are multiplied by numbers of a ``BiMask``.
final class GatedWeight: TrainableWeight {
    let base: any TrainableWeight
    let mask: BiMask

    init(_ base: any TrainableWeight, _ mask: BiMask) { (self.base, self.mask) = (base, mask) }

    var parts: [(name: String, part: Any)] { [("", base)] }
    var outputs: Int { base.outputs }
    var inputs: Int { base.inputs }
    var activeCount: Int { base.activeCount }
    var multiplyAdds: Int { base.multiplyAdds }
    var byteCount: Int { base.byteCount }
    var storage: String { "gated " + base.storage }

    func densified() -> Tensor<Float> {
        let tape = Tape<Float>()
        let factors = tape.evaluating { mask.multiplier(on: tape).value }
        return base.densified() * factors.reshaped([outputs, 1])
    }

    func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        base.apply(x, bias: bias).multipliedByRow(mask.multiplier(on: x.tape))
    }
}
