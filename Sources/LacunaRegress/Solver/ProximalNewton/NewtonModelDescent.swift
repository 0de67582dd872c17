import LacunaTensor

/// Steps on the working set, by the kind of datafit.
extension NewtonSession {
    func descend(_ penalty: P, tolerance: Double) {
        if !datafit.isQuadratic {
            descendGeneral(penalty, tolerance: tolerance)
        } else if usesResiduals {
            descendResiduals(penalty, tolerance: tolerance)
        } else {
            descendQuadratic(penalty, tolerance: tolerance)
        }
    }

    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    func descendQuadratic(_ penalty: P, tolerance: Double) {
        let w = model.count
        var z = model.columns.map { beta.pointer[Int($0)] }
        var g = model.columns.map { gradient.pointer[Int($0)] }
        model.minimize(penalty, &z, gradient: &g, tolerance: tolerance)
        for k in 0..<w { beta.pointer[Int(model.columns[k])] = z[k] }
        finishQuadratic()
    }

    /// Predictors afresh, so that rounding does not add up, and the intercept that suits them.

    /// Predictors afresh, so that rounding does not add up, and the intercept that suits them.
    func finishQuadratic() {
        intercepts[0] = 0
        updateEta()
        if hasIntercept {
            datafit.refineIntercepts(&intercepts, eta: eta.pointer, work: work.pointer, maximumSteps: 1)
        }
    }

    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    func descendGeneral(_ penalty: P, tolerance: Double) {
        let w = columns.count
        if w == 0 { return }
        let old = columns.map { beta.pointer[Int($0)] }
        var (z, g) = (old, [Double](repeating: 0, count: w))
        let direction = Buffer<Double>(uninitialized: n)
        let trial = Buffer<Double>(uninitialized: n)
        for step in 0..<settings.maximumSteps {
            if hasIntercept && step > 0 {
                datafit.refineIntercepts(&intercepts, eta: eta.pointer, work: work.pointer, maximumSteps: 20)
            }
            datafit.gradient(eta.pointer, into: slope.pointer)
            datafit.curvature(eta.pointer, into: curvature.pointer)
            // A floor keeps the model strictly convex where a loss is flat.
            var total = 0.0
            for i in 0..<n {
                curvature.pointer[i] = max(curvature.pointer[i], 1e-9 * datafit.weights[i])
                total += curvature.pointer[i]
            }
            design.correlations(columns, with: slope.pointer, into: &g)
            model.removeAll()
            model.append(columns, of: design, curvature: curvature.pointer, total: total, centered: hasIntercept)
            let distance = model.distance(penalty, z, g)
            if distance <= tolerance { break }
            let start = (z: z, g: g)
            model.minimize(penalty, &z, gradient: &g, tolerance: max(0.3 * tolerance, 1e-3 * distance))
            // The direction in η, and what the model promises.
            direction.pointer.update(repeating: 0, count: n)
            var (promise, shift) = (0.0, 0.0)
            for k in 0..<w where z[k] != start.z[k] {
                let (j, delta) = (Int(columns[k]), z[k] - start.z[k])
                design.add(delta, column: j, to: direction.pointer)
                shift -= model.means[k] * delta
                promise += start.g[k] * delta + penalty.value(z[k], j) - penalty.value(start.z[k], j)
            }
            if hasIntercept { for i in 0..<n { direction.pointer[i] += shift } }
            let length = lineSearch(
                penalty, from: start.z, to: z, direction: direction.pointer, promise: promise, trial: trial.pointer)
            guard let length else {
                z = start.z
                break
            }
            for k in 0..<w { z[k] = length == 1 ? z[k] : start.z[k] + length * (z[k] - start.z[k]) }
            eta.pointer.update(from: trial.pointer, count: n)
            intercepts[0] += length * shift
        }
        for k in 0..<w { beta.pointer[Int(columns[k])] = z[k] }
        updateEta()
    }

    /// Halves the way to the model's minimum until the objective falls by a share of what the model promises; nil if it never
    /// does. Leaves the predictors there in `trial`.
    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    private func lineSearch(
        _ penalty: P, from start: [Double], to end: [Double], direction: UnsafePointer<Double>, promise: Double,
        trial: UnsafeMutablePointer<Double>
    ) -> Double? {
        let before = datafit.value(eta.pointer)
        var length = 1.0
        for _ in 0..<30 {
            for i in 0..<n { trial[i] = eta.pointer[i] + length * direction[i] }
            var change = datafit.value(trial) - before
            for k in start.indices where end[k] != start[k] {
                let j = Int(columns[k])
                let point = start[k] + length * (end[k] - start[k])
                change += penalty.value(point, j) - penalty.value(start[k], j)
            }
            if change <= 1e-4 * length * promise + 1e-15 * abs(before) { return length }
            length /= 2
        }
        return nil
    }
}
