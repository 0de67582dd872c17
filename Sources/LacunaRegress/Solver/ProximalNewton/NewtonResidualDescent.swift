import LacunaTensor

/// Steps on the working set without a Gram matrix.
extension NewtonSession {
    /// Coordinate descent on the rows instead of a Gram matrix, for columns so short that touching their rows costs less
    /// than a row of the matrix. Ends with extrapolated steps like ``CoordinateDescent``.
    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    func descendResiduals(_ penalty: P, _ design: SparseDesign, tolerance: Double) {
        let (b, r) = (beta.pointer, slope.pointer)
        let weights = datafit.weights
        var anderson = AndersonAcceleration()
        // The columns that have not been 0 all the time, of perhaps a million: they alone are extrapolated.
        var moving = columns.filter { b[Int($0)] != 0 }
        var isMoving = columns.map { b[Int($0)] != 0 }
        datafit.gradient(eta.pointer, into: r)
        for _ in 0..<2000 {
            var worst = 0.0
            for (place, column) in columns.enumerated() {
                let j = Int(column)
                let curvature = rawNorm(j)
                if curvature < 1e-290 { continue }
                let g = design.correlation(j, with: r)
                let old = b[j]
                if old == 0 && penalty.distance(0, gradient: g, lipschitz: curvature, j) == 0 { continue }
                worst = max(worst, penalty.distance(old, gradient: g, lipschitz: curvature, j))
                let new = penalty.proximal(old - g / curvature, step: 1 / curvature, j)
                if new == old { continue }
                b[j] = new
                if !isMoving[place] {
                    isMoving[place] = true
                    moving.append(column)
                }
                if let evenWeight {
                    design.add((new - old) * evenWeight, column: j, to: r)
                } else {
                    design.add(new - old, column: j, weights: weights, to: r)
                }
            }
            if hasIntercept {
                var total = 0.0
                for i in 0..<n { total += r[i] }
                for i in 0..<n { r[i] -= total * weights[i] }
                worst = max(worst, abs(total))
            }
            if worst <= tolerance { break }
            let iterate = moving.map { b[Int($0)] }
            if let better = anderson.extrapolated(after: iterate) {
                func objective() -> Double {
                    intercepts[0] = 0
                    updateEta()
                    if hasIntercept { refineIntercepts(1) }
                    var sum = datafit.value(eta.pointer)
                    for column in moving where b[Int(column)] != 0 {
                        sum += penalty.value(b[Int(column)], Int(column))
                    }
                    return sum
                }
                let before = objective()
                for (column, value) in zip(moving, better) { b[Int(column)] = value }
                if !(objective() < before) {
                    for (column, value) in zip(moving, iterate) { b[Int(column)] = value }
                    _ = objective()
                }
                datafit.gradient(eta.pointer, into: r)
            }
        }
        finishQuadratic()
    }
}
