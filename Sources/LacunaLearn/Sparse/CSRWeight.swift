import LacunaSparse
import LacunaTensor

/// A weight in compressed sparse rows, trained as such: values, gradient and optimiser state exist for stored entries
/// alone, and entries may be dropped and grown between steps.
public final class CSRWeight: StatefulModule, TrainableWeight {
    /// Which entries are stored.
    public private(set) var pattern: SparsePattern
    /// [pattern.count], in the order of the pattern.
    public let values: Parameter<Float>
    /// Asks the next backward passes for the gradient of every entry, stored or not: see ``denseGradient``.
    public var wantsDenseGradient = false
    /// The gradient of the whole matrix, summed over the backward passes since ``wantsDenseGradient`` was set.
    public private(set) var denseGradient: Tensor<Float>?

    /// Keeps the entries of `weight` that are in `mask`.
    public init(_ weight: Tensor<Float>, mask: SparsePattern) {
        require(weight.shape == [mask.rows, mask.columns], "a mask of another shape")
        pattern = mask
        var matrix = SparseMatrix<Float>(mask)
        matrix.gather(from: weight)
        values = Parameter(Tensor(matrix.values), decays: true)
    }

    public var outputs: Int { pattern.rows }
    public var inputs: Int { pattern.columns }
    public var activeCount: Int { pattern.count }
    public var multiplyAdds: Int { pattern.count }
    public var byteCount: Int { values.buffer.byteCount + pattern.byteCount }
    public var storage: String { "csr" }

    /// The matrix as it is now.
    public var matrix: SparseMatrix<Float> { SparseMatrix(pattern, buffer: values.buffer.copy()) }
    public func densified() -> Tensor<Float> { SparseMatrix(pattern, buffer: values.buffer).densified() }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let wants = wantsDenseGradient
        return x.linear(
            csr: pattern, values: values.on(x.tape), bias: bias,
            denseGradient: !wants
                ? nil
                : { [self] gradient in
                    guard var sum = denseGradient else {
                        denseGradient = gradient
                        return
                    }
                    let n = sum.count
                    sum.withMutablePointer { s in gradient.withPointer { g in for i in 0..<n { s[i] += g[i] } } }
                    denseGradient = sum
                })
    }

    /// Forgets the gradient of the whole matrix and stops asking for it.
    public func clearDenseGradient() {
        wantsDenseGradient = false
        denseGradient = nil
    }

    /// Adds up ``denseGradient`` over processes that have all asked for it.
    func sumDenseGradient(_ collective: any Collective) throws {
        if collective.count == 1 || !wantsDenseGradient { return }
        var values = denseGradient?.scalars ?? [Float](repeating: 0, count: outputs * inputs)
        try collective.sum(&values)
        denseGradient = Tensor(values, shape: [outputs, inputs])
    }

    /// Moves to another pattern. Entries of both keep value, gradient and optimiser state; new ones start at
    /// `fill(row, column)` with empty state; the others are gone.
    ///
    /// - Complexity: O(entries of both).
    public func move(to target: SparsePattern, fill: (_ row: Int, _ column: Int) -> Float = { _, _ in 0 }) {
        require(target.rows == pattern.rows && target.columns == pattern.columns, "a pattern of another shape")
        let source = pattern.indices(ofEntriesOf: target)
        var fresh = [Float](repeating: 0, count: source.count)
        target.forEachEntry { if source[$0] < 0 { fresh[$0] = fill($1, $2) } }
        values.rearrange(from: source) { fresh[$0] }
        pattern = target
    }

    public var integerState: [(name: String, values: [Int32])] {
        [
            ("rows", pattern.rowStarts.map { Int32($0) }), ("columns", pattern.columnIndices.map { Int32($0) }),
        ]
    }

    public func restore(integerState: [String: [Int32]], file: String) throws {
        do {
            pattern = try SparsePattern(
                rows: outputs, columns: inputs, rowStarts: integerState["rows"]?.map(Int.init) ?? [],
                columnIndices: integerState["columns"] ?? [])
        } catch let LacunaError.invalidArgument(argument, reason) {
            throw LacunaError.malformed(file: file, location: argument, reason: reason)
        }
        values.rearrange(from: Array(repeating: -1, count: pattern.count)) { _ in 0 }
    }
}
