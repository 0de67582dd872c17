import LacunaTensor

/// Exactly `n` of every `m` consecutive columns, 1 ≤ n ≤ m ≤ ``Pattern/maximumGroup``: a bitmask whose rows all store
/// equally many values, so that no offsets are needed.
///
/// For 2:4 the bits take what two 2-bit indices would. A mask may keep fewer than `n` in a group: the group then stores
/// explicit zeros, at its first removed columns. If `columns` is not a multiple of `m`, the remaining columns form a shorter
/// group that stores at most `n`.
///
/// Products with many vectors are fastest where `m` divides 64: every 64 columns then hold equally many values, and no
/// branch depends on the pattern.
public struct NMLayout: StoreLayout {
    /// Values kept of every group.
    public let n: Int
    /// Columns of a group.
    public let m: Int

    /// `n` values of every `m` consecutive columns.
    public init(n: Int, m: Int) {
        self.n = n
        self.m = m
    }

    public var name: String { "\(n):\(m)" }

    public static func parse(_ name: String) -> NMLayout? {
        let numbers = name.split(separator: ":", omittingEmptySubsequences: false).map { Int($0) }
        guard numbers.count == 2, let n = numbers[0], let m = numbers[1], n > 0, m > 0 else { return nil }
        return NMLayout(n: n, m: m)
    }

    public var pattern: Pattern? { .nm(n: n, m: m) }

    public static func suiting(_ pattern: Pattern, _ mask: SparsePattern) -> NMLayout? {
        guard pattern.unit == .entry, case .every(let m, .input) = pattern.competition else { return nil }
        // Layers of a pattern any:m differ in their n.
        return NMLayout(n: pattern.keep ?? max(mask.largestGroup(m, along: .input), 1), m: m)
    }

    public func holds(_ pattern: Pattern) -> Bool {
        guard pattern.unit == .entry, let group = pattern.group else { return false }
        return group.axis == .input && group.m == m && group.n <= n
    }

    public static func candidates(for mask: SparsePattern) -> [NMLayout] {
        [NMLayout(n: 1, m: 4), NMLayout(n: 2, m: 4), NMLayout(n: 4, m: 8)].filter {
            mask.satisfies(.nm(n: $0.n, m: $0.m))
        }
    }

    public func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        let stored = mask.rows * ((mask.columns / m) * n + min(mask.columns % m, n))
        return StoreSize(
            storedCount: stored,
            byteCount: values.byteCount(stored: stored, rows: mask.rows, columns: mask.columns)
                + mask.rows * ((mask.columns + 63) / 64) * 8)
    }

    public var costKey: String { "n:m" }
    // Its kernel keeps up with products of bf16.
    public func densityLimit(_ values: ValueType) -> Double { densityLimitOfFloatProducts(values) }
    public var costs: StorageCosts.Layout {
        StorageCosts.Layout(
            entryNanoseconds: 0.04, valueNanoseconds: 0.004, rate16: 80e9, rate128: 140e9, panelNanoseconds: 0.02)
    }

    public func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        try BitmaskMatrix(source, values: values, groups: self)
    }
}
