import LacunaSparse
import LacunaTensor

/// Replaces a matrix by sparse codes over a dictionary of its own: every output is a sum of a few atoms, and outputs may
/// choose different ones, where a low rank gives all of them the same few directions.
///
/// With `XᵀX = C Cᵀ`, the rows of `M = W C` are approximated by `S D`, with unit atoms `D` [k, inputs] and exactly `s` atoms
/// in every row of `S` [outputs, k]. The steps alternate: codes by orthogonal matching pursuit; atoms one after the other by
/// K-SVD, each with the coefficients of the rows that use it, by a few power iterations on what the other atoms leave of
/// these rows. A row keeps its former code if the new one is no better, so the error never rises. Stored are `S` as a bitmask
/// and `D C⁻¹`.
///
/// `k = ρ s` follows from the fraction of bytes to save: `D` takes `k · inputs` numbers, `S` `s · outputs` numbers and
/// `k · outputs` bits.
///
/// Denis Makhov, Dmitriy Shopkhoev, Magauiya Zhussip, Ammar Ali, Stamatios Lefkimmiatis, "CoSpaDi: Compressing LLMs via
/// Calibration-Guided Sparse Dictionary Learning", arXiv 2509.22075. Its accounting of 14-bit coefficients, which pays for the
/// mask, is replaced by counting the mask.
public struct CoSpaDi: MatrixCompression {
    /// Rounds of codes and atoms, 1 or more. The authors take 60.
    public var iterations: Int
    /// `ρ = k / s`, atoms for each coefficient of a row; at least 1. 2 is the authors' best.
    public var ratio: Double
    /// Power iterations for an atom, 1 or more.
    public var powerIterations: Int
    /// Share of the mean diagonal of `XᵀX` that is added to its diagonal, 0 or more.
    public var damping: Double
    /// Whether the inputs count; without, the weight itself is approximated.
    public var isWhitened: Bool
    /// Decides the rows that the dictionary starts with.
    public var seed: UInt64

    /// The defaults are the authors', but for the damping, which they raise as far as a factorisation needs it.
    public init(
        iterations: Int = 60, ratio: Double = 2, powerIterations: Int = 8, damping: Double = 1e-6,
        isWhitened: Bool = true, seed: UInt64 = 0
    ) {
        self.iterations = iterations
        self.ratio = ratio
        self.powerIterations = powerIterations
        self.damping = damping
        self.isWhitened = isWhitened
        self.seed = seed
    }

    public var card: MethodCard {
        MethodCard(
            name: "cospadi", family: .factorizing,
            paper: .init(
                authors: "Denis Makhov, Dmitriy Shopkhoev, Magauiya Zhussip, Ammar Ali, Stamatios Lefkimmiatis",
                title: "CoSpaDi: Compressing LLMs via Calibration-Guided Sparse Dictionary Learning",
                arXiv: "2509.22075"),
            composition: ["correlation with W C, XᵀX = C Cᵀ", "s atoms a row by matching pursuit", "K-SVD"])
    }
    public var requirement: ScoreRequirement { isWhitened ? .gram : .none }

    /// Atoms and coefficients a row for a matrix.
    public struct Size: Sendable, Hashable {
        /// `k`: atoms of the dictionary.
        public var atoms: Int
        /// `s`: atoms of a row, at most as many as it has inputs.
        public var coefficients: Int
    }

    /// - Parameters:
    ///   - sparsity: Fraction of the dense bytes to save, 0..<1.
    ///   - bits: Of a stored number.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if that leaves no atom.
    public func size(saving sparsity: Double, rows: Int, columns: Int, bits: Double) throws -> Size {
        guard ratio >= 1, iterations >= 1, powerIterations >= 1 else {
            throw LacunaError.invalidArgument(
                card.name, reason: "ratio \(ratio), iterations \(iterations) and power iterations must be at least 1")
        }
        guard (0..<1).contains(sparsity), bits > 0 else {
            throw LacunaError.invalidArgument(
                "sparsity", reason: "\(sparsity) of numbers of \(bits) bits is not at least 0 and below 1")
        }
        let perAtom = Double(columns) + Double(rows) / ratio + Double(rows) / bits
        let atoms = Int((1 - sparsity) * Double(rows) * Double(columns) / perAtom)
        let coefficients = Int(Double(atoms) / ratio)
        guard coefficients >= 1 else {
            throw LacunaError.invalidArgument(
                "sparsity", reason: "\(sparsity) leaves no dictionary for a matrix of shape [\(rows), \(columns)]")
        }
        return Size(atoms: atoms, coefficients: min(coefficients, columns))
    }

    public func compress(
        _ weight: Tensor<Float>, statistics: InputStatistics?, request: CompressionRequest
    ) throws -> any StoredMatrix {
        let space = isWhitened ? try WhitenedSpace(requireSeen(weight, statistics), damping: damping) : nil
        let size = try size(
            saving: request.sparsity ?? 0, rows: weight.rows, columns: weight.columns,
            bits: request.values.bitsWithScale)
        let matrix = Tensor<Double>(weight)
        let (codes, atoms, _) = try factored(
            space?.whitened(matrix) ?? matrix, size, stream: UInt64(request.layer))
        let dictionary = Tensor<Float>(space?.restored(atoms) ?? atoms)
        return try ProductMatrix(
            WeightStore.make(
                Tensor<Float>(codes), mask: SparsePattern(nonzerosOf: Tensor<Float>(codes)), layout: .bitmask,
                values: request.values),
            WeightStore.make(dictionary, layout: .dense, values: request.values))
    }

    /// `M ≈ S D`: codes [n, atoms], unit atoms [atoms, m], and the relative squared error after every iteration.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` for numbers that are not finite.
    /// - Complexity: O(iterations · n · s · (m · powerIterations + s · atoms)).
    public func factored(_ matrix: Tensor<Double>, _ size: Size, stream: UInt64 = 0) throws -> (
        codes: Tensor<Double>, atoms: Tensor<Double>, errors: [Double]
    ) {
        guard matrix.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.numerical(operation: card.name, reason: "a weight is not finite")
        }
        let energy = matrix.scalars.reduce(0) { $0 + $1 * $1 }
        var atoms = initialAtoms(matrix, count: size.atoms, stream: stream)
        var codes = Tensor<Double>(zeros: [matrix.rows, size.atoms])
        var residual = matrix
        var errors: [Double] = []
        for _ in 0..<iterations {
            try code(matrix, atoms, count: size.coefficients, into: &codes, residual: &residual)
            update(&atoms, &codes, &residual)
            let left = residual.scalars.reduce(0) { $0 + $1 * $1 }
            errors.append(energy > 0 ? left / energy : 0)
            // Nothing is left to learn.
            if left <= 1e-24 * energy { break }
        }
        return (codes, atoms, errors)
    }

    /// Rows of the matrix, of length 1 and drawn without repetition; further ones, and those of length 0, are random.
    private func initialAtoms(_ matrix: Tensor<Double>, count: Int, stream: UInt64) -> Tensor<Double> {
        var generator = SeededGenerator(seed: seed, stream: stream ^ 0xD1C7)
        let order = Array(0..<matrix.rows).shuffled(using: &generator)
        let width = matrix.columns
        var atoms = Tensor<Double>(uninitialized: [count, width])
        matrix.withPointer { source in
            atoms.withMutablePointer { target in
                for k in 0..<count {
                    let atom = target + k * width
                    if k < order.count { atom.update(from: source + order[k] * width, count: width) }
                    var length = k < order.count ? Self.length(atom, width) : 0
                    if length == 0 {
                        for c in 0..<width { atom[c] = generator.normal() }
                        length = Self.length(atom, width)
                    }
                    for c in 0..<width { atom[c] /= length }
                }
            }
        }
        return atoms
    }

    private static func length(_ vector: UnsafePointer<Double>, _ count: Int) -> Double {
        var sum = 0.0
        for i in 0..<count { sum += vector[i] * vector[i] }
        return sum.squareRoot()
    }

    /// The codes of all rows, unless the former ones are better.
    private func code(
        _ matrix: Tensor<Double>, _ atoms: Tensor<Double>, count: Int, into codes: inout Tensor<Double>,
        residual: inout Tensor<Double>
    ) throws {
        let pursuit = try GramPursuit(gram: atoms.multiplied(by: atoms, otherTransposed: true))
        let correlations = matrix.multiplied(by: atoms, otherTransposed: true)
        let (rows, width, k) = (matrix.rows, matrix.columns, atoms.rows)
        matrix.withPointer { matrix in
            atoms.withPointer { atoms in
                correlations.withPointer { correlations in
                    codes.withMutablePointer { codes in
                        residual.withMutablePointer { residual in
                            Parallel.forRanges(rows, grain: 4) { range in
                                var rest = [Double](repeating: 0, count: width)
                                for row in range {
                                    let (support, values) = pursuit.code(
                                        correlations: correlations + row * k, count: count)
                                    for c in 0..<width { rest[c] = matrix[row * width + c] }
                                    for (atom, value) in zip(support, values) {
                                        let atom = atoms + atom * width
                                        for c in 0..<width { rest[c] -= value * atom[c] }
                                    }
                                    let former = residual + row * width
                                    if Self.length(rest, width) > Self.length(former, width) { continue }
                                    former.update(from: rest, count: width)
                                    (codes + row * k).update(repeating: 0, count: k)
                                    for (atom, value) in zip(support, values) { codes[row * k + atom] = value }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// K-SVD: the best atom and coefficients for the rows that use it, one atom after the other, the residual always that of
    /// the atoms as they are.
    private func update(_ atoms: inout Tensor<Double>, _ codes: inout Tensor<Double>, _ residual: inout Tensor<Double>)
    {
        let (rows, width, k) = (residual.rows, residual.columns, atoms.rows)
        let part = Buffer<Double>(uninitialized: max(rows * width, 1))
        let coefficients = Buffer<Double>(uninitialized: max(rows, 1))
        atoms.withMutablePointer { atoms in
            codes.withMutablePointer { codes in
                residual.withMutablePointer { residual in
                    for a in 0..<k {
                        let users = (0..<rows).filter { codes[$0 * k + a] != 0 }
                        if users.isEmpty { continue }
                        let atom = atoms + a * width
                        // What the other atoms leave of the rows that use this one.
                        for (i, row) in users.enumerated() {
                            let (value, source, target) = (
                                codes[row * k + a], residual + row * width, part.pointer + i * width
                            )
                            for c in 0..<width { target[c] = source[c] + value * atom[c] }
                        }
                        guard improve(atom, coefficients.pointer, part.pointer, rows: users.count, width: width) else {
                            continue
                        }
                        for (i, row) in users.enumerated() {
                            let (value, source, target) = (
                                coefficients.pointer[i], part.pointer + i * width, residual + row * width
                            )
                            codes[row * k + a] = value
                            for c in 0..<width { target[c] = source[c] - value * atom[c] }
                        }
                    }
                }
            }
        }
    }

    /// Power iterations on `RᵀR` from the atom as it is, then `s = R d`. False, and nothing changed, if the rows vanish.
    private func improve(
        _ atom: UnsafeMutablePointer<Double>, _ s: UnsafeMutablePointer<Double>, _ r: UnsafePointer<Double>, rows: Int,
        width: Int
    ) -> Bool {
        let trial = Buffer<Double>(copying: atom, count: width)
        func project() {
            LinearAlgebra.gemm(
                m: rows, n: 1, k: width, r, leadingA: width, trial.pointer, leadingB: 1, into: s, leadingC: 1)
        }
        for _ in 0..<powerIterations {
            project()
            LinearAlgebra.gemm(
                m: width, n: 1, k: rows, r, leadingA: width, transposedA: true, s, leadingB: 1, into: trial.pointer,
                leadingC: 1)
            let length = Self.length(trial.pointer, width)
            guard length > 0, length.isFinite else { return false }
            for c in 0..<width { trial.pointer[c] /= length }
        }
        project()
        atom.update(from: trial.pointer, count: width)
        return true
    }
}

extension ValueType {
    /// Bits of a stored number, its share of scales included as far as they grow with the numbers.
    var bitsWithScale: Double { Double(bits) + (self == .int4 ? 0.25 : 0) }
}
