import LacunaSparse

/// How pruned matrices are stored.
public struct PrunedStorage: Sendable, Hashable {
    /// Nil for the layout that suits the pattern: n:m for n:m along the inputs, blocks for blocks, a bitmask otherwise, and
    /// dense where nothing was removed.
    public var layout: StorageLayout?
    public var values: ValueType

    public init(layout: StorageLayout? = nil, values: ValueType = .f32) {
        self.layout = layout
        self.values = values
    }

    /// The layout of a matrix under `mask`.
    func layout(for pattern: Pattern, _ mask: Mask) -> StorageLayout {
        if let layout { return layout }
        if mask.keptCount == mask.rows * mask.columns { return .dense }
        return switch pattern {
        case .nm(let n, let m, .input): .nm(n: n, m: m)
        case .block(let rows, let columns): .bsr(rows: rows, columns: columns)
        case .nm, .unstructured, .rows, .columns: .bitmask
        }
    }
}
