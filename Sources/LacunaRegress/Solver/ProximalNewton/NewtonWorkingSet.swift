import LacunaTensor

/// The columns that are worked on between two passes.
extension NewtonSession {
    /// Adds columns that violate the conditions of optimality; whether those are all there are.
    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    func extendWorkingSet(_ penalty: P, _ candidates: P, _ alive: [UInt32]?) throws -> Bool {
        let (b, g) = (beta.pointer, gradient.pointer)
        let lipschitz = lipschitz.pointer
        var support = 0
        var scores: [Float] = []
        var violators: [UInt32] = []
        forEachAlive(alive) { j in
            if b[j] != 0 { support += 1 }
            if isWorking[j] { return }
            let score = b[j] != 0 ? .infinity : candidates.distance(0, gradient: g[j], lipschitz: lipschitz[j], j)
            if score > 0 {
                violators.append(UInt32(j))
                scores.append(Float(score))
            }
        }
        // Models that are rebuilt at each step should not have far more columns than rows can tell apart.
        let room = max(datafit.isQuadratic ? 128 : min(128, max(16, n / 2)), support)
        let hasAll = violators.count <= room
        if !hasAll {
            var (greater, equal) = (0, 0)
            let threshold = kernels.kth_largest(scores, scores.count, room, &greater, &equal)
            violators = zip(violators, scores).compactMap { $1 >= threshold ? $0 : nil }
        }
        let isList = short != nil || !datafit.isQuadratic
        if !isList && model.count > 2 * (support + violators.count) + 256 {
            let keep = model.columns.map { b[Int($0)] != 0 }
            for (j, kept) in zip(model.columns, keep) where !kept { isWorking[Int(j)] = false }
            model.compact(keep)
        }
        if isList {
            if columns.count > 2 * (support + violators.count) + 256 {
                for j in columns { isWorking[Int(j)] = b[Int(j)] != 0 }
                columns = columns.filter { b[Int($0)] != 0 }
            }
            columns += violators
        } else {
            try model.append(
                violators, of: design, curvature: datafit.weights, total: 1, centered: hasIntercept)
        }
        for j in violators { isWorking[Int(j)] = true }
        return hasAll
    }
}
