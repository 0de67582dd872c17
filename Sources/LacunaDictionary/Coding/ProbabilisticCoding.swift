import LacunaTensor

/// Sparse coding as a probabilistic model: latents that are mostly 0, a superposition of the atoms of those that are
/// not, and Gaussian noise. Atoms, sparsity and noise are all learned by expectation maximisation over truncated
/// posteriors.
///
/// For every vector a few candidate atoms are picked, and posteriors are taken over all combinations of up to
/// `active` of them, and over single atoms. Georgios Exarchakis, Jörg Bornschein, Abdul-Saboor Sheikh, Zhenwen Dai,
/// Marc Henniges, Jakob Drefs, Jörg Lücke, "ProSper - A Python Library for Probabilistic Sparse Coding with
/// Non-Standard Priors and Superpositions", arXiv 1908.06843.
public struct ProbabilisticCoding: Sendable {
    /// What latents may be, and how atoms are superposed.
    public enum Model: Sendable, Hashable {
        /// 0 or 1, summed (BSC).
        case binary
        /// -1, 0 or 1, summed (TSC).
        case ternary
        /// 0 or one of some values, each with a probability of its own, summed (DSC).
        case discrete([Double])
        /// 0 or Gaussian, summed (GSC, spike and slab).
        case spikeAndSlab
        /// 0 or 1, of every dimension the largest (MCA). Vectors and atoms are positive.
        case maximum
        /// 0 or 1, of every dimension the one of the largest magnitude (MMCA).
        case maximumMagnitude

        var values: [Double] {
            switch self {
            case .binary, .maximum, .maximumMagnitude, .spikeAndSlab: [1]
            case .ternary: [-1, 1]
            case .discrete(let values): values
            }
        }
    }

    /// What latents may be, and how atoms are superposed.
    public let model: Model
    /// [atoms, dimensions].
    public internal(set) var atoms: Tensor<Double>
    /// Probability of each value other than 0.
    public internal(set) var prior: [Double]
    /// Standard deviation of the noise in each dimension.
    public internal(set) var noise: Double
    /// Means of the Gaussians of spike and slab, one an atom; 1 at first.
    public internal(set) var slabMeans: [Double]
    /// Variances of the Gaussians of spike and slab, one an atom; 1 at first.
    public internal(set) var slabVariances: [Double]
    /// Atoms that are candidates for a vector.
    public let candidates: Int
    /// Atoms that may be active at once.
    public let active: Int

    var width: Int { atoms.rows }
    var dimensions: Int { atoms.columns }
    /// Probability that an atom is active.
    public var activity: Double { prior.reduce(0, +) }

    /// A model with given parameters.
    ///
    /// - Parameter activity: Probability that an atom is active, shared equally by the values other than 0.
    /// - Throws: `LacunaError.invalidArgument` for parameters out of range.
    public init(
        _ model: Model, atoms: Tensor<Double>, activity: Double, noise: Double, candidates: Int, active: Int
    ) throws {
        func refuse(_ name: String, _ reason: String) -> LacunaError { .invalidArgument(name, reason: reason) }
        guard atoms.rank == 2, atoms.rows >= 1, atoms.columns >= 1 else { throw refuse("atoms", "\(atoms.shape)") }
        guard activity > 0, activity < 1 else { throw refuse("activity", "\(activity) is not between 0 and 1") }
        guard noise > 0, noise.isFinite else { throw refuse("noise", "\(noise) is not positive") }
        guard (1...atoms.rows).contains(candidates), (1...candidates).contains(active) else {
            throw refuse("active", "\(active) of \(candidates) candidates of \(atoms.rows) atoms")
        }
        let values = model.values
        guard !values.isEmpty, values.allSatisfy({ $0 != 0 && $0.isFinite }), Set(values).count == values.count else {
            throw refuse("values", "\(values) are not different numbers other than 0")
        }
        (self.model, self.atoms, self.noise) = (model, atoms, noise)
        (self.candidates, self.active) = (candidates, active)
        prior = [Double](repeating: activity / Double(values.count), count: values.count)
        slabMeans = [Double](repeating: 1, count: atoms.rows)
        slabVariances = [Double](repeating: 1, count: atoms.rows)
    }

    /// A model to begin with: every atom the mean of the data and a little noise, the noise their mean standard
    /// deviation.
    ///
    /// - Throws: As ``init(_:atoms:activity:noise:candidates:active:)``.
    public init(
        _ model: Model, for x: Tensor<Double>, atoms: Int, candidates: Int = 8, active: Int = 5, seed: UInt64
    ) throws {
        guard x.rank == 2, x.rows >= 2, atoms >= 2 else {
            throw LacunaError.invalidArgument("vectors", reason: "\(x.shape) for \(atoms) atoms")
        }
        let (n, d) = (x.rows, x.columns)
        var (mean, spread) = ([Double](repeating: 0, count: d), 0.0)
        for i in 0..<d {
            mean[i] = (0..<n).reduce(0.0) { $0 + x[$1, i] } / Double(n)
            let variance = (0..<n).reduce(0.0) { $0 + (x[$1, i] - mean[i]) * (x[$1, i] - mean[i]) } / Double(n)
            spread += variance.squareRoot() / Double(d)
        }
        var generator = SeededGenerator(seed: seed, stream: 0x9205)
        var start = Tensor<Double>(normal: [atoms, d], standardDeviation: spread / 4, using: &generator)
        for h in 0..<atoms { for i in 0..<d { start[h, i] += mean[i] } }
        try self.init(
            model, atoms: start, activity: 1 / Double(atoms), noise: max(spread, 1e-6),
            candidates: min(candidates, atoms),
            active: min(active, candidates, atoms))
        floorAtoms()
    }

    mutating func floorAtoms() {
        guard model == .maximum else { return }
        let n = atoms.count
        atoms.withMutablePointer { p in for i in 0..<n { p[i] = max(p[i], 1e-4) } }
    }

    // MARK: States

    /// A combination of active atoms: pairs of an atom and the number of its value.
    typealias State = [(atom: Int, value: Int)]

    /// The subsets of `0..<candidates` of 2 to `active` members.
    static func subsets(_ candidates: Int, _ active: Int) -> [[Int]] {
        var result: [[Int]] = []
        func extend(_ chosen: [Int], _ next: Int) {
            if chosen.count >= 2 { result.append(chosen) }
            if chosen.count == active { return }
            for h in next..<max(next, candidates) { extend(chosen + [h], h + 1) }
        }
        extend([], 0)
        return result
    }

    /// Atoms that a vector may be made of: by cosine, or for maxima by how little they stand out above it.
    func candidates(_ y: [Double]) -> [Int] {
        let scores = (0..<width).map { h -> Double in
            if model == .maximum { return -(0..<dimensions).reduce(0.0) { $0 + abs(max(atoms[h, $1], y[$1]) - y[$1]) } }
            var (dot, square) = (0.0, 0.0)
            for i in 0..<dimensions {
                dot += atoms[h, i] * y[i]
                square += atoms[h, i] * atoms[h, i]
            }
            // An atom whose latents may be negative serves in both directions.
            let isSigned = model == .spikeAndSlab || model.values.contains { $0 < 0 }
            let cosine = square > 0 ? dot / square.squareRoot() : 0
            return isSigned ? abs(cosine) : cosine
        }
        return Array(
            (0..<width).sorted { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }.prefix(candidates))
    }

    /// The empty state, all single atoms, and all combinations of the candidates.
    func states(_ chosen: [Int], _ subsets: [[Int]]) -> [State] {
        let values = model.values.indices
        var result: [State] = [[]]
        for h in 0..<width { for v in values { result.append([(h, v)]) } }
        for subset in subsets {
            var partial: [State] = [[]]
            for member in subset {
                partial = partial.flatMap { state in values.map { state + [(chosen[member], $0)] } }
            }
            result += partial
        }
        return result
    }

    /// The exponent of the soft maximum at a temperature: infinite heat would be a sum, cold a maximum.
    func exponent(_ temperature: Double) -> Double {
        let t = max(temperature, model == .maximumMagnitude ? 1.2 : 1.05)
        return min(1 / (1 - 1 / t), 35)
    }

    /// What a state stands for without noise; of spike and slab at the slabs' means.
    func mean(of state: State, temperature: Double = 1) -> [Double] {
        let rho = exponent(temperature)
        return (0..<dimensions).map { i in
            switch model {
            case .maximum:
                if state.isEmpty { return 0 }
                // Relative to the largest, so that nothing overflows.
                let top = state.reduce(0.0) { max($0, atoms[$1.atom, i]) }
                if top == 0 { return 0 }
                return top * power(state.reduce(0.0) { $0 + power(atoms[$1.atom, i] / top, rho) }, 1 / rho)
            case .maximumMagnitude:
                let top = state.reduce(0.0) { max($0, abs(atoms[$1.atom, i])) }
                if top == 0 { return 0 }
                let t = state.reduce(0.0) { sum, entry in
                    let w = atoms[entry.atom, i]
                    return sum + (w < 0 ? -1 : 1) * power(abs(w) / top, rho)
                }
                return top * (t < 0 ? -1 : 1) * power(abs(t), 1 / rho)
            case .spikeAndSlab: return state.reduce(0.0) { $0 + slabMeans[$1.atom] * atoms[$1.atom, i] }
            default: return state.reduce(0.0) { $0 + model.values[$1.value] * atoms[$1.atom, i] }
            }
        }
    }

    /// `log p(s) - log p(0)`.
    func logPrior(_ state: State) -> Double {
        let off = logarithm(1 - activity)
        return state.reduce(0.0) { $0 + logarithm(max(prior[$1.value], 1e-300)) - off }
    }

    /// What spike and slab says of a state's slabs: the evidence's logarithm but for a constant, their posterior mean
    /// and covariance.
    func slabs(_ state: State, _ y: [Double]) -> (evidence: Double, mean: [Double], covariance: Tensor<Double>) {
        let m = state.count
        let variance = noise * noise
        let mean = mean(of: state)
        let rest = zip(y, mean).map { $0 - $1 }
        let square = rest.reduce(0.0) { $0 + $1 * $1 }
        if m == 0 { return (-square / (2 * variance), [], Tensor(zeros: [0, 0])) }
        var precision = Tensor<Double>(zeros: [m, m])
        var b = Tensor<Double>(zeros: [m, 1])
        var logSlab = 0.0
        for (p, first) in state.enumerated() {
            for (q, second) in state.enumerated() {
                precision[p, q] =
                    (0..<dimensions).reduce(0.0) { $0 + atoms[first.atom, $1] * atoms[second.atom, $1] } / variance
            }
            precision[p, p] += 1 / slabVariances[first.atom]
            b[p, 0] = (0..<dimensions).reduce(0.0) { $0 + atoms[first.atom, $1] * rest[$1] } / variance
            logSlab += logarithm(slabVariances[first.atom])
        }
        // Precisions are positive definite: variances are kept above 0.
        guard let factor = try? precision.cholesky(), let covariance = try? factor.inverseFromCholesky() else {
            return (-.infinity, [Double](repeating: 0, count: m), Tensor(zeros: [m, m]))
        }
        let shift = covariance.multiplied(by: b)
        var logPrecision = 0.0
        for p in 0..<m { logPrecision += 2 * logarithm(factor[p, p]) }
        let gain = (0..<m).reduce(0.0) { $0 + b[$1, 0] * shift[$1, 0] }
        return (
            -0.5 * (square / variance - gain + logSlab + logPrecision),
            (0..<m).map { slabMeans[state[$0].atom] + shift[$0, 0] }, covariance
        )
    }

    /// The logarithms of the joint probabilities of states and a vector, but for what all states share.
    func logJoints(_ states: [State], _ y: [Double], temperature: Double = 1) -> [Double] {
        let beta = 1 / max(temperature, 1)
        return states.map { state in
            if model == .spikeAndSlab { return logPrior(state) + beta * slabs(state, y).evidence }
            let mean = mean(of: state, temperature: temperature)
            let square = zip(y, mean).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            let fit = -square / (2 * noise * noise)
            switch model {
            case .maximum, .maximumMagnitude: return beta * (logPrior(state) + fit)
            default: return logPrior(state) + beta * fit
            }
        }
    }

    /// The logarithm of the sum of exponentials.
    static func logSum(_ values: [Double]) -> Double {
        let top = values.max() ?? -.infinity
        return top == -.infinity ? top : top + logarithm(values.reduce(0.0) { $0 + exponential($1 - top) })
    }

    /// The log-likelihood of vectors [vectors, dimensions] a vector, over the truncated states.
    public func logLikelihood(_ x: Tensor<Double>) -> Double {
        let subsets = Self.subsets(candidates, active)
        let constant =
            Double(width) * logarithm(1 - activity) - 0.5 * Double(dimensions) * logarithm(2 * .pi * noise * noise)
        var sums = [Double](repeating: 0, count: x.rows)
        sums.withUnsafeMutableBufferPointer { sums in
            let target = UncheckedTarget(sums.baseAddress)
            Parallel.forRanges(x.rows, grain: 8) { range in
                for t in range {
                    let y = row(x, t)
                    target.pointer![t] = Self.logSum(logJoints(states(candidates(y), subsets), y))
                }
            }
        }
        return constant + sums.reduce(0, +) / Double(max(x.rows, 1))
    }

    /// The most probable combinations of atoms and values for a vector, with their shares of the truncated posterior.
    ///
    /// - Throws: `LacunaError.invalidArgument` for another number of dimensions.
    public func infer(
        _ y: [Double], count: Int = 1
    ) throws -> [(probability: Double, active: [(atom: Int, value: Double)])] {
        guard y.count == dimensions else {
            throw LacunaError.invalidArgument("vector", reason: "\(y.count) numbers for \(dimensions) dimensions")
        }
        let states = states(candidates(y), Self.subsets(candidates, active))
        let joints = logJoints(states, y)
        let total = Self.logSum(joints)
        return joints.indices.sorted { joints[$0] > joints[$1] }.prefix(count).map { i in
            let values = model == .spikeAndSlab ? slabs(states[i], y).mean : states[i].map { model.values[$0.value] }
            return (
                exponential(joints[i] - total),
                zip(states[i], values).map { (atom: $0.atom, value: $1) }.sorted { $0.atom < $1.atom }
            )
        }
    }

    func row(_ x: Tensor<Double>, _ t: Int) -> [Double] {
        x.withPointer { Array(UnsafeBufferPointer(start: $0 + t * x.columns, count: x.columns)) }
    }
}
