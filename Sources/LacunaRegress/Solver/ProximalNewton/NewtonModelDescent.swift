import LacunaTensor

/// Steps on the working set, by the kind of datafit.
extension NewtonSession {
    func descend(_ penalty: P, tolerance: Double) throws {
        if !datafit.isQuadratic {
            try descendGeneral(penalty, tolerance: tolerance)
        } else if let short {
            descendResiduals(penalty, short, tolerance: tolerance)
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
    func finishQuadratic() {
        intercepts[0] = 0
        updateEta()
        if hasIntercept { refineIntercepts(1) }
    }

    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    func descendGeneral(_ penalty: P, tolerance: Double) throws {
        if columns.isEmpty { return }
        var gradients = [Double](repeating: 0, count: columns.count)
        let direction = Buffer<Double>(uninitialized: n)
        let trial = Buffer<Double>(uninitialized: n)
        let lipschitz = lipschitz.pointer
        let b = beta.pointer
        for step in 0..<settings.maximumSteps {
            if hasIntercept && step > 0 { refineIntercepts(20) }
            datafit.gradient(eta.pointer, into: slope.pointer)
            datafit.curvature(eta.pointer, into: curvature.pointer)
            // A floor keeps the model strictly convex where a loss is flat.
            var total = 0.0
            for i in 0..<n {
                curvature.pointer[i] = max(curvature.pointer[i], 1e-9 * datafit.weights[i])
                total += curvature.pointer[i]
            }
            design.correlations(columns, with: slope.pointer, into: &gradients)
            // The model is of the columns that are not 0 or would not stay so: the Gram matrix is what a step costs.
            var (moving, g): ([UInt32], [Double]) = ([], [])
            var distance = 0.0
            for (column, value) in zip(columns, gradients) {
                let j = Int(column)
                let violation = penalty.distance(b[j], gradient: value, lipschitz: lipschitz[j], j)
                distance = max(distance, violation)
                if b[j] != 0 || violation > 0 {
                    moving.append(column)
                    g.append(value)
                }
            }
            if distance <= tolerance { break }
            model.removeAll()
            try model.append(moving, of: design, curvature: curvature.pointer, total: total, centered: hasIntercept)
            let start = moving.map { b[Int($0)] }
            let slopes = g
            var z = start
            // No more exact than the model itself: the next one is another.
            model.minimize(penalty, &z, gradient: &g, tolerance: max(0.3 * tolerance, 1e-1 * distance))
            // The direction in η, and what the model promises.
            direction.pointer.update(repeating: 0, count: n)
            var (promise, shift) = (0.0, 0.0)
            for k in moving.indices where z[k] != start[k] {
                let (j, delta) = (Int(moving[k]), z[k] - start[k])
                design.add(delta, column: j, to: direction.pointer)
                shift -= model.means[k] * delta
                promise += slopes[k] * delta + penalty.value(z[k], j) - penalty.value(start[k], j)
            }
            if hasIntercept { for i in 0..<n { direction.pointer[i] += shift } }
            let length = lineSearch(
                penalty, moving, from: start, to: z, direction: direction.pointer, promise: promise,
                trial: trial.pointer)
            guard let length else { break }
            for k in moving.indices {
                b[Int(moving[k])] = length == 1 ? z[k] : start[k] + length * (z[k] - start[k])
            }
            eta.pointer.update(from: trial.pointer, count: n)
            intercepts[0] += length * shift
        }
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
        _ penalty: P, _ moving: [UInt32], from start: [Double], to end: [Double], direction: UnsafePointer<Double>,
        promise: Double,
        trial: UnsafeMutablePointer<Double>
    ) -> Double? {
        let before = datafit.value(eta.pointer)
        var length = 1.0
        for _ in 0..<30 {
            for i in 0..<n { trial[i] = eta.pointer[i] + length * direction[i] }
            var change = datafit.value(trial) - before
            for k in start.indices where end[k] != start[k] {
                let j = Int(moving[k])
                let point = start[k] + length * (end[k] - start[k])
                change += penalty.value(point, j) - penalty.value(start[k], j)
            }
            if change <= 1e-4 * length * promise + 1e-15 * abs(before) { return length }
            length /= 2
        }
        return nil
    }
}
