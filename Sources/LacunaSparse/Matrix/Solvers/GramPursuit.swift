import LacunaTensor

/// Orthogonal matching pursuit by the Gram matrix of the atoms: the sparse code of a signal over a dictionary, when many
/// signals are coded with one dictionary.
///
/// The atom that correlates most with what is not yet explained joins the support, and the coefficients of the whole
/// support are fitted anew by least squares, which needs the Gram matrix and the signal's correlations alone, not the
/// signal. Ties go to the atom of the lower index.
///
/// Ron Rubinstein, Michael Zibulevsky, Michael Elad, "Efficient Implementation of the K-SVD Algorithm using Batch Orthogonal
/// Matching Pursuit", Technion CS-2008-08.
public struct GramPursuit: Sendable {
    private let atoms: Int
    private let gram: Tensor<Double>

    /// - Parameter gram: `D Dᵀ` [atoms, atoms] of atoms in rows, of length 1 each.
    /// - Throws: `LacunaError.invalidArgument` unless it is a square matrix of finite numbers.
    public init(gram: Tensor<Double>) throws {
        guard gram.rank == 2, gram.rows == gram.columns, gram.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("gram", reason: "is not a square matrix of finite numbers")
        }
        atoms = gram.rows
        self.gram = gram
    }

    /// The code of one signal.
    ///
    /// - Parameters:
    ///   - correlations: `D x`, one number for each atom.
    ///   - count: Atoms to use. Fewer are used when the rest explains nothing more: when it is orthogonal to all atoms, or
    ///     the next atom depends on those of the support.
    /// - Returns: Atoms in the order in which they joined, and their coefficients.
    /// - Complexity: O(count · (atoms · count + count²)).
    public func code(correlations: UnsafePointer<Double>, count: Int) -> (support: [Int], values: [Double]) {
        let limit = min(count, atoms)
        var support: [Int] = []
        var isTaken = [Bool](repeating: false, count: atoms)
        var residual = [Double](UnsafeBufferPointer(start: correlations, count: atoms))
        var factor = GrowingFactor(capacity: limit)
        var values: [Double] = []
        let largest = residual.reduce(0) { max($0, abs($1)) }
        gram.withPointer { gram in
            while support.count < limit {
                var next = -1
                var best = largest * 1e-14
                for j in 0..<atoms where !isTaken[j] && abs(residual[j]) > best { (next, best) = (j, abs(residual[j])) }
                if next < 0 { return }
                guard factor.append((support + [next]).map { gram[next * atoms + $0] }) else { return }
                support.append(next)
                isTaken[next] = true
                values = factor.solve(support.map { correlations[$0] })
                for j in 0..<atoms { residual[j] = correlations[j] }
                for (i, atom) in support.enumerated() {
                    let (value, row) = (values[i], gram + atom * atoms)
                    for j in 0..<atoms { residual[j] -= value * row[j] }
                }
            }
        }
        return (support, values)
    }
}
