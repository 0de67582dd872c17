import LacunaTensor

/// What duality gaps of Cox's partial likelihood are made of.
///
/// The conjugate of a sum is the least sum of conjugates over all ways of dividing its argument among the terms. With `m = v +
/// wE` for the mass of each row (`wE` is the weight of the rows with an event), that is
///
///     F*(v) = min { Σ_k d_k Σ_i p_ki log(p_ki / a_ki) : Σ_k d_k p_k = m, p_k a distribution on R_k }
///
/// over the logarithms `k` of all steps, of weights `d_k`. Any such division gives an upper bound, which is what a gap needs.
/// Two of them are tried at `v = s ∇F(η)`, and the smaller bound is taken.
extension CoxLoss {
    /// An upper bound of the conjugate: exact for a scale of 1, and elsewhere as close as some steps of Newton's method and
    /// rounding allow.
    public func conjugate(
        gradient g: UnsafePointer<Double>, scale s: Double, at eta: UnsafePointer<Double>
    ) -> Double {
        guard s > 0 else { return conjugate(gradient: g, scale: 0) }
        let mixed = mixedBound(scale: s, at: eta)
        guard s < 1 else { return mixed }
        // What any predictor shows from below.
        var below = -value(eta)
        for i in 0..<rows { below += s * g[i] * eta[i] }
        if mixed - below <= 1e-15 * (abs(mixed) + abs(below)) { return mixed }
        return min(mixed, balancedBound(scale: s, at: eta))
    }

    /// The argument divided as the gradient is at `η`; what the scale leaves over goes to the rows of the events. Off by the
    /// square of what is left over, and more where that exceeds the share of an event in its risk set.
    private func mixedBound(scale s: Double, at eta: UnsafePointer<Double>) -> Double {
        let logScale = logarithm(s)
        var sum = 0.0
        for (step, risk) in zip(steps, risks(eta)) {
            forEachLogarithm(of: step) { weight, thinning in
                let rest = 1 - thinning * min(risk.share, 1)
                let own = risk.logarithm + logarithm(rest)
                sum += s * weight * (logScale + (risk.mean - thinning * risk.part) / rest - own)
                guard s < 1 else { return }
                for i in step.rows {
                    let (w, x) = (weights[Int(i)], eta[Int(i)])
                    let share = exponential(x - own)
                    let kept = s * weight * (1 - thinning) * w * share
                    let whole = kept + (1 - s) * w * weight / step.weight
                    sum += whole * logarithm(s * share + (1 - s) / ((1 - thinning) * step.weight))
                    if kept > 0 { sum -= kept * (logScale + x - own) }
                }
            }
        }
        return sum
    }

    /// The argument divided as the gradient is at the predictors `η'` that have it for their gradient, which Newton's method
    /// finds from `η`.
    ///
    /// It finds them nearly: their masses are `m'` where `m` are asked for. A part `ρ` of every `p_k` is kept, as large as
    /// leaves every row something to receive (`ρ m'_i ≤ m_i`) and lets the rest of the steps reach it: risk sets are nested, so
    /// that it does if, at the time of every step, what earlier steps give to rows still at risk is at least `ρ` times what
    /// they give at `η'`. How the rest is divided is not asked, since `p log p ≤ 0`: it costs `-log a` at most.
    private func balancedBound(scale s: Double, at eta: UnsafePointer<Double>) -> Double {
        guard let balance = CoxBalance(self, eta) else { return .infinity }
        let target = balance.masses.indices.map { k in
            let i = Int(order[balance.first + k])
            return s * balance.masses[k] + (balance.isOwn[k] ? (1 - s) * weights[i] : 0)
        }
        let flows = balance.flows.map { s * $0 }
        var highest = 0.0
        for k in target.indices { highest = max(highest, -logarithm(weights[Int(order[balance.first + k])])) }
        var dearest = 0.0
        for step in steps {
            forEachLogarithm(of: step) { weight, thinning in dearest += weight * (highest - logarithm(1 - thinning)) }
        }
        var best = Double.infinity
        var moved = balance
        for _ in 0..<12 {
            let rounding = 4 * 0x1p-53 * (Double(target.count) + moved.reach)
            var kept = 1.0
            for k in target.indices where moved.masses[k] > 0 { kept = min(kept, target[k] / moved.masses[k]) }
            for k in flows.indices where moved.flows[k] > 0 { kept = min(kept, flows[k] / moved.flows[k]) }
            kept *= 1 - rounding
            let bound = kept * moved.cost + (1 - kept) * dearest
            if bound < best { best = bound }
            if 1 - kept <= 4 * rounding { break }
            guard let next = moved.balanced(to: target) else { break }
            moved = next
        }
        return best
    }
}

/// What predictors give to each row of the risk sets, and Newton's method towards masses that are asked for.
private struct CoxBalance {
    let loss: CoxLoss
    /// Where the rows that are at risk at any event begin in the order of times; arrays by rows begin there.
    let first: Int
    /// Predictors, less the largest.
    let eta: [Double]
    /// `w exp η`.
    let hazards: [Double]
    /// `Σ_k d_k p_ki`.
    private(set) var masses: [Double]
    /// Whether there is an event.
    let isOwn: [Bool]
    /// At each step, what earlier ones give to the rows still at risk.
    private(set) var flows: [Double]
    /// `Σ_k d_k Σ_i p_ki log(p_ki / a_ki)`.
    private(set) var cost = 0.0
    /// The largest magnitude of a predictor.
    let reach: Double
    /// By steps, the sums of hazards of the step's own rows, and of the others at risk.
    private var own: [Double] = []
    private var others: [Double] = []
    /// By steps, where their rows are here.
    private let places: [[Int]]

    /// Nil where hazards are too far apart to be kept beside each other.
    init?(_ loss: CoxLoss, _ eta: UnsafePointer<Double>) {
        let first = loss.steps[0].first
        let order = loss.order
        var position = [Int](repeating: -1, count: loss.rows)
        for place in first..<order.count { position[Int(order[place])] = place - first }
        var isOwn = [Bool](repeating: false, count: order.count - first)
        let places = loss.steps.map { $0.rows.map { position[Int($0)] } }
        for place in places.joined() { isOwn[place] = true }
        self.init(
            loss, first, (first..<order.count).map { eta[Int(order[$0])] }, isOwn: isOwn, places: places)
    }

    private init?(_ loss: CoxLoss, _ first: Int, _ eta: [Double], isOwn: [Bool], places: [[Int]]) {
        let largest = eta.max() ?? 0
        let eta = eta.map { $0 - largest }
        let reach = -(eta.min() ?? 0)
        guard reach < 600 else { return nil }
        let hazards = eta.indices.map { loss.weights[Int(loss.order[first + $0])] * exponential(eta[$0]) }
        (self.loss, self.first, self.eta, self.reach, self.hazards) = (loss, first, eta, reach, hazards)
        (self.isOwn, self.places) = (isOwn, places)
        masses = hazards
        flows = [Double](repeating: 0, count: loss.steps.count)
        (own, others) = sums { hazards[$0] }
        let (ownMoments, otherMoments) = sums { hazards[$0] * eta[$0] }
        var (given, cost) = (0.0, 0.0)
        for (k, step) in loss.steps.enumerated() {
            flows[k] = (own[k] + others[k]) * given
            var ownGiven = given
            loss.forEachLogarithm(of: step) { weight, thinning in
                let sum = others[k] + (1 - thinning) * own[k]
                given += weight / sum
                ownGiven += weight * (1 - thinning) / sum
                cost += weight * ((otherMoments[k] + (1 - thinning) * ownMoments[k]) / sum - logarithm(sum))
            }
            for place in range(k) { masses[place] = hazards[place] * given }
            for place in places[k] { masses[place] = hazards[place] * ownGiven }
        }
        self.cost = cost
        guard cost.isFinite else { return nil }
    }

    /// The rows whose time is that of step `k` or later, but before that of the next.
    private func range(_ k: Int) -> Range<Int> {
        let end = k + 1 < loss.steps.count ? loss.steps[k + 1].first : loss.order.count
        return loss.steps[k].first - first..<end - first
    }

    /// By steps, the sum of a value over the step's own rows, and over the others at risk: apart, so that what is left of a
    /// crowd that grows thinner is no difference.
    private func sums(_ value: (Int) -> Double) -> (own: [Double], others: [Double]) {
        var own = [Double](repeating: 0, count: loss.steps.count)
        var others = own
        var later = 0.0
        for k in own.indices.reversed() {
            for place in places[k] { own[k] += value(place) }
            for place in range(k) where !isOwn[place] { later += value(place) }
            others[k] = later
            later += own[k]
        }
        return (own, others)
    }

    /// The change of masses that a small change of predictors brings: the second derivative of the loss times it.
    private func response(_ change: [Double]) -> [Double] {
        let (ownMoments, otherMoments) = sums { hazards[$0] * change[$0] }
        var result = change
        var given = 0.0
        for (k, step) in loss.steps.enumerated() {
            var ownGiven = given
            loss.forEachLogarithm(of: step) { weight, thinning in
                let sum = others[k] + (1 - thinning) * own[k]
                let mean = (otherMoments[k] + (1 - thinning) * ownMoments[k]) / sum
                given += weight * mean / sum
                ownGiven += weight * (1 - thinning) * mean / sum
            }
            for place in range(k) {
                result[place] = masses[place] * change[place] - hazards[place] * (isOwn[place] ? ownGiven : given)
            }
        }
        return result
    }

    /// A step of Newton's method towards predictors of these masses, by conjugate gradients in the metric of the masses.
    func balanced(to target: [Double]) -> CoxBalance? {
        var residual = zip(target, masses).map { $0 - $1 }
        func scaled(_ v: [Double]) -> [Double] { zip(v, masses).map { $1 > 0 ? $0 / $1 : 0 } }
        func product(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
        var step = [Double](repeating: 0, count: target.count)
        var preconditioned = scaled(residual)
        var direction = preconditioned
        var square = product(residual, preconditioned)
        let goal = 1e-12 * square
        for _ in 0..<60 where square > goal && square.isFinite {
            let bent = response(direction)
            let curvature = product(direction, bent)
            guard curvature > 0 else { break }
            let length = square / curvature
            for i in step.indices {
                step[i] += length * direction[i]
                residual[i] -= length * bent[i]
            }
            preconditioned = scaled(residual)
            let next = product(residual, preconditioned)
            let ratio = next / square
            for i in step.indices { direction[i] = preconditioned[i] + ratio * direction[i] }
            square = next
        }
        guard let low = step.min(), let high = step.max(), low.isFinite, high.isFinite, high > low else { return nil }
        // Further than this, exponentials are no longer what Newton's method takes them for.
        let length = min(1, 1 / (high - low))
        return CoxBalance(
            loss, first, step.indices.map { eta[$0] + length * step[$0] }, isOwn: isOwn, places: places)
    }
}
