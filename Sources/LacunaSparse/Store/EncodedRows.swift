import CLacuna
import LacunaTensor

/// Several input vectors as the kernels for quantised matrices read them, made once and shared by all products with them.
final class EncodedRows {
    private(set) var count = 0
    private var bytes = Buffer<Int8>(uninitialized: 0)
    private var numbers = Buffer<Float>(uninitialized: 0)
    private var sums = Buffer<Int32>(uninitialized: 0)
    private var inputs = Buffer<lk_input>(uninitialized: 0)

    /// Replaces the vectors by the rows of `x` [count, columns], in groups of 32, of 64, or both.
    func encode(_ x: UnsafePointer<Float>, count: Int, columns: Int, encodings: InputEncoding) {
        self.count = count
        // A line more than needed: rows of a multiple of 4 KiB would compete for the same lines.
        let padded = (columns + 63) / 64 * 64 + 64
        let groups = padded / 32
        if sums.count < 2 * count * groups {
            bytes = Buffer(uninitialized: 2 * count * padded)
            numbers = Buffer(uninitialized: 3 * count * groups)
            sums = Buffer(uninitialized: 2 * count * groups)
        }
        if inputs.count < count { inputs = Buffer(uninitialized: count) }
        let (q, f, s, p) = (bytes.pointer, numbers.pointer, sums.pointer, inputs.pointer)
        Parallel.forRanges(count, grain: max(1, (1 << 15) / max(columns, 1))) { range in
            for t in range {
                var input = lk_input()
                if encodings.contains(.int8Groups32) {
                    let row = q + 2 * t * padded
                    let (scale, total) = (f + 3 * t * groups, f + (3 * t + 1) * groups)
                    let sum = s + 2 * t * groups
                    Kernels.best.quantize_x32(x + t * columns, columns, row, scale, total)
                    Kernels.best.sums_x16(row, columns, sum)
                    (input.q32, input.scale32) = (UnsafePointer(row), UnsafePointer(scale))
                    (input.total32, input.sum16) = (UnsafePointer(total), UnsafePointer(sum))
                }
                if encodings.contains(.int8Groups64) {
                    let (row, scale) = (q + (2 * t + 1) * padded, f + (3 * t + 2) * groups)
                    Kernels.best.quantize_x64(x + t * columns, columns, row, scale)
                    (input.q64, input.scale64) = (UnsafePointer(row), UnsafePointer(scale))
                }
                p[t] = input
            }
        }
    }

    var kernelInputs: UnsafePointer<lk_input> { UnsafePointer(inputs.pointer) }
}

typealias BatchKernel =
    @convention(c) (
        UnsafePointer<lk_dense>?, UnsafePointer<lk_input>?, Int, Int, Int, UnsafeMutablePointer<Float>?, Int
    ) -> Void

/// A matrix with a kernel that multiplies several encoded vectors at once.
protocol BatchMatrix: StoredMatrix {
    /// Whether there is one for its values; it is not called otherwise.
    var hasBatchKernel: Bool { get }
    /// Whether it takes vectors in groups of 64 too, and then gives each the bits that the product with one vector gives it.
    var hasApartKernel: Bool { get }
    /// `output[t · leadingOutput + i] = Σ_c A[rows.lowerBound + i, c] x[t][c]`.
    func multiply(
        _ inputs: EncodedRows, rows: Range<Int>, into output: UnsafeMutablePointer<Float>, leadingOutput: Int)
}

extension BatchMatrix {
    var hasApartKernel: Bool { false }
}
