import LacunaSparse
import LacunaTensor

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

    /// Whether the layout can hold what the pattern keeps, to be asked before anything is pruned.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for n:m that is not that of the pattern.
    func requireRoom(for pattern: Pattern) throws {
        guard case .nm(let n, let m) = layout else { return }
        guard let group = pattern.group, group.axis == .input, pattern.unit == .entry, group.m == m, group.n <= n else {
            throw LacunaError.invalidArgument(
                "layout", reason: "\(n):\(m) does not hold every mask of the pattern \(pattern)")
        }
    }

    /// The layout of a matrix under `mask`.
    func layout(for pattern: Pattern, _ mask: Mask) -> StorageLayout {
        if let layout { return layout }
        if mask.keptCount == mask.rows * mask.columns { return .dense }
        switch (pattern.unit, pattern.competition) {
        case (.entry, .every(let m, .input)) where m <= NMMatrix.maximumGroup:
            // Layers of a pattern any:m differ in their n.
            return .nm(n: pattern.keep ?? max(mask.largestGroup(m, along: .input), 1), m: m)
        case (.block(let rows, let columns), _): return .bsr(rows: rows, columns: columns)
        default: return .bitmask
        }
    }
}
