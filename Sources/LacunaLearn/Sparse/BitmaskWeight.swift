import LacunaSparse
import LacunaTensor

/// A weight stored as one bit for every entry and the values of those set: what N:M patterns are trained in.
///
/// A 2:4 weight takes 2.5 bytes an entry where a dense one takes 4, and its gradient and optimiser state take half of
/// theirs. Products are those of ``CompressedGroups``, whose order the values have.
public final class BitmaskWeight: StatefulModule, TrainableWeight {
    public private(set) var pattern: GroupPattern
    /// [pattern.count], in the order of the pattern.
    public let values: Parameter<Float>

    /// Keeps the entries of `weight` that are in `mask`.
    public init(_ weight: Tensor<Float>, mask: Mask) {
        precondition(weight.shape == [mask.rows, mask.columns], "a mask of another shape")
        let matrix = CompressedGroups(GroupPattern(mask), from: weight)
        pattern = matrix.pattern
        values = Parameter(Tensor(matrix.values), decays: true)
    }

    public var mask: Mask { pattern.mask }
    public var outputs: Int { pattern.rows }
    public var inputs: Int { pattern.columns }
    public var activeCount: Int { pattern.count }
    public var multiplyAdds: Int { pattern.count }
    public var byteCount: Int { values.buffer.byteCount + pattern.byteCount }
    public var storage: String { "bitmask" }

    public func densified() -> Tensor<Float> { CompressedGroups(pattern, buffer: values.buffer).densified() }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        x.linear(groups: pattern, values: values.on(x.tape), bias: bias)
    }

    /// Moves to another mask, as ``CSRWeight/move(to:fill:)`` does.
    ///
    /// - Complexity: O(rows · columns).
    public func move(to target: Mask) {
        precondition(target.rows == mask.rows && target.columns == mask.columns, "a mask of another shape")
        let moved = GroupPattern(target)
        let columns = target.columns
        // The index of every entry of the old pattern, -1 elsewhere.
        var places = [Int32](repeating: -1, count: target.rows * columns)
        pattern.forEachEntry { places[$1 * columns + $2] = Int32($0) }
        var source = [Int](repeating: -1, count: moved.count)
        moved.forEachEntry { source[$0] = Int(places[$1 * columns + $2]) }
        values.rearrange(from: source) { _ in 0 }
        pattern = moved
    }

    public var integerState: [(name: String, values: [Int32])] {
        [("mask", mask.words.flatMap { [Int32(truncatingIfNeeded: $0), Int32(truncatingIfNeeded: $0 >> 32)] })]
    }

    public func restore(integerState: [String: [Int32]], file: String) throws {
        let halves = integerState["mask"] ?? []
        guard halves.count == 2 * mask.words.count else {
            throw LacunaError.malformed(
                file: file, location: "mask",
                reason: "\(halves.count) half words for a mask of \(mask.words.count) words")
        }
        var restored = Mask(rows: mask.rows, columns: mask.columns)
        for i in restored.words.indices {
            restored.words[i] =
                UInt64(UInt32(bitPattern: halves[2 * i])) | UInt64(UInt32(bitPattern: halves[2 * i + 1])) << 32
        }
        // Bits beyond the last column would count values that are not there.
        restored = restored.intersection(Mask(rows: mask.rows, columns: mask.columns, keepingAll: true))
        pattern = GroupPattern(restored)
        values.rearrange(from: Array(repeating: -1, count: pattern.count)) { _ in 0 }
    }
}
