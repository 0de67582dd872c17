import LacunaTensor

/// What the certificate of a pass says: how far from optimal, and which columns are out for good.
extension NewtonSession {
    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    func largestViolation(_ penalty: P, _ alive: [UInt32]?) -> Double {
        let lipschitz = lipschitz.pointer
        let (b, g) = (beta.pointer, gradient.pointer)
        var largest = 0.0
        forEachAlive(alive) { j in
            largest = max(largest, penalty.distance(b[j], gradient: g[j], lipschitz: lipschitz[j], j))
        }
        return largest
    }

    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    /// - Parameter rounding: Takes gradients as far off as rounding allows; nil for as they are.
    func dualValue(
        _ penalty: P, _ alive: [UInt32]?, _ rounding: RoundingBound?
    ) -> (value: Double, scale: Double) {
        let given = gradient.pointer
        let factor = rounding?.gradientError(1)
        /// The gradient of a column, as far off as it may be.
        func g(_ j: Int) -> Double {
            guard let factor else { return given[j] }
            let e = factor * rawNorm(j).squareRoot()
            return given[j] + (given[j] < 0 ? -e : e)
        }
        var scale = 1.0
        forEachAlive(alive) { scale = min(scale, penalty.dualScale(-g($0), $0)) }
        var conjugate = 0.0
        if penalty.screeningLevel(0) == nil {
            forEachAlive(alive) { conjugate += penalty.conjugate(-scale * g($0), $0) }
        }
        return (-datafit.conjugate(gradient: slope.pointer, scale: scale, at: eta.pointer) - conjugate, scale)
    }

    /// The columns that may be active at the optimum; nil if the penalty allows no such statement, or if those are so many
    /// that a list of them is worth nothing. What is discarded is 0 from here on.
    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    func screened(_ penalty: P, _ alive: [UInt32]?, radius: Double, scale: Double) -> [UInt32]? {
        guard penalty.screeningLevel(0) != nil else { return nil }
        let norms = norms.pointer
        let most = (alive?.count ?? p) * 3 / 4
        var left: [UInt32] = []
        var changed = false
        forEachAlive(alive) { j in
            let level = penalty.screeningLevel(j) ?? .infinity
            if scale * abs(gradient.pointer[j]) + radius * norms[j].squareRoot() >= level * (1 - 1e-12) {
                if left.count < most { left.append(UInt32(j)) }
            } else if beta.pointer[j] != 0 {
                beta.pointer[j] = 0
                changed = true
            }
        }
        if changed { updateEta() }
        return left.count < most ? left : nil
    }

    /// The columns that a later strength of a path has to look at, by the dual point of the last pass over all of them;
    /// nil if those are so many that another such pass is better, or the penalty allows no such statement.
    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    func remaining(_ penalty: P) -> [UInt32]? {
        guard penalty.hasDual, penalty.screeningLevel(0) != nil, let bound = datafit.curvatureBound else { return nil }
        var scale = 1.0
        for j in 0..<p { scale = min(scale, penalty.dualScale(-referenceGradient(j), j)) }
        let objective = datafit.value(eta.pointer) + lengthAndValue(penalty).value
        let gap = max(0, objective + datafit.conjugate(gradient: referenceSlope.pointer, scale: scale))
        let radius = (2 * bound * gap).squareRoot()
        let norms = norms.pointer
        var left: [UInt32] = []
        for j in 0..<p {
            let level = penalty.screeningLevel(j) ?? .infinity
            let reach = scale * abs(referenceGradient(j)) + radius * norms[j].squareRoot()
            if beta.pointer[j] != 0 || reach >= level * (1 - 1e-12) {
                left.append(UInt32(j))
                if left.count >= p / 3 { return nil }
            }
        }
        return left.count < p / 3 ? left : nil
    }
}
