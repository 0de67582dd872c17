import LacunaSparse
import LacunaTensor

/// How pruned matrices are stored.
public struct PrunedStorage: Sendable, Hashable {
    /// Nil for the layout that suits the pattern: n:m for n:m along the inputs, blocks for blocks, a bitmask otherwise, and
    /// dense where nothing was removed.
    public var layout: StorageLayout?
    /// The type of stored values.
    public var values: ValueType

    /// By default nothing is rounded.
    public init(layout: StorageLayout? = nil, values: ValueType = .f32) {
        self.layout = layout
        self.values = values
    }

    /// Whether the layout can hold what the pattern keeps, to be asked before anything is pruned.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a layout made for another pattern.
    func requireRoom(for pattern: Pattern) throws {
        guard let layout, !layout.base.holds(pattern) else { return }
        throw LacunaError.invalidArgument(
            "layout", reason: "\(layout) does not hold every mask of the pattern \(pattern)")
    }

    /// The layout of a matrix under `mask`.
    func layout(for pattern: Pattern, _ mask: SparsePattern) -> StorageLayout {
        if let layout { return layout }
        if mask.count == mask.rows * mask.columns { return .dense }
        return StoreLayouts.suiting(pattern, mask)
    }
}
