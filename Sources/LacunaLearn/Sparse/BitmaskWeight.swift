import LacunaSparse
import LacunaTensor

/// A weight stored as one bit for every entry and the values of those set: what N:M patterns are trained in.
///
/// A 2:4 weight takes 2.5 bytes an entry where a dense one takes 4, and its gradient and optimiser state take half of
/// theirs. Products are those of ``CompressedGroups``, whose order the values have.
public final class BitmaskWeight: StatefulModule, TrainableWeight {
    /// Which entries are stored.
    public private(set) var pattern: SparsePattern
    /// [pattern.count], in the order of the pattern.
    public let values: Parameter<Float>

    /// Keeps the entries of `weight` that are in `mask`.
    public init(_ weight: Tensor<Float>, mask: SparsePattern) {
        require(weight.shape == [mask.rows, mask.columns], "a mask of another shape")
        let matrix = CompressedGroups(mask, from: weight)
        pattern = matrix.pattern
        values = Parameter(Tensor(matrix.values), decays: true)
    }

    /// As ``pattern``.
    public var mask: SparsePattern { pattern }
    public var outputs: Int { pattern.rows }
    public var inputs: Int { pattern.columns }
    public var activeCount: Int { pattern.count }
    public var multiplyAdds: Int { pattern.count }
    public var byteCount: Int { matrix.byteCount }
    public var storage: String { "bitmask" }

    private var matrix: CompressedGroups<Float> { CompressedGroups(pattern, buffer: values.buffer) }
    public func densified() -> Tensor<Float> { matrix.densified() }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        x.linear(groups: pattern, values: values.on(x.tape), bias: bias)
    }

    /// Moves to another mask, as ``CSRWeight/move(to:fill:)`` does.
    ///
    /// - Complexity: O(rows · columns).
    public func move(to target: SparsePattern) {
        require(target.rows == mask.rows && target.columns == mask.columns, "a mask of another shape")
        // The index of every entry in row-major order, then in that of the values.
        let order = pattern.indices(ofEntriesOf: target)
        var place = [Int](repeating: -1, count: pattern.count)
        CompressedGroups<Float>.forEachEntry(of: pattern) { index, row, column in
            if let entry = pattern.index(row: row, column: column) { place[entry] = index }
        }
        var source = [Int](repeating: -1, count: target.count)
        CompressedGroups<Float>.forEachEntry(of: target) { index, row, column in
            if let entry = target.index(row: row, column: column), order[entry] >= 0 {
                source[index] = place[order[entry]]
            }
        }
        values.rearrange(from: source) { _ in 0 }
        pattern = target
    }

    public var integerState: [(name: String, values: [Int32])] {
        [
            (
                "mask",
                pattern.packedWords.flatMap { [Int32(truncatingIfNeeded: $0), Int32(truncatingIfNeeded: $0 >> 32)] }
            )
        ]
    }

    public func restore(integerState: [String: [Int32]], file: String) throws {
        let halves = integerState["mask"] ?? []
        let words = stride(from: 0, to: halves.count - 1, by: 2).map {
            UInt64(UInt32(bitPattern: halves[$0])) | UInt64(UInt32(bitPattern: halves[$0 + 1])) << 32
        }
        do {
            pattern = try SparsePattern(rows: outputs, columns: inputs, packedWords: words)
        } catch let LacunaError.invalidArgument(_, reason) {
            throw LacunaError.malformed(file: file, location: "mask", reason: reason)
        }
        values.rearrange(from: Array(repeating: -1, count: pattern.count)) { _ in 0 }
    }
}
