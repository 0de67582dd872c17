import LacunaTensor

/// Which sets of entries of a matrix [outputs, inputs] may be kept.
public enum Pattern: Hashable, Sendable {
    /// Single entries, compared with each other within the scope.
    case unstructured(Scope)
    /// At most `n` of every `m` consecutive entries along an axis are kept.
    case nm(n: Int, m: Int, axis: Axis = .input)
    /// Dense blocks on a grid that starts at the first entry; those at the lower and right edges may be smaller.
    case block(rows: Int, columns: Int)
    /// Whole rows: outputs.
    case rows
    /// Whole columns: inputs.
    case columns

    /// Which entries compete with each other.
    public enum Scope: String, Sendable, Hashable, CaseIterable {
        /// Those of a row: every row ends with the same number of kept entries.
        case row
        /// Those of a matrix.
        case layer
        /// Those of all matrices together.
        case global
    }

    public enum Axis: String, Sendable, Hashable, CaseIterable {
        /// Groups run along a row, over consecutive inputs: what kernels and other runtimes expect.
        case input
        /// Groups run down a column, over consecutive outputs.
        case output
    }

    /// The largest `m` of a pattern n:m.
    public static let maximumGroup = 1024

    /// The sparsity that the pattern fixes by itself: `1 - n/m`. Nil for patterns that take any.
    public var impliedSparsity: Double? {
        if case .nm(let n, let m, _) = self { return 1 - Double(n) / Double(m) }
        return nil
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless 1 ≤ n < m ≤ ``maximumGroup`` and block sides are
    ///   positive.
    public func validate() throws {
        switch self {
        case .nm(let n, let m, _):
            if n < 1 || n >= m || m > Pattern.maximumGroup {
                throw LacunaError.invalidArgument(
                    "pattern", reason: "\(n):\(m) must satisfy 1 <= n < m <= \(Pattern.maximumGroup)")
            }
        case .block(let rows, let columns):
            if rows < 1 || columns < 1 {
                throw LacunaError.invalidArgument(
                    "pattern", reason: "a block of \(rows)x\(columns) must have positive sides")
            }
        case .unstructured, .rows, .columns: break
        }
    }
}

extension Pattern: CustomStringConvertible {
    /// The spelling of the command line, which ``init(_:)`` reads back.
    public var description: String {
        switch self {
        case .unstructured(.layer): "unstructured"
        case .unstructured(let scope): "unstructured:\(scope.rawValue)"
        case .nm(let n, let m, .input): "\(n):\(m)"
        case .nm(let n, let m, .output): "\(n):\(m):output"
        case .block(let rows, let columns): "block:\(rows)x\(columns)"
        case .rows: "rows"
        case .columns: "columns"
        }
    }

    /// Reads `unstructured` (scope layer), `unstructured:row|layer|global`, `2:4` or any `n:m`, `2:4:input|output`,
    /// `block:16x1` (rows x columns), `rows`, `columns`.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for anything else, and for n:m or blocks out of range.
    public init(_ text: String) throws {
        guard let pattern = Pattern(parsing: text) else {
            throw LacunaError.invalidArgument(
                "pattern",
                reason: "'\(text)' is none of unstructured[:row|:layer|:global], n:m[:input|:output], block:RxC, rows, "
                    + "columns")
        }
        try pattern.validate()
        self = pattern
    }

    private init?(parsing text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        switch (parts[0], parts.count) {
        case ("unstructured", 1): self = .unstructured(.layer)
        case ("unstructured", 2):
            guard let scope = Scope(rawValue: parts[1]) else { return nil }
            self = .unstructured(scope)
        case ("rows", 1): self = .rows
        case ("columns", 1): self = .columns
        case ("block", 2):
            let sides = parts[1].split(separator: "x", omittingEmptySubsequences: false)
            guard sides.count == 2, let rows = Pattern.number(sides[0]), let columns = Pattern.number(sides[1])
            else { return nil }
            self = .block(rows: rows, columns: columns)
        case (_, 2...3):
            guard let n = Pattern.number(parts[0]), let m = Pattern.number(parts[1]),
                let axis = parts.count == 2 ? .input : Axis(rawValue: parts[2])
            else { return nil }
            self = .nm(n: n, m: m, axis: axis)
        default: return nil
        }
    }

    /// Digits only: `Int` would take signs too.
    private static func number(_ text: some StringProtocol) -> Int? {
        text.utf8.allSatisfy { (48...57).contains($0) } ? Int(text) : nil
    }
}
