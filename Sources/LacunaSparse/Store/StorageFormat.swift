/// The type of the values that a store keeps.
public enum ValueType: String, Sendable, Hashable, CaseIterable, Codable {
    case f32, bf16
    /// Signed 8-bit integers with one f32 scale for each row, rounded to nearest.
    case int8
    /// Signed 4-bit integers with one scale (bf16) for every 64 consecutive columns of a row, rounded to nearest.
    case int4
}

/// How the positions of the kept values are recorded.
public enum StorageLayout: Sendable, Hashable {
    /// Every entry is stored.
    case dense
    /// Dense values with a mask beside them: what pruning produces and training changes. Saves nothing.
    case masked
    /// One bit for every entry, and the kept values in order.
    case bitmask
    /// Exactly `n` of every `m` consecutive columns are stored.
    case nm(n: Int, m: Int)
    /// The column of every kept value.
    case csr
    /// Dense blocks of `rows` × `columns` and the block column of each.
    case bsr(rows: Int, columns: Int)
    /// The block formats of GGUF files, kept as they are in the file: name such as "Q4_1".
    case gguf(String)
}

/// A layout and a value type: what `lacuna inspect` prints for a stored matrix.
public struct StorageFormat: Sendable, Hashable, CustomStringConvertible {
    public var layout: StorageLayout
    public var values: ValueType

    public init(_ layout: StorageLayout, _ values: ValueType) {
        self.layout = layout
        self.values = values
    }

    public var description: String {
        switch layout {
        case .dense: values.rawValue
        case .masked: "masked-\(values.rawValue)"
        case .bitmask: "bitmask-\(values.rawValue)"
        case .nm(let n, let m): "\(n):\(m)-\(values.rawValue)"
        case .csr: "csr-\(values.rawValue)"
        case .bsr(let r, let c): "bsr\(r)x\(c)-\(values.rawValue)"
        case .gguf(let name): name
        }
    }
}
