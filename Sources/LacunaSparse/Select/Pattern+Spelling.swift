import LacunaTensor

extension Pattern: CustomStringConvertible {
    /// The spelling of the command line, which ``init(_:)`` reads back.
    public var description: String {
        let base: String
        var suffix = ""
        switch unit {
        case .entry: base = ""
        case .block(let rows, let columns): base = "block:\(rows)x\(columns)"
        case .rows(let size): base = size == 1 ? "rows" : "heads:\(size)"
        case .columns(let size): base = size == 1 ? "columns" : "heads:\(size):input"
        }
        switch competition {
        case .scope(.layer): break
        case .scope(let scope): suffix = scope.rawValue
        case .every(let m, let axis):
            suffix = "\(keep.map(String.init) ?? "any"):\(m)" + (axis == defaultAxis ? "" : ":\(axis.rawValue)")
        }
        if base.isEmpty, case .scope = competition { return suffix.isEmpty ? "unstructured" : "unstructured:" + suffix }
        return [base, suffix].filter { !$0.isEmpty }.joined(separator: ":")
    }

    /// The axis along which groups run where the spelling says nothing: the one along which units follow each other.
    private var defaultAxis: Axis {
        if case .rows = unit { .output } else { .input }
    }

    /// Reads a unit and what competes, `unit[:competition]`.
    ///
    /// - Units: `unstructured` (single entries, the default), `block:16x1` (rows x columns), `rows`, `columns`, `heads:64`
    ///   (64 consecutive rows), `heads:64:input` (columns).
    /// - Competitions: `row`, `layer` (the default), `global`, `2:4` (2 of every 4), `any:4` (as many of every 4 as the
    ///   layer's sparsity says); groups run along the inputs, or with `:output` along the outputs; those of rows always do.
    ///
    /// So `2:4` are entries, `block:4x1:2:4` blocks of which two of every four along the inputs are kept, and
    /// `block:16x16:row` as many blocks in every row of blocks.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for anything else, and for numbers out of range.
    public init(_ text: String) throws {
        guard let pattern = Pattern(parsing: text) else {
            throw LacunaError.invalidArgument(
                "pattern",
                reason: "'\(text)' is none of unstructured, block:RxC, rows, columns, heads:SIZE[:input], each with "
                    + ":row, :layer, :global, :n:m or :any:m behind it, or n:m[:input|:output]")
        }
        try pattern.validate()
        self = pattern
    }

    private init?(parsing text: String) {
        var parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)[...]
        switch parts.first {
        case "unstructured":
            parts.removeFirst()
            self.init(.entry)
        case "rows", "columns":
            self.init(parts.removeFirst() == "rows" ? .rows(1) : .columns(1))
        case "block":
            parts.removeFirst()
            guard let sides = parts.popFirst()?.split(separator: "x", omittingEmptySubsequences: false),
                sides.count == 2, let rows = Pattern.number(sides[0]), let columns = Pattern.number(sides[1])
            else { return nil }
            self.init(.block(rows: rows, columns: columns))
        case "heads":
            parts.removeFirst()
            guard let size = parts.popFirst().flatMap({ Pattern.number($0) }) else { return nil }
            let isInput = parts.first == Axis.input.rawValue
            if isInput { parts.removeFirst() }
            self.init(isInput ? .columns(size) : .rows(size))
        default:
            // Single entries in groups need no unit before them.
            guard parts.count >= 2 else { return nil }
            self.init(.entry)
        }
        switch parts.count {
        case 0: break
        case 1:
            guard let scope = Scope(rawValue: parts.first!) else { return nil }
            competition = .scope(scope)
        case 2...3:
            let (n, m) = (parts.removeFirst(), parts.removeFirst())
            guard let m = Pattern.number(m) else { return nil }
            if n != "any" {
                guard let n = Pattern.number(n) else { return nil }
                keep = n
            }
            var axis = defaultAxis
            if let text = parts.first {
                guard let given = Axis(rawValue: text) else { return nil }
                axis = given
            }
            competition = .every(m, along: axis)
        default: return nil
        }
    }

    /// Digits only: `Int` would take signs too.
    private static func number(_ text: some StringProtocol) -> Int? {
        text.utf8.allSatisfy { (48...57).contains($0) } ? Int(text) : nil
    }
}
