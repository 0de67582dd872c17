/// The type of the values that a store keeps.
public enum ValueType: String, Sendable, Hashable, CaseIterable, Codable {
    /// IEEE 754 single precision.
    case f32
    /// The upper half of a single-precision number, rounded to nearest.
    case bf16
    /// IEEE 754 half precision, rounded to nearest: magnitudes up to 65504.
    case f16
    /// Signed 8-bit integers with one f32 scale for each row, rounded to nearest.
    case int8
    /// Signed 4-bit integers with one scale (bf16) for every 64 consecutive columns of a row, rounded to nearest.
    case int4

    /// Bits of one value, without its share of a scale.
    public var bits: Int {
        switch self {
        case .f32: 32
        case .bf16, .f16: 16
        case .int8: 8
        case .int4: 4
        }
    }

    /// Bytes of `stored` values of a matrix [rows, columns] and of their scales, without positions.
    public func byteCount(stored: Int, rows: Int, columns: Int) -> Int {
        let values = (stored * bits + 7) / 8
        switch self {
        case .f32, .bf16, .f16: return values
        case .int8: return values + rows * 4
        case .int4: return values + rows * ((columns + Quantization.int4Group - 1) / Quantization.int4Group) * 2
        }
    }

    /// Whether values are rounded to integers with a scale.
    var isInteger: Bool { self == .int8 || self == .int4 }
}

/// A layout of any kind, as a value that can be kept, compared and named.
public struct StorageLayout: Sendable, Hashable, CustomStringConvertible {
    /// The layout itself.
    public let base: any StoreLayout

    /// A layout of any kind.
    public init(_ base: some StoreLayout) { self.base = base }

    /// The layout of a name such as `dense`, `bitmask`, `2:4`, `bsr4x4`; nil if no layout that is registered has it.
    public init?(_ name: String) {
        guard let base = StoreLayouts.parse(name) else { return nil }
        self.init(base)
    }

    public static func == (a: StorageLayout, b: StorageLayout) -> Bool { AnyHashable(a.base) == AnyHashable(b.base) }
    public func hash(into hasher: inout Hasher) { hasher.combine(AnyHashable(base)) }
    /// The layout's name.
    public var description: String { base.name }

    /// Every entry is stored.
    public static let dense = StorageLayout(DenseLayout())
    /// Dense values with a mask beside them: what pruning produces and training changes. Saves nothing.
    public static let masked = StorageLayout(MaskedLayout())
    /// One bit for every entry, and the kept values in order.
    public static let bitmask = StorageLayout(BitmaskLayout())
    /// Exactly `n` of every `m` consecutive columns are stored.
    public static func nm(n: Int, m: Int) -> StorageLayout { StorageLayout(NMLayout(n: n, m: m)) }
    /// The column of every kept value.
    public static let csr = StorageLayout(CSRLayout())
    /// Dense blocks of `rows` × `columns` and the block column of each.
    public static func bsr(rows: Int, columns: Int) -> StorageLayout {
        StorageLayout(BSRLayout(rows: rows, columns: columns))
    }
    /// The block formats of GGUF files, kept as they are in the file: name such as "Q4_1".
    public static func gguf(_ name: String) -> StorageLayout { StorageLayout(GGUFLayout(name)) }
}

/// A layout and a value type: what `lacuna inspect` prints for a stored matrix.
public struct StorageFormat: Sendable, Hashable, CustomStringConvertible {
    /// How positions are kept.
    public var layout: StorageLayout
    /// How values are kept.
    public var values: ValueType

    /// A layout and a value type.
    public init(_ layout: StorageLayout, _ values: ValueType) {
        self.layout = layout
        self.values = values
    }

    public var description: String { layout.base.formatName(values) }

    /// The format with this description, such as `bf16`, `bitmask-bf16`, `2:4-int8`, `bsr4x4-f32` or `Q4_1`.
    public init?(description text: String) {
        let (layout, values): (StorageLayout?, ValueType?)
        if let type = ValueType(rawValue: text) {
            (layout, values) = (.dense, type)
        } else if let dash = text.lastIndex(of: "-") {
            layout = StorageLayout(String(text[..<dash]))
            values = ValueType(rawValue: String(text[text.index(after: dash)...]))
        } else {
            layout = StorageLayout(text)
            values = layout?.base.fixedValues
        }
        guard let layout, let values else { return nil }
        self.init(layout, values)
        if description != text { return nil }
    }
}
