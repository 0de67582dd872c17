import LacunaTensor

/// Exactly `n` of every `m` consecutive columns: their values and one bit for every entry.
///
/// For 2:4 the bits take what two 2-bit indices would. Because every row stores equally many values, no offsets are
/// needed. A mask may keep fewer than `n` in a group: the group then stores explicit zeros, at its first removed
/// columns. If `columns` is not a multiple of `m`, the remaining columns form a shorter group that stores at most `n`.
///
/// Products with many vectors are fastest where `m` divides 64: every 64 columns then hold equally many values, and no
/// branch depends on the pattern.
public final class NMMatrix: WeightMatrix, PanelMatrix {
    public let rows: Int
    public let columns: Int
    public let format: StorageFormat
    /// The largest M that is stored: that of patterns.
    public static let maximumGroup = Pattern.maximumGroup

    public let n: Int
    public let m: Int
    private let storage: BitmaskStorage

    /// Keeps the entries of `weight` [rows, columns] that are in `mask`, rounded to `values`.
    /// - Throws: `LacunaError.invalidArgument` unless 1 <= n <= m <= ``maximumGroup`` and no group of the mask keeps more than `n`;
    ///   otherwise as ``BitmaskMatrix/init(_:mask:values:)``.
    public init(_ weight: Tensor<Float>, mask: Mask, n: Int, m: Int, values: ValueType) throws {
        try WeightStore.check(weight, mask: mask, values: values)
        guard n >= 1 && n <= m && m <= Self.maximumGroup else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "\(n):\(m) is not an N:M pattern with 1 <= N <= M <= \(Self.maximumGroup)")
        }
        self.n = n
        self.m = m
        rows = mask.rows
        columns = mask.columns
        format = StorageFormat(.nm(n: n, m: m), values)
        storage = try BitmaskStorage(
            weight, kept: mask, stored: NMMatrix.filled(mask, n: n, m: m), values: values, withoutOffsets: true,
            wordValues: 64 % m == 0 ? 64 / m * n : 0)
    }

    /// The mask with every group filled up to `n` entries.
    private static func filled(_ mask: Mask, n: Int, m: Int) throws -> Mask {
        var result = mask
        for r in 0..<mask.rows {
            for start in stride(from: 0, to: mask.columns, by: m) {
                let group = start..<min(start + m, mask.columns)
                var kept = 0
                for c in group where mask[r, c] { kept += 1 }
                if kept > n {
                    throw LacunaError.invalidArgument(
                        "pattern",
                        reason: "row \(r) keeps \(kept) of columns \(group.lowerBound)...\(group.upperBound - 1), "
                            + "\(n):\(m) holds at most \(n)")
                }
                for c in group where kept < n && !mask[r, c] {
                    result[r, c] = true
                    kept += 1
                }
            }
        }
        return result
    }

    /// The entries that are stored, explicit zeros included.
    public var mask: Mask { storage.mask }
    public var storedCount: Int { storage.storedCount }
    public var byteCount: Int { storage.byteCount }
    public var inputEncoding: InputEncoding { storage.inputEncoding }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        storage.multiply(input, rows: rows, into: output)
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        storage.decode(rows: rows, into: output)
    }

    var hasPanelKernel: Bool { storage.hasPanelKernel }

    func multiply(
        panel x: UnsafePointer<Float>, width: Int, block: Int, rows: Range<Int>,
        into tile: UnsafeMutablePointer<Float>
    ) {
        storage.multiply(panel: x, width: width, rows: rows, into: tile)
    }
}
