import LacunaTensor

/// 4-bit groups of which every row keeps equally many: ``CodeGroupMatrix``. Called by how many of how many groups, and their
/// columns: `groups16x18:36`, written without a type of values, which is always int4.
public struct CodeGroupLayout: StoreLayout {
    /// Columns of a group.
    public let size: Int
    /// Groups that a row keeps.
    public let kept: Int
    /// Groups of a row of the dense matrix.
    public let groups: Int

    /// `kept` of `groups` groups of `size` columns.
    public init(size: Int, kept: Int, of groups: Int) { (self.size, self.kept, self.groups) = (size, kept, groups) }

    public var name: String { "groups\(size)x\(kept):\(groups)" }

    public static func parse(_ name: String) -> CodeGroupLayout? {
        guard name.hasPrefix("groups") else { return nil }
        let numbers = name.dropFirst(6).split(whereSeparator: { $0 == "x" || $0 == ":" }).map { Int($0) }
        guard numbers.count == 3, let size = numbers[0], let kept = numbers[1], let groups = numbers[2],
            size % 16 == 0, (16...256).contains(size), (0...1 << 16).contains(groups), (0...groups).contains(kept)
        else { return nil }
        return CodeGroupLayout(size: size, kept: kept, of: groups)
    }

    public func formatName(_ values: ValueType) -> String { name }
    public var fixedValues: ValueType? { .int4 }
    /// Made by methods that choose groups, never for masks of other patterns.
    public func holds(_ pattern: Pattern) -> Bool { false }

    static func rowBytes(size: Int, kept: Int) -> Int { kept * size / 2 + 4 * kept + (kept + 1) / 2 }

    public func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        StoreSize(storedCount: mask.rows * kept * size, byteCount: mask.rows * Self.rowBytes(size: size, kept: kept))
    }

    public var costKey: String { "groups4" }
    public var costs: StorageCosts.Layout {
        StorageCosts.Layout(entryNanoseconds: 0, valueNanoseconds: 0.06, rate16: 40e9, rate128: 100e9)
    }

    /// - Throws: Besides the rest, `LacunaError.invalidArgument` for a matrix of other columns, one whose rows touch more
    ///   groups than the layout keeps, and another type of values than int4.
    public func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        guard values == .int4, source.columns == groups * size else {
            throw LacunaError.invalidArgument(
                "layout",
                reason: "\(name) holds int4 matrices of \(groups * size) columns, not \(values) of \(source.columns)")
        }
        let found = try CodeGroups(source, size: size)
        guard found.kept <= kept else {
            throw LacunaError.invalidArgument(
                "mask", reason: "a row touches \(found.kept) groups of \(size) columns, \(name) keeps \(kept)")
        }
        return try CodeGroupMatrix(found)
    }

    public static var opaqueTensor: String? { "code_groups" }

    public func columns(bytesPerRow: Int) -> Int? {
        bytesPerRow == Self.rowBytes(size: size, kept: kept) ? groups * size : nil
    }

    public func make(bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) throws -> any StoredMatrix {
        guard columns == groups * size else {
            throw LacunaError.invalidArgument("bytes", reason: "\(name) has not \(columns) columns")
        }
        return try CodeGroupMatrix(bytes: bytes, rows: rows, columns: columns, size: size, kept: kept)
    }
}
