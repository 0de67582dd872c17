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
            if place[j] >= 0 { return }
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
            for (j, kept) in zip(model.columns, keep) where !kept { place[Int(j)] = -1 }
            model.compact(keep)
            for (k, j) in model.columns.enumerated() { place[Int(j)] = Int32(k) }
        }
        if isList {
            if columns.count > 2 * (support + violators.count) + 256 {
                for j in columns { place[Int(j)] = -1 }
                columns = columns.filter { b[Int($0)] != 0 }
            }
            columns += violators
            for (k, j) in columns.enumerated() { place[Int(j)] = Int32(k) }
        } else {
            try model.append(
                violators, of: design, curvature: datafit.weights, total: 1, centered: hasIntercept)
            for (k, j) in model.columns.enumerated() { place[Int(j)] = Int32(k) }
        }
        return hasAll
    }
}
