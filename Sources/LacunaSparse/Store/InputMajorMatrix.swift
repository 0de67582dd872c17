import CLacuna
import LacunaTensor

/// A dense matrix `W` [rows, columns] stored input by input: what products with few active inputs read, and nothing else.
///
/// After a rectifier or a gate most inputs of a layer are 0 or as good as that, and a product need read only the weights
/// of the others. With the weights of an input side by side these are whole rows of memory: time falls with the share of
/// inputs that is active, down to a tenth or so. ``Product/gemv(_:x:activeInputs:into:)`` is the product;
/// an input that is not named does not contribute, be it infinite or not a number.
public final class InputMajorMatrix: StoredMatrix, @unchecked Sendable {
    /// Outputs.
    public let rows: Int
    /// Inputs.
    public let columns: Int
    /// Dense values of the type f32, bf16 or f16; only their order differs from other dense matrices'.
    public let format: StorageFormat
    private var values: ValueType { format.values }
    private let all: [UInt32]
    private let floats: Buffer<Float>
    private let halves: Buffer<UInt16>

    /// Stores `weight` [rows, columns], rounded to `values`.
    ///
    /// - Throws: `LacunaError.invalidArgument` if the tensor is not a matrix or has more than 2³² - 1 inputs,
    ///   `LacunaError.unsupported` for integers.
    /// - Complexity: O(rows · columns).
    public init(_ weight: Tensor<Float>, values: ValueType) throws {
        guard weight.rank == 2, weight.columns <= Int(UInt32.max) else {
            throw LacunaError.invalidArgument("weight", reason: "shape \(weight.shape) is not a matrix of this size")
        }
        guard !values.isInteger else {
            throw LacunaError.unsupported(file: nil, what: "\(values) weights stored input by input")
        }
        (self.rows, self.columns, format) = (weight.rows, weight.columns, StorageFormat(.dense, values))
        all = (0..<UInt32(weight.columns)).map { $0 }
        let (rows, columns) = (weight.rows, weight.columns)
        floats = Buffer(uninitialized: values == .f32 ? rows * columns : 0, lasting: true)
        halves = Buffer(uninitialized: values == .f32 ? 0 : rows * columns, lasting: true)
        let (floats, halves) = (floats.pointer, halves.pointer)
        weight.withPointer { source in
            Parallel.forRanges(columns, grain: max(16, 65_536 / max(rows, 1))) { range in
                let column = Buffer<Float>(uninitialized: range.count * rows)
                Float.kernelTable.pointee.transpose_add(
                    source + range.lowerBound, columns, rows, range.count, 1, 0, column.pointer, rows)
                let start = range.lowerBound * rows
                switch values {
                case .f32: (floats + start).update(from: column.pointer, count: column.count)
                case .f16: Kernels.best.f32_to_f16(column.pointer, halves + start, column.count)
                default: Kernels.best.f32_to_bf16(column.pointer, halves + start, column.count)
                }
            }
        }
    }

    public var storedCount: Int { rows * columns }
    public var byteCount: Int { floats.byteCount + halves.byteCount }
    public var inputEncoding: InputEncoding { .float }
    public var keptEntries: SparsePattern { SparsePattern(rows: rows, columns: columns, keepingAll: true) }

    public func multiply(_ input: EncodedInput, rows range: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(range)
        output.update(repeating: 0, count: range.count)
        all.withUnsafeBufferPointer { add(input.kernelInput.pointee.x, active: $0, outputs: range, to: output) }
    }

    public func decode(rows range: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(range)
        let count = range.count
        if count == 0 { return }
        if values == .f32 {
            Float.kernelTable.pointee.transpose_add(
                floats.pointer + range.lowerBound, rows, columns, count, 1, 0, output, columns)
            return
        }
        let part = Buffer<Float>(uninitialized: max(columns * count, 1))
        let widen = values == .f16 ? Kernels.best.f16_to_f32 : Kernels.best.bf16_to_f32
        for c in 0..<columns {
            widen?(halves.pointer + c * rows + range.lowerBound, part.pointer + c * count, count)
        }
        Float.kernelTable.pointee.transpose_add(part.pointer, count, columns, count, 1, 0, output, columns)
    }

    /// Adds to outputs `range`, `output` [range], what the `active` inputs of `x` give.
    fileprivate func add(
        _ x: UnsafePointer<Float>, active: UnsafeBufferPointer<UInt32>, outputs range: Range<Int>,
        to output: UnsafeMutablePointer<Float>
    ) {
        let (first, last) = (range.lowerBound, range.upperBound)
        let k = Kernels.best
        switch values {
        case .f32: k.skip_rows_f32(floats.pointer, rows, active.baseAddress, active.count, x, first, last, output)
        case .f16: k.skip_rows_f16(halves.pointer, rows, active.baseAddress, active.count, x, first, last, output)
        default: k.skip_rows_bf16(halves.pointer, rows, active.baseAddress, active.count, x, first, last, output)
        }
    }

    /// `Σ_c W[r, c] x[c]` over the inputs `c` in `activeInputs`, for every output r.
    ///
    /// - Parameters:
    ///   - x: [columns]; entries that are not named do not matter.
    ///   - activeInputs: Inputs that count, each as often as it is named.
    /// - Throws: `LacunaError.invalidArgument` for a vector of another length or an input out of range.
    /// - Complexity: O(rows · active inputs).
    public func multiplied(by x: [Float], activeInputs: [Int]) throws -> [Float] {
        guard x.count == columns else {
            throw LacunaError.invalidArgument("x", reason: "\(x.count) entries for \(columns) inputs")
        }
        if let wrong = activeInputs.first(where: { !(0..<columns).contains($0) }) {
            throw LacunaError.invalidArgument("activeInputs", reason: "\(wrong) of \(columns) inputs")
        }
        let output = Buffer<Float>(uninitialized: rows)
        x.withUnsafeBufferPointer { x in
            activeInputs.map { UInt32($0) }.withUnsafeBufferPointer { active in
                // An empty vector has no address, and nothing is read of it.
                let start = x.baseAddress ?? UnsafePointer(output.pointer)
                Product.gemv(self, x: start, activeInputs: active, into: output.pointer)
            }
        }
        return output.array
    }
}

extension Product {
    /// `output[r] = Σ_c W[r, c] x[c]` over the inputs `c` in `activeInputs` alone: what a gate in front of a layer calls.
    ///
    /// Inputs are added up in the order in which they are named, so results do not depend on the threads.
    ///
    /// - Parameters:
    ///   - x: [columns]; entries that are not named are not read.
    ///   - activeInputs: Inputs that count, below `columns` (not checked), each as often as it is named.
    ///   - output: [rows].
    /// - Complexity: O(rows · active inputs).
    public static func gemv(
        _ matrix: InputMajorMatrix, x: UnsafePointer<Float>, activeInputs: UnsafeBufferPointer<UInt32>,
        into output: UnsafeMutablePointer<Float>
    ) {
        output.update(repeating: 0, count: matrix.rows)
        let cost = activeInputs.count * matrix.rows * matrix.format.values.bits / 8
        // Cuts at whole lines of either type leave every output the same way through the kernel.
        let unit = 64
        let units = (matrix.rows + unit - 1) / unit
        let items = cost < serialCost ? 1 : min(Parallel.threads, max(units, 1))
        Parallel.forEach(items) { item in
            let range = item * units / items * unit..<min((item + 1) * units / items * unit, matrix.rows)
            if !range.isEmpty { matrix.add(x, active: activeInputs, outputs: range, to: output + range.lowerBound) }
        }
    }
}
