import LacunaTensor

/// What descents on `½xᵀHx - cᵀx` have in common: the problem, checked; the point, with its gradient kept up to date; and the
/// objective after each iteration.
struct QuadraticDescent {
    /// `H` [p, p].
    let hessian: Tensor<Double>
    /// `c` [p].
    let linear: [Double]
    /// The diagonal of `H` [p].
    let curvatures: [Double]
    private(set) var point: [Double]
    /// `Hx - c` [p].
    private(set) var gradient: [Double]
    private(set) var values: [Double] = []

    var count: Int { linear.count }

    /// - Parameter start: Where to begin: 0 unless bounds say otherwise.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless `H` is [p, p], finite and symmetric (within 1e-9 of the
    ///   curvatures) with a diagonal not below 0, and `c` is finite.
    init(hessian: Tensor<Double>, linear: [Double], start: Double = 0) throws {
        let p = linear.count
        guard hessian.shape == [p, p] else {
            throw LacunaError.invalidArgument("hessian", reason: "has shape \(hessian.shape), not [\(p), \(p)]")
        }
        guard linear.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("linear", reason: "is not finite")
        }
        curvatures = (0..<p).map { hessian[$0, $0] }
        for (i, curvature) in curvatures.enumerated() where !(curvature >= 0 && curvature.isFinite) {
            throw LacunaError.invalidArgument("hessian", reason: "diagonal entry \(i) is \(curvature)")
        }
        let roots = curvatures.map { $0.squareRoot() }
        try hessian.withPointer { h in
            for i in 0..<p {
                for j in 0..<i {
                    let (a, b) = (h[i * p + j], h[j * p + i])
                    // Of a semidefinite matrix no entry is larger than that.
                    guard abs(a - b) <= 1e-9 * roots[i] * roots[j], abs(a) <= 1.0001 * roots[i] * roots[j] else {
                        throw LacunaError.invalidArgument(
                            "hessian", reason: "entries (\(i), \(j)) and (\(j), \(i)) are \(a) and \(b)")
                    }
                }
            }
        }
        self.hessian = hessian
        self.linear = linear
        point = [Double](repeating: start, count: p)
        gradient = []
        refresh()
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if a coordinate has a slope, and neither curvature nor a bound to end it.
    func requireMinimum(lower: Double = -.infinity, upper: Double = .infinity) throws {
        for i in 0..<count where curvatures[i] == 0 && linear[i] != 0 {
            guard (linear[i] > 0 ? upper : lower).isFinite else {
                throw LacunaError.invalidArgument(
                    "linear", reason: "coordinate \(i) has no curvature: the objective has no minimum")
            }
        }
    }

    /// The gradient afresh.
    mutating func refresh() {
        gradient = linear.map { -$0 }
        let p = count
        hessian.withPointer { h in
            for i in 0..<p where point[i] != 0 { kernels.axpy_f64(point[i], h + i * p, &gradient, p) }
        }
    }

    mutating func move(_ i: Int, by step: Double) {
        if step == 0 { return }
        point[i] += step
        hessian.withPointer { kernels.axpy_f64(step, $0 + i * count, &gradient, count) }
    }

    mutating func move(_ i: Int, to value: Double) {
        move(i, by: value - point[i])
        point[i] = value
    }

    /// Ends an iteration.
    mutating func record() {
        // ½xᵀHx - cᵀx = ½xᵀ(g - c).
        values.append((0..<count).reduce(0) { $0 + point[$1] * (gradient[$1] - linear[$1]) } / 2)
        // Steps add up rounding errors in the gradient.
        if values.count % 1000 == 0 { refresh() }
    }
}

/// Ways to choose a block that need no gradient, and the largest scores.
enum BlockChoice {
    /// Different coordinates below `count`, ascending.
    static func random(_ size: Int, of count: Int, using generator: inout SeededGenerator) -> [Int] {
        var chosen: Set<Int> = []
        while chosen.count < min(size, count) { chosen.insert(Int.random(in: 0..<count, using: &generator)) }
        return chosen.sorted()
    }

    /// The coordinates after those of the iteration before, around and around.
    static func cyclic(_ size: Int, of count: Int, iteration: Int) -> [Int] {
        let size = min(size, count)
        return (0..<size).map { (iteration * size + $0) % count }
    }

    /// Places of the largest scores, descending; of equal ones those that come first.
    ///
    /// - Complexity: O(count + size²) for scores in random order, O(count · size) at worst.
    static func top(_ size: Int, of scores: [Double]) -> [Int] {
        var chosen: [Int] = []
        let size = min(size, scores.count)
        if size == 0 { return [] }
        chosen.reserveCapacity(size + 1)
        for i in scores.indices {
            if chosen.count == size {
                if !(scores[i] > scores[chosen[size - 1]]) { continue }
                chosen.removeLast()
            }
            var place = chosen.count
            while place > 0 && scores[i] > scores[chosen[place - 1]] { place -= 1 }
            chosen.insert(i, at: place)
        }
        return chosen
    }
}

/// The matrix of a block of coordinates, `H_BB`.
struct BlockMatrix {
    let members: [Int]
    /// [m, m].
    let matrix: Tensor<Double>
    private let trace: Double

    /// - Parameter hessian: [p, p].
    init(_ members: [Int], _ hessian: Tensor<Double>) {
        self.members = members
        let (m, p) = (members.count, hessian.rows)
        var matrix = Tensor<Double>(uninitialized: [m, m])
        hessian.withPointer { h in
            matrix.withMutablePointer { b in
                for (r, i) in members.enumerated() {
                    for (c, j) in members.enumerated() { b[r * m + c] = h[i * p + j] }
                }
            }
        }
        self.matrix = matrix
        trace = (0..<m).reduce(0) { $0 + matrix[$1, $1] }
    }

    /// `λ_max(H_BB)`, or the trace, which bounds it, should LAPACK give up; 0 without curvature.
    func largestEigenvalue() -> Double {
        trace > 0 ? max(0, (try? matrix.symmetricEigen().values.last) ?? trace) : 0
    }

    /// `L` with `L Lᵀ = H_BB`; nil for a block without curvature.
    ///
    /// Dependent coordinates: a little of the diagonal makes the matrix definite, and steps still descend.
    func factor() -> Tensor<Double>? {
        let m = members.count
        for ridge in [0, 1e-10, 1e-6] where trace > 0 {
            var regular = matrix
            for a in 0..<m { regular[a, a] += ridge * trace / Double(m) }
            if let factor = try? regular.cholesky() { return factor }
        }
        return nil
    }

    /// `H_BB⁻¹ g` by a block's factor; 0 if there is none.
    static func solve(_ factor: Tensor<Double>?, _ g: [Double]) -> [Double] {
        guard let factor else { return [Double](repeating: 0, count: g.count) }
        var x = g
        factor.withPointer { l in LinearAlgebra.solveCholesky(l, n: g.count, &x) }
        return x
    }

    /// `g / λ_max(H_BB)`; 0 without curvature.
    static func scaled(_ g: [Double], by curvature: Double) -> [Double] {
        curvature > 0 ? g.map { $0 / curvature } : [Double](repeating: 0, count: g.count)
    }
}
