import CLacuna
import LacunaTensor

/// A dense weight stored input by input: what the layers behind a sparse activation are stored as, because a product then
/// reads the weights of the active inputs alone.
public final class InputMajorMatrix: StoredMatrix, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public let format: StorageFormat
    /// [columns, rows].
    private let floats: Buffer<Float>?
    private let halves: Buffer<UInt16>?
    private let all: [UInt32]

    /// Stores `weight` [outputs, inputs] as f32 or bf16.
    ///
    /// - Throws: `LacunaError.invalidArgument` for other ranks, `.unsupported` for other value types.
    public init(_ weight: Tensor<Float>, values: ValueType) throws {
        try WeightStore.check(weight, mask: nil, values: values)
        guard values == .f32 || values == .bf16 else {
            throw LacunaError.unsupported(file: nil, what: "weights of \(values.rawValue) stored input by input")
        }
        (rows, columns) = (weight.rows, weight.columns)
        format = StorageFormat(.dense, values)
        all = (0..<UInt32(columns)).map { $0 }
        let turned = weight.transposed()
        let count = turned.count
        if values == .f32 {
            floats = turned.withPointer { Buffer(copying: $0, count: count) }
            halves = nil
        } else {
            let bits = Buffer<UInt16>(uninitialized: count)
            turned.withPointer { Kernels.best.f32_to_bf16($0, bits.pointer, count) }
            (floats, halves) = (nil, bits)
        }
    }

    public var storedCount: Int { rows * columns }
    public var byteCount: Int { rows * columns * (floats == nil ? 2 : 4) }
    public var inputEncoding: InputEncoding { .float }

    public func multiply(_ input: EncodedInput, rows range: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        add(input.kernelInput.pointee.x, active: all, rows: range, into: output)
    }

    /// `output[r] = Σ W[r, c] x[c]` over the active inputs `c` alone, on the thread pool.
    ///
    /// - Parameter active: Ascending, each in `0..<columns`.
    public func multiply(_ x: UnsafePointer<Float>, active: [UInt32], into output: UnsafeMutablePointer<Float>) {
        precondition(active.allSatisfy { $0 < UInt32(columns) }, "an input outside 0..<\(columns)")
        // Outputs of a piece stay in registers and the first-level cache while inputs pass.
        Parallel.forRanges(rows, grain: active.count * rows < 1 << 16 ? rows : 512) { range in
            add(x, active: active, rows: range, into: output + range.lowerBound)
        }
    }

    private func add(
        _ x: UnsafePointer<Float>, active: [UInt32], rows range: Range<Int>, into output: UnsafeMutablePointer<Float>
    ) {
        output.update(repeating: 0, count: range.count)
        if let floats {
            Kernels.best.skip_rows_f32(
                floats.pointer, rows, active, active.count, x, range.lowerBound, range.upperBound, output)
        } else if let halves {
            Kernels.best.skip_rows_bf16(
                halves.pointer, rows, active, active.count, x, range.lowerBound, range.upperBound, output)
        }
    }

    public func decode(rows range: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        for (i, row) in range.enumerated() {
            for c in 0..<columns {
                let place = c * rows + row
                output[i * columns + c] =
                    floats?.pointer[place] ?? Float(bitPattern: UInt32(halves!.pointer[place]) << 16)
            }
        }
    }
}
