import LacunaTensor

/// Which sets of entries of a matrix [outputs, inputs] may be kept: what is kept or removed as a whole, and what competes.
///
/// Every unit goes with every competition that leaves something to choose. The common ones have names: ``unstructured(_:)``,
/// ``nm(n:m:axis:)``, ``block(rows:columns:)``, ``rows``, ``columns``, ``heads(_:axis:)``. How much is kept is said when
/// selecting (``Selection``), except for N:M, where the pattern says it.
public struct Pattern: Hashable, Sendable {
    /// What is kept or removed as a whole. Units lie on a grid that starts at the first entry; those at the lower and right
    /// edges may be smaller.
    public enum Unit: Hashable, Sendable {
        /// Single entries.
        case entry
        /// Dense blocks.
        case block(rows: Int, columns: Int)
        /// So many consecutive whole rows: one is an output (a neuron of what this layer computes), several a head of the
        /// projections that make queries, keys or values.
        case rows(Int)
        /// So many consecutive whole columns: one is an input (a neuron of what this layer reads), several a head of the
        /// projection behind attention.
        case columns(Int)
    }

    /// The simplest answers to what competes.
    public enum Scope: String, Sendable, Hashable, CaseIterable {
        /// Units side by side: every row of the grid ends with the same number of kept units.
        case row
        /// Those of a matrix.
        case layer
        /// Those of all matrices together.
        case global
    }

    /// Which units compete with each other.
    public enum Competition: Hashable, Sendable {
        /// All units within the scope.
        case scope(Scope)
        /// So many consecutive units along an axis.
        case every(Int, along: Axis)
    }

    /// The dimension of a weight along which groups lie.
    public enum Axis: String, Sendable, Hashable, CaseIterable {
        /// Along a row, over consecutive inputs: what kernels and other runtimes expect of N:M.
        case input
        /// Down a column, over consecutive outputs.
        case output
    }

    /// What is kept or removed as a whole.
    public var unit: Unit
    /// Who competes with whom.
    public var competition: Competition
    /// N of N:M: how many of every M units are kept. Nil where that is said when selecting.
    public var keep: Int?

    /// Units that compete; `keep` says how many stay of each set, where the pattern fixes that.
    public init(_ unit: Unit, _ competition: Competition = .scope(.layer), keep: Int? = nil) {
        self.unit = unit
        self.competition = competition
        self.keep = keep
    }

    /// Single entries, compared with each other within the scope.
    public static func unstructured(_ scope: Scope) -> Pattern { Pattern(.entry, .scope(scope)) }
    /// At most `n` of every `m` consecutive entries along an axis are kept.
    public static func nm(n: Int, m: Int, axis: Axis = .input) -> Pattern {
        Pattern(.entry, .every(m, along: axis), keep: n)
    }
    /// N of every `m` consecutive entries along an axis, with an N that follows from the sparsity of each layer: N:M under
    /// budgets that treat layers differently.
    public static func anyOf(_ m: Int, axis: Axis = .input) -> Pattern { Pattern(.entry, .every(m, along: axis)) }
    /// Dense blocks that compete within the matrix. With scope row every row of blocks keeps as many as the others.
    public static func block(rows: Int, columns: Int, _ scope: Scope = .layer) -> Pattern {
        Pattern(.block(rows: rows, columns: columns), .scope(scope))
    }
    /// Whole rows: outputs.
    public static let rows = Pattern(.rows(1))
    /// Whole columns: inputs.
    public static let columns = Pattern(.columns(1))
    /// Groups of `size` consecutive outputs (the heads of query, key and value projections), or of inputs (those of the
    /// projection behind attention).
    public static func heads(_ size: Int, axis: Axis = .output) -> Pattern {
        Pattern(axis == .output ? .rows(size) : .columns(size))
    }

    /// The largest M of N:M.
    public static let maximumGroup = 1024

    /// N, M and the axis, if N of every M units are kept and the pattern says how many.
    public var group: (n: Int, m: Int, axis: Axis)? {
        guard case .every(let m, let axis) = competition, let keep else { return nil }
        return (keep, m, axis)
    }

    /// The sparsity that the pattern fixes by itself: `1 - n/m`. Nil for patterns that take any.
    public var impliedSparsity: Double? { group.map { 1 - Double($0.n) / Double($0.m) } }

    /// Whether units of several matrices compete.
    public var isGlobal: Bool { competition == .scope(.global) }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless 1 ≤ n < m ≤ ``maximumGroup``, sides are positive, and
    ///   something competes: whole rows side by side, or along the inputs, do not.
    public func validate() throws {
        func refuse(_ reason: String) -> LacunaError { .invalidArgument("pattern", reason: reason) }
        switch unit {
        case .entry: break
        case .block(let rows, let columns):
            if rows < 1 || columns < 1 { throw refuse("a block of \(rows)x\(columns) must have positive sides") }
        case .rows(let size), .columns(let size):
            if size < 1 { throw refuse("a group of \(size) rows or columns must have a positive size") }
        }
        switch (unit, competition) {
        case (.rows, .scope(.row)), (.rows, .every(_, along: .input)), (.columns, .scope(.row)),
            (.columns, .every(_, along: .output)):
            throw refuse("\(self): whole rows or columns have no others beside them to compete with")
        default: break
        }
        switch competition {
        case .scope:
            if keep != nil { throw refuse("only patterns n:m say how many are kept") }
        case .every(let m, _):
            if m < 2 || m > Pattern.maximumGroup || keep.map({ $0 < 1 || $0 >= m }) ?? false {
                let n = keep.map(String.init) ?? "any"
                throw refuse("\(n):\(m) must satisfy 1 <= n < m <= \(Pattern.maximumGroup)")
            }
        }
    }
}
