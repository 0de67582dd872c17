import LacunaSparse

extension StorageFormat {
    /// The format with this description, such as `bitmask-bf16`, `2:4-int8`, `bsr4x4-f32` or `Q4_1`.
    public init?(description: String) {
        if let block = GGUFBlockType(rawValue: description) {
            self.init(.gguf(description), block == .q80 ? .int8 : .int4)
            return
        }
        let parts = description.split(separator: "-", maxSplits: 1).map(String.init)
        guard let last = parts.last, let values = ValueType(rawValue: last) else { return nil }
        guard parts.count == 2 else {
            self.init(.dense, values)
            return
        }
        let layout = parts[0]
        switch layout {
        case "masked": self.init(.masked, values)
        case "bitmask": self.init(.bitmask, values)
        case "csr": self.init(.csr, values)
        default:
            if layout.hasPrefix("bsr"), let (rows, columns) = Self.numbers(layout.dropFirst(3), separator: "x") {
                self.init(.bsr(rows: rows, columns: columns), values)
            } else if let (n, m) = Self.numbers(layout[...], separator: ":") {
                self.init(.nm(n: n, m: m), values)
            } else {
                return nil
            }
        }
    }

    private static func numbers(_ text: Substring, separator: Character) -> (Int, Int)? {
        let parts = text.split(separator: separator, omittingEmptySubsequences: false)
        guard parts.count == 2, let a = Int(parts[0]), let b = Int(parts[1]), a > 0, b > 0 else { return nil }
        return (a, b)
    }
}

extension StorageLayout {
    /// Whether only some entries are stored, so that their positions have to be stored as well.
    var isSparse: Bool {
        switch self {
        case .dense, .gguf: false
        case .masked, .bitmask, .nm, .csr, .bsr: true
        }
    }
}
