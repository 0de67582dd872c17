import CLacuna
import LacunaSparse
import LacunaTensor

/// A weight that is not trained, in any store: dense, sparse or quantised, as it lies in a model's file.
///
/// The forward product is the store's own; the gradient of the input goes through tiles of decoded rows. A 4-bit weight
/// stays a 4-bit weight: nothing of its full size is made. (Stores that round their inputs in products with a few vectors
/// do so here too, and the gradient is that of the product without rounding.)
public final class FrozenWeight: TrainableWeight {
    /// [outputs, inputs], as it is stored.
    public let matrix: any StoredMatrix

    /// A matrix that is read where it is.
    public init(_ matrix: any StoredMatrix) { self.matrix = matrix }

    public var parts: [(name: String, part: Any)] { [] }
    public var outputs: Int { matrix.rows }
    public var inputs: Int { matrix.columns }
    public var activeCount: Int { matrix.storedCount }
    public var multiplyAdds: Int { matrix.storedCount }
    public var byteCount: Int { matrix.byteCount }
    public var storage: String { "frozen \(matrix.format)" }
    public func densified() -> Tensor<Float> { matrix.densified() }

    /// Bytes of decoded rows at a time in the backward pass.
    private static let tileBytes = 4 << 20

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        require(x.columns == inputs, "a weight [\(outputs), \(inputs)] for \(x.shape)")
        let (tape, m, n, k) = (x.tape, x.rows, outputs, inputs)
        let y = tape.output(x.shape.dropLast() + [n], of: [x, bias])
        if m > 0 {
            Product.rounded(tape.precision) {
                matrix.multiply(matrix: UnsafePointer(x.pointer), count: m, into: y.pointer, leadingY: n)
            }
        }
        if let bias { y.addRowInPlace(bias) }
        tape.multiplyAdds += m * matrix.storedCount
        tape.record(y) { [matrix] dy in
            bias?.accumulate { db, add in Float.kernels.pointee.column_sums(dy, db, m, n, add) }
            x.accumulate { dx, add in
                tape.multiplyAdds += m * n * k
                let unit = matrix.rowGranularity
                let height = max(unit, Self.tileBytes / (4 * max(k, 1)) / unit * unit)
                let tile = tape.pool.take(min(height, n) * k)
                if n == 0 && add == 0 { dx.update(repeating: 0, count: m * k) }
                for start in stride(from: 0, to: n, by: height) {
                    let rows = start..<min(start + height, n)
                    let items = (rows.count + unit - 1) / unit
                    Parallel.forRanges(items, grain: max(1, (1 << 16) / (unit * max(k, 1)))) { range in
                        let part = rows.lowerBound + range.lowerBound * unit
                        matrix.decode(
                            rows: part..<min(part + range.count * unit, rows.upperBound),
                            into: tile.pointer + (part - rows.lowerBound) * k)
                    }
                    LinearAlgebra.parallelGemm(
                        m: m, n: k, k: rows.count, dy + start, leadingA: n, UnsafePointer(tile.pointer), leadingB: k,
                        beta: start == 0 ? Float(add) : 1, precision: tape.precision, into: dx, leadingC: k)
                }
            }
        }
        return y
    }
}
