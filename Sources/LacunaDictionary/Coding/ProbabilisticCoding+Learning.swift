import LacunaTensor

extension ProbabilisticCoding {
    /// How the parameters are learned.
    public struct Learning: Sendable, Hashable {
        /// Passes over all vectors, 1 or more: an expectation and a maximisation each.
        public var steps = 100
        /// Temperature of the posteriors at the beginning; falls to 1 over the first 80 % of the steps.
        public var temperature: Double
        /// Whether vectors that more atoms than are allowed at once seem to explain are left out, more and more until
        /// 2/3 of the steps.
        public var leavesOut = true

        /// - Parameter temperature: Nil for what serves a model: 4 for maxima, 5 for sums.
        public init(for model: Model, steps: Int = 100, temperature: Double? = nil) {
            self.steps = steps
            self.temperature = temperature ?? (model == .maximum || model == .maximumMagnitude ? 4 : 5)
        }
    }

    /// Sums over vectors of what posteriors say, for one update of the parameters.
    private struct Moments {
        var weight = 0.0
        /// `Σ<z>yᵀ` [atoms, dimensions] and `Σ<z zᵀ>` of latents; of maxima `Σ<A y>` and `Σ<A>`, both [atoms,
        /// dimensions].
        var cross: Tensor<Double>
        var second: Tensor<Double>
        var squares = 0.0
        var error = 0.0
        var counts: [Double]
        var slabs: [(count: Double, first: Double, second: Double)]

        mutating func add(_ other: Moments) {
            func sum(_ a: inout Tensor<Double>, _ b: Tensor<Double>) {
                let n = a.count
                a.withMutablePointer { p in b.withPointer { q in for i in 0..<n { p[i] += q[i] } } }
            }
            weight += other.weight
            squares += other.squares
            error += other.error
            sum(&cross, other.cross)
            sum(&second, other.second)
            for i in counts.indices { counts[i] += other.counts[i] }
            for i in slabs.indices {
                slabs[i].count += other.slabs[i].count
                slabs[i].first += other.slabs[i].first
                slabs[i].second += other.slabs[i].second
            }
        }
    }

    private var isMaximum: Bool { model == .maximum || model == .maximumMagnitude }

    /// Learns atoms, sparsity and noise.
    ///
    /// - Parameter x: [vectors, dimensions].
    /// - Throws: `LacunaError.invalidArgument` for other dimensions, a temperature below 1 and, with
    ///   ``Model/maximum``, vectors without any positive number; `.numerical` if parameters cease to be finite;
    ///   `.cancelled`.
    public mutating func learn(
        _ x: Tensor<Double>, _ learning: Learning, progress: (any ProgressReporter)? = nil
    ) throws {
        guard x.rank == 2, x.columns == dimensions, x.rows >= 1 else {
            throw LacunaError.invalidArgument("vectors", reason: "\(x.shape) for \(dimensions) dimensions")
        }
        if model == .maximum, !x.scalars.contains(where: { $0 > 0 }) {
            throw LacunaError.invalidArgument("vectors", reason: "none has a number above 0: there are no maxima")
        }
        guard learning.steps >= 1, learning.temperature >= 1, learning.temperature.isFinite else {
            throw LacunaError.invalidArgument(
                "learning", reason: "\(learning.steps) steps from \(learning.temperature)")
        }
        for step in 0..<learning.steps {
            try progress.report("expectation maximisation", step, of: learning.steps)
            let share = Double(step) / Double(learning.steps)
            let temperature = learning.temperature + (1 - learning.temperature) * min(1, share / 0.8)
            update(x, temperature: temperature, leavingOut: learning.leavesOut ? min(1, share / (2.0 / 3)) : 0)
            guard noise.isFinite, activity.isFinite, atoms.scalars.allSatisfy(\.isFinite) else {
                throw LacunaError.numerical(
                    operation: "sparse coding", reason: "parameters are not finite after step \(step)")
            }
        }
    }

    /// One step of expectation and maximisation.
    ///
    /// - Parameter leavingOut: Share, 0...1, of the vectors expected to have too many active atoms that is left out.
    mutating func update(_ x: Tensor<Double>, temperature: Double, leavingOut: Double) {
        let subsets = Self.subsets(candidates, active)
        let n = x.rows
        // How well the truncated states account for each vector decides which are left out.
        let block = 16
        let blocks = (n + block - 1) / block
        var scores = [Double](repeating: 0, count: n)
        if leavingOut > 0 {
            scores.withUnsafeMutableBufferPointer { scores in
                let target = UncheckedTarget(scores.baseAddress)
                Parallel.forRanges(n, grain: block) { range in
                    for t in range {
                        let y = row(x, t)
                        target.pointer![t] = Self.logSum(
                            logJoints(states(candidates(y), subsets), y, temperature: temperature))
                    }
                }
            }
        }
        let (inside, mean) = truncation
        let kept = Int((Double(n) * (1 - (1 - inside) * leavingOut)).rounded(.up))
        var isKept = [Bool](repeating: true, count: n)
        if leavingOut > 0, kept < n {
            for t in scores.indices.sorted(by: { scores[$0] < scores[$1] }).prefix(n - kept) { isKept[t] = false }
        }
        let empty = Moments(
            cross: Tensor(zeros: [width, dimensions]), second: Tensor(zeros: [width, isMaximum ? dimensions : width]),
            counts: [Double](repeating: 0, count: prior.count),
            slabs: [(count: Double, first: Double, second: Double)](repeating: (0, 0, 0), count: width))
        var parts = [Moments](repeating: empty, count: blocks)
        parts.withUnsafeMutableBufferPointer { parts in
            let target = UncheckedTarget(parts.baseAddress)
            Parallel.forEach(blocks) { b in
                var moments = empty
                for t in b * block..<min((b + 1) * block, n) where isKept[t] {
                    add(row(x, t), to: &moments, subsets, temperature: temperature)
                }
                target.pointer![b] = moments
            }
        }
        var total = empty
        for part in parts { total.add(part) }
        if total.weight > 0 { maximise(total, inside: inside, mean: mean) }
    }

    /// The probability that at most `active` atoms are active, and their expected number in that case, not divided by
    /// it.
    private var truncation: (inside: Double, mean: Double) {
        var (inside, mean, choose) = (0.0, 0.0, 1.0)
        for g in 0...active {
            let term = choose * power(activity, Double(g)) * power(1 - activity, Double(width - g))
            inside += term
            mean += Double(g) * term
            choose *= Double(width - g) / Double(g + 1)
        }
        return (inside, mean)
    }

    /// Adds what the posterior of one vector says.
    private func add(_ y: [Double], to moments: inout Moments, _ subsets: [[Int]], temperature: Double) {
        let states = states(candidates(y), subsets)
        let joints = logJoints(states, y, temperature: temperature)
        let total = Self.logSum(joints)
        moments.weight += 1
        moments.squares += y.reduce(0) { $0 + $1 * $1 }
        for (state, joint) in zip(states, joints) {
            let q = exponential(joint - total)
            if q < 1e-12 { continue }
            for entry in state { moments.counts[entry.value] += q }
            switch model {
            case .maximum, .maximumMagnitude: addMaximum(state, q, y, to: &moments, temperature: temperature)
            case .spikeAndSlab: addSlabs(state, q, y, to: &moments)
            default:
                for first in state {
                    let s = model.values[first.value]
                    for i in 0..<dimensions { moments.cross[first.atom, i] += q * s * y[i] }
                    for second in state {
                        moments.second[first.atom, second.atom] += q * s * model.values[second.value]
                    }
                }
            }
        }
    }

    private func addMaximum(_ state: State, _ q: Double, _ y: [Double], to moments: inout Moments, temperature: Double)
    {
        let mean = mean(of: state, temperature: temperature)
        let rho = exponent(temperature)
        for i in 0..<dimensions { moments.error += q * (y[i] - mean[i]) * (y[i] - mean[i]) }
        for entry in state {
            for i in 0..<dimensions where mean[i] != 0 {
                // The derivative of the soft maximum by the atom's entry.
                let a = q * power(abs(atoms[entry.atom, i] / mean[i]), rho - 1)
                moments.cross[entry.atom, i] += a * y[i]
                moments.second[entry.atom, i] += a
            }
        }
    }

    private func addSlabs(_ state: State, _ q: Double, _ y: [Double], to moments: inout Moments) {
        let (_, mean, covariance) = slabs(state, y)
        for (p, first) in state.enumerated() {
            for i in 0..<dimensions { moments.cross[first.atom, i] += q * mean[p] * y[i] }
            for (r, second) in state.enumerated() {
                moments.second[first.atom, second.atom] += q * (covariance[p, r] + mean[p] * mean[r])
            }
            moments.slabs[first.atom].count += q
            moments.slabs[first.atom].first += q * mean[p]
            moments.slabs[first.atom].second += q * (covariance[p, p] + mean[p] * mean[p])
        }
    }

    private mutating func maximise(_ m: Moments, inside: Double, mean: Double) {
        if isMaximum {
            for h in 0..<width {
                for i in 0..<dimensions where m.second[h, i] > 1e-10 { atoms[h, i] = m.cross[h, i] / m.second[h, i] }
            }
            floorAtoms()
            noise = max((m.error / (m.weight * Double(dimensions))).squareRoot(), 1e-6)
        } else {
            // Least squares of smallest norm, as an atom that is never active makes the moments singular.
            if let (values, vectors) = try? m.second.symmetricEigen(), let largest = values.last, largest > 0 {
                var image = vectors.multiplied(by: m.cross)
                for (r, value) in values.enumerated() {
                    let factor = value > 1e-10 * largest ? 1 / value : 0
                    for i in 0..<dimensions { image[r, i] *= factor }
                }
                atoms = vectors.multiplied(by: image, transposed: true)
            }
            // Σ<‖y - Wᵀz‖²> from the moments.
            let fit = zip(atoms.scalars, m.cross.scalars).reduce(0.0) { $0 + $1.0 * $1.1 }
            let image = m.second.multiplied(by: atoms)
            let quadratic = zip(atoms.scalars, image.scalars).reduce(0.0) { $0 + $1.0 * $1.1 }
            let error = max(m.squares - 2 * fit + quadratic, 0)
            noise = max((error / (m.weight * Double(dimensions))).squareRoot(), 1e-6)
        }
        if model == .spikeAndSlab {
            for h in 0..<width where m.slabs[h].count > 1e-10 {
                slabMeans[h] = m.slabs[h].first / m.slabs[h].count
                slabVariances[h] = max(m.slabs[h].second / m.slabs[h].count - slabMeans[h] * slabMeans[h], 1e-6)
            }
        }
        // Corrects for the combinations that truncation leaves out.
        let found = m.counts.reduce(0, +)
        if found > 0, mean > 0 {
            let activity = min(max(inside / mean * self.activity * found / m.weight, 1e-6), 1 - 1e-6)
            prior = m.counts.map { max(activity * $0 / found, 1e-12) }
        }
    }
}
