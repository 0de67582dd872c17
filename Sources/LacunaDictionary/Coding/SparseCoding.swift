import LacunaLearn
import LacunaSparse
import LacunaTensor

/// What makes the codes of ``SparseCoding`` sparse: the penalty `g` of `½‖x - Φr‖² + λ g(r)`.
public enum CodingPenalty: String, Sendable, Hashable, CaseIterable {
    /// `Σ|r|`; shrinks what it keeps.
    case l1
    /// `Σ|r|^½`.
    case half
    /// The number of entries other than 0. From codes of 0 the iteration gets stuck early.
    case l0
    /// The continuous exact relaxation of ``l0``: the same global minima, fewer local ones. Emmanuel Soubies, Laure
    /// Blanc-Féraud, Gilles Aubert, 2015.
    case cel0

    /// The proximal operator `argmin_u ½(u - v)² + μ λ g(u)`, for atoms of norm 1.
    ///
    /// - Parameters:
    ///   - weight: λ, 0 or more.
    ///   - step: μ, above 0; for ``cel0`` below 1.
    public func shrink(_ v: Double, weight: Double, step: Double) -> Double {
        let level = weight * step
        switch self {
        case .l1: return Proximal.softThreshold(v, level)
        case .l0: return Proximal.hardThreshold(v, (2 * level).squareRoot())
        case .half:
            let t = 2 * level
            let size = abs(v)
            // 54^(1/3) / 4 t^(2/3)
            if size <= power(54, 1.0 / 3) / 4 * power(t, 2.0 / 3) { return 0 }
            let angle = arcCosine(min(1, t / 8 * power(size / 3, -1.5)))
            return 2.0 / 3 * v * (1 + cosine(2 * Double.pi / 3 - 2.0 / 3 * angle))
        case .cel0:
            let shrunk = max(abs(v) - (2 * weight).squareRoot() * step, 0) / (1 - step)
            let size = min(abs(v), shrunk)
            return v < 0 ? -size : size
        }
    }

    /// `g(r)` times λ for one entry, of atoms of norm 1.
    public func value(_ r: Double, weight: Double) -> Double {
        switch self {
        case .l1: return weight * abs(r)
        case .half: return weight * abs(r).squareRoot()
        case .l0: return r == 0 ? 0 : weight
        case .cel0:
            let edge = (2 * weight).squareRoot()
            return abs(r) > edge ? weight : weight - 0.5 * (abs(r) - edge) * (abs(r) - edge)
        }
    }
}

/// Codes of vectors by iterated shrinkage, and the atoms for them.
///
/// `r ← prox_{μλ}(r + μ Φᵀ(x - Φ r))` with `μ = 0.9 / ‖Φ‖²` from `r = 0`, until a step is shorter than a hundredth of
/// the code; learning then moves the atoms along `(x - Φ r) rᵀ` and scales them back to norm 1. Ilias Rentzeperis,
/// Luca Calatroni, Laurent Perrinet, Dario Prandi, "Beyond l1 sparse coding in V1", PLoS Computational Biology 2023.
public struct SparseCoding: Sendable {
    /// What makes codes sparse.
    public var penalty: CodingPenalty
    /// λ, above 0.
    public var weight: Double
    /// Steps at most.
    public var iterations = 5000
    /// The share of the code's norm below which a step ends the iteration.
    public var tolerance = 1e-2
    /// Atoms of norm 1, [atoms, dimensions].
    public private(set) var atoms: Tensor<Float>

    /// - Parameter atoms: [atoms, dimensions]; are scaled to norm 1.
    /// - Throws: `LacunaError.invalidArgument` for a weight that is not positive, or atoms that are no directions.
    public init(penalty: CodingPenalty, weight: Double, atoms: Tensor<Float>) throws {
        guard weight > 0, weight.isFinite else {
            throw LacunaError.invalidArgument("weight", reason: "\(weight) is not positive")
        }
        guard atoms.rank == 2, atoms.rows >= 1, atoms.columns >= 1, atoms.isFinite else {
            throw LacunaError.invalidArgument("atoms", reason: "\(atoms.shape): need finite directions as rows")
        }
        (self.penalty, self.weight, self.atoms) = (penalty, weight, atoms)
        let (m, d) = (atoms.rows, atoms.columns)
        let norms = atoms.withPointer { Directions.norms($0, rows: m, columns: d) }
        if let bad = norms.firstIndex(where: { !($0 > 0) }) {
            throw LacunaError.invalidArgument("atoms", reason: "atom \(bad) is no direction: it is 0")
        }
        self.atoms.withMutablePointer { Directions.normalize($0, rows: m, columns: d) }
    }

    /// Random atoms.
    ///
    /// - Throws: As ``init(penalty:weight:atoms:)``.
    public init(penalty: CodingPenalty, weight: Double, dimensions: Int, atoms: Int, seed: UInt64) throws {
        guard dimensions >= 1, atoms >= 1 else {
            throw LacunaError.invalidArgument("atoms", reason: "\(atoms) of \(dimensions) dimensions")
        }
        var generator = SeededGenerator(seed: seed, stream: 0x5C0D)
        try self.init(penalty: penalty, weight: weight, atoms: Tensor(normal: [atoms, dimensions], using: &generator))
    }

    /// What coding some vectors takes, before anything is made: the codes, the iterates and the gradient that they are found by, and
    /// the Gram matrix of the atoms.
    ///
    /// - Throws: `LacunaError.resource` if the machine has not that much memory.
    public static func requireMemory(vectors: Int, dimensions: Int, atoms: Int) throws {
        let what = "coding \(vectors) vectors by \(atoms) atoms"
        try MachineMemory.require(shape: [4, vectors, atoms], of: Float.self, for: what)
        try MachineMemory.require(shape: [6, atoms, dimensions], of: Float.self, for: what)
        let side = min(atoms, dimensions)
        try MachineMemory.require(shape: [3, side, side], of: Double.self, for: what)
    }

    /// `‖Φ‖²`, the largest eigenvalue of the atoms' Gram matrix.
    private func squaredNorm() throws -> Double {
        let (m, d) = (atoms.rows, atoms.columns)
        let n = min(m, d)
        var gram = Tensor<Double>(zeros: [n, n])
        let wide = m <= d ? atoms : atoms.transposed()
        let values = Tensor<Double>(wide.scalars.map(Double.init), shape: wide.shape)
        gram = values.multiplied(by: values, otherTransposed: true)
        return try gram.symmetricEigen().values.last!
    }

    /// The codes of vectors.
    ///
    /// - Parameter x: [vectors, dimensions].
    /// - Returns: [vectors, atoms].
    /// - Throws: `LacunaError.invalidArgument` for other dimensions, `.numerical` for numbers that are not finite.
    public func encode(_ x: Tensor<Float>) throws -> SparseMatrix<Float> {
        guard x.rank == 2, x.columns == atoms.columns else {
            throw LacunaError.invalidArgument("vectors", reason: "\(x.shape) for \(atoms.columns) dimensions")
        }
        guard x.isFinite else {
            throw LacunaError.numerical(operation: "sparse coding", reason: "vectors are not finite")
        }
        return try SparseMatrix(dense(x, step: 0.9 / squaredNorm()))
    }

    private func dense(_ x: Tensor<Float>, step: Double) throws -> Tensor<Float> {
        let (n, m, d) = (x.rows, atoms.rows, atoms.columns)
        var codes = Tensor<Float>(zeros: [n, m])
        // Blocks of rows are iterated by themselves, each as long as it has to be.
        let block = 64
        let blocks = (n + block - 1) / block
        codes.withMutablePointer { codes in
            let codes = UncheckedTarget(codes)
            x.withPointer { x in
                atoms.withPointer { atoms in
                    Parallel.forEach(blocks) { b in
                        let rows = b * block..<min((b + 1) * block, n)
                        iterate(
                            x + rows.lowerBound * d, atoms, codes.pointer! + rows.lowerBound * m, rows.count, m, d,
                            step: step)
                    }
                }
            }
        }
        return codes
    }

    private func iterate(
        _ x: UnsafePointer<Float>, _ atoms: UnsafePointer<Float>, _ r: UnsafeMutablePointer<Float>, _ n: Int, _ m: Int,
        _ d: Int, step: Double
    ) {
        let (rest, change) = (Buffer<Float>(uninitialized: n * d), Buffer<Float>(uninitialized: n * m))
        for _ in 0..<iterations {
            rest.pointer.update(from: x, count: n * d)
            LinearAlgebra.gemm(
                m: n, n: d, k: m, alpha: -1, UnsafePointer(r), leadingA: m, atoms, leadingB: d, beta: 1,
                into: rest.pointer,
                leadingC: d)
            LinearAlgebra.gemm(
                m: n, n: m, k: d, UnsafePointer(rest.pointer), leadingA: d, atoms, leadingB: d, transposedB: true,
                into: change.pointer, leadingC: m)
            var (moved, size) = (0.0, 0.0)
            for i in 0..<n * m {
                let old = Double(r[i])
                let new = penalty.shrink(old + step * Double(change.pointer[i]), weight: weight, step: step)
                moved += (new - old) * (new - old)
                size += old * old
                r[i] = Float(new)
            }
            if moved.squareRoot() < tolerance * (tolerance + size.squareRoot()) { return }
        }
    }

    /// Moves the atoms towards vectors, batch by batch.
    ///
    /// - Parameters:
    ///   - rate: Length of a step, relative to the mean over a batch.
    ///   - steps: Batches.
    /// - Throws: As ``encode(_:)``; `LacunaError.invalidArgument` for fewer vectors than a batch; `.cancelled`.
    public mutating func learn(
        _ x: Tensor<Float>, batch: Int = 250, rate: Double = 1, steps: Int, seed: UInt64 = 0,
        progress: (any ProgressReporter)? = nil
    ) throws {
        let source = try ActivationRows(x, batchSize: batch, seed: seed)
        guard x.columns == atoms.columns, x.isFinite else {
            throw LacunaError.invalidArgument("vectors", reason: "\(x.shape) for \(atoms.columns) dimensions, finite")
        }
        let (m, d) = (atoms.rows, atoms.columns)
        for number in 0..<steps {
            try progress.report("atoms", number, of: steps)
            let rows = source.batch(step: number).inputs
            let codes = try SparseMatrix(dense(rows, step: 0.9 / squaredNorm()))
            let rest = rows.subtracting(decode(codes))
            // The gradient touches atoms that are in use: rᵀ (x - Φ r).
            let gradient = codes.multiplied(by: rest, transposed: true)
            let factor = Float(rate / Double(batch))
            atoms.withMutablePointer { p in
                gradient.withPointer { g in for i in 0..<m * d { p[i] += factor * g[i] } }
                Directions.normalize(p, rows: m, columns: d)
            }
        }
    }

    /// `Φ r`, [vectors, dimensions].
    public func decode(_ codes: SparseMatrix<Float>) -> Tensor<Float> { codes.multiplied(by: atoms) }

    /// `½‖x - Φ r‖² + λ g(r)` summed over vectors.
    public func objective(_ x: Tensor<Float>, _ codes: SparseMatrix<Float>) -> Double {
        var total = 0.5 * x.subtracting(decode(codes)).sumOfSquares
        codes.forEachEntry { _, _, value in total += penalty.value(Double(value), weight: weight) }
        return total
    }
}

/// How well codes stand for vectors.
public struct CodingQuality: Sendable, Hashable {
    /// Atoms a vector, on average.
    public let active: Double
    /// `Σ‖x - Φ r‖² / Σ‖x‖²`.
    public let unexplained: Double
    /// The objective, a vector.
    public let objective: Double

    /// - Parameters:
    ///   - x: [vectors, dimensions].
    ///   - codes: Of these vectors, [vectors, atoms]; need not be those that `coding` would find.
    public init(of coding: SparseCoding, _ x: Tensor<Float>, _ codes: SparseMatrix<Float>) {
        let n = Double(max(x.rows, 1))
        active = Double(codes.count) / n
        unexplained = x.subtracting(coding.decode(codes)).sumOfSquares / x.sumOfSquares
        objective = coding.objective(x, codes) / n
    }
}
