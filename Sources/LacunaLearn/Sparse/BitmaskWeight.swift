import LacunaSparse
import LacunaTensor

/// A weight stored as one bit for every entry and the values of those set: what N:M patterns are trained in.
///
/// A 2:4 weight takes 2.125 bytes an entry where a dense one takes 4, and so do its gradient and optimiser state
/// relative to theirs.
public final class BitmaskWeight: StatefulModule, TrainableWeight {
    public private(set) var mask: Mask
    private var rowStarts: [Int]
    /// In the order of the mask's bits, row by row.
    public let values: Parameter<Float>

    /// Keeps the entries of `weight` that are in `mask`.
    public init(_ weight: Tensor<Float>, mask: Mask) {
        precondition(weight.shape == [mask.rows, mask.columns], "a mask of another shape")
        self.mask = mask
        rowStarts = Self.starts(mask)
        var kept: [Float] = []
        weight.withPointer { w in
            for r in 0..<mask.rows { mask.forEachKeptColumn(row: r) { kept.append(w[r * mask.columns + $0]) } }
        }
        values = Parameter(Tensor(kept), decays: true)
    }

    private static func starts(_ mask: Mask) -> [Int] {
        mask.keptCounts.reduce(into: [0]) { $0.append($0.last! + $1) }
    }

    public var outputs: Int { mask.rows }
    public var inputs: Int { mask.columns }
    public var activeCount: Int { values.count }
    public var multiplyAdds: Int { values.count }
    public var byteCount: Int { values.buffer.byteCount + 8 * mask.words.count }
    public var storage: String { "bitmask" }

    public func densified() -> Tensor<Float> {
        var result = Tensor<Float>(zeros: [outputs, inputs])
        var place = 0
        result.withMutablePointer { w in
            for r in 0..<mask.rows {
                mask.forEachKeptColumn(row: r) {
                    w[r * mask.columns + $0] = values.buffer.pointer[place]
                    place += 1
                }
            }
        }
        return result
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        x.linear(bits: mask, rowStarts: rowStarts, values: values.on(x.tape), bias: bias)
    }

    /// Moves to another mask, as ``CSRWeight/move(to:fill:)`` does.
    public func move(to target: Mask) {
        precondition(target.rows == mask.rows && target.columns == mask.columns, "a mask of another shape")
        var source: [Int] = []
        for r in 0..<mask.rows {
            var place = rowStarts[r]
            for word in 0..<mask.wordsPerRow {
                let (old, new) = (mask.words[r * mask.wordsPerRow + word], target.words[r * mask.wordsPerRow + word])
                var rest = new
                while rest != 0 {
                    let bit = rest & (~rest &+ 1)
                    source.append(old & bit != 0 ? place + (old & (bit &- 1)).nonzeroBitCount : -1)
                    rest &= rest - 1
                }
                place += old.nonzeroBitCount
            }
        }
        values.rearrange(from: source) { _ in 0 }
        mask = target
        rowStarts = Self.starts(target)
    }

    public var integerState: [(name: String, values: [Int32])] {
        [("bits", mask.words.flatMap { [Int32(truncatingIfNeeded: $0), Int32(truncatingIfNeeded: $0 >> 32)] })]
    }

    public func restore(integerState: [String: [Int32]], file: String) throws {
        let halves = integerState["bits"] ?? []
        guard halves.count == 2 * mask.words.count else {
            throw LacunaError.malformed(
                file: file, location: "bits",
                reason: "\(halves.count) half words for a mask of \(mask.words.count) words")
        }
        var restored = Mask(rows: mask.rows, columns: mask.columns)
        for i in restored.words.indices {
            restored.words[i] =
                UInt64(UInt32(bitPattern: halves[2 * i])) | UInt64(UInt32(bitPattern: halves[2 * i + 1])) << 32
        }
        // Bits beyond the last column would count values that are not there.
        restored = restored.intersection(Mask(rows: mask.rows, columns: mask.columns, keepingAll: true))
        mask = restored
        rowStarts = Self.starts(restored)
        values.rearrange(from: Array(repeating: -1, count: rowStarts.last!)) { _ in 0 }
    }
}
