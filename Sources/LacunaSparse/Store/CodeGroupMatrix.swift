import CLacuna
import LacunaTensor

/// Sparse and 4-bit at once: every row stores equally many groups of consecutive columns, one position, one scale (f16) and
/// one zero (4 bits) for each, and 4 bits for a value. Groups of 16 of which half are kept take 3.1 bits for a value of the
/// dense matrix.
///
/// Block-sparse rows of blocks 1 × G whose blocks are quantisation groups, as in Chao Zeng and others, "GQSA: Group Quantization
/// and Sparsity for Accelerating Large Language Model Inference", arXiv 2412.17560. As rows store equally many groups,
/// equal ranges of rows are equal work. Products multiply floats: nothing of the input is rounded.
public final class CodeGroupMatrix: OpaqueMatrix, PanelMatrix, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    /// Columns of a group.
    public let size: Int
    /// Groups that a row keeps.
    public let kept: Int
    private let buffer: Buffer<UInt8>
    private let kernel: lk_code_groups

    /// Scales are rounded to f16.
    ///
    /// - Throws: `LacunaError.invalidArgument` for lists of other lengths than the groups', and codes or zeros above 15;
    ///   `LacunaError.numerical` for scales that are not finite in f16.
    public init(_ source: CodeGroups) throws {
        let count = source.groups.count
        guard source.scales.count == count, source.zeros.count == count, source.codes.count == count * source.size,
            source.zeros.allSatisfy({ $0 < 16 }), source.codes.allSatisfy({ $0 < 16 })
        else {
            throw LacunaError.invalidArgument("groups", reason: "scales, zeros or codes do not fit \(count) groups")
        }
        guard source.scales.allSatisfy({ Half($0).float.isFinite }) else {
            throw LacunaError.numerical(operation: "storing 4-bit groups", reason: "a scale is not finite in f16")
        }
        (rows, columns, size, kept) = (source.rows, source.columns, source.size, source.kept)
        let rowBytes = CodeGroupLayout.rowBytes(size: size, kept: kept)
        buffer = Buffer(repeating: 0, count: max(rows * rowBytes, 1), lasting: true)
        kernel = Self.kernel(buffer, columns: columns, size: size, kept: kept)
        for row in 0..<rows {
            let codes = buffer.pointer + row * rowBytes
            let (scales, groups, zeros) = Self.parts(codes, size: size, kept: kept)
            for k in 0..<kept {
                let place = row * kept + k
                for j in 0..<size {
                    let code = source.codes[place * size + j]
                    codes[(k * size + j) / 16 * 8 + j % 8] |= j % 16 < 8 ? code : code << 4
                }
                scales.storeBytes(of: Half(source.scales[place]).bits, toByteOffset: 2 * k, as: UInt16.self)
                groups.storeBytes(of: source.groups[place], toByteOffset: 2 * k, as: UInt16.self)
                zeros[k / 2] |= source.zeros[place] << UInt8(k % 2 * 4)
            }
        }
    }

    /// Copies the rows of a checkpoint.
    ///
    /// - Throws: `LacunaError.invalidArgument` for bytes that are no such matrix.
    init(bytes: UnsafeRawBufferPointer, rows: Int, columns: Int, size: Int, kept: Int) throws {
        let rowBytes = CodeGroupLayout.rowBytes(size: size, kept: kept)
        let (count, overflow) = rows.multipliedReportingOverflow(by: rowBytes)
        guard rows >= 0, !overflow, bytes.count == count, size > 0, columns % size == 0, kept <= columns / size else {
            throw LacunaError.invalidArgument(
                "bytes", reason: "\(bytes.count) bytes are no [\(rows), \(columns)] of \(kept) groups of \(size) a row")
        }
        (self.rows, self.columns, self.size, self.kept) = (rows, columns, size, kept)
        buffer = Buffer(uninitialized: max(count, 1), lasting: true)
        if let start = bytes.baseAddress, count > 0 {
            UnsafeMutableRawPointer(buffer.pointer).copyMemory(from: start, byteCount: count)
        }
        kernel = Self.kernel(buffer, columns: columns, size: size, kept: kept)
        let found = codeGroupParts()
        // What products read by is checked once.
        _ = try CodeGroups(rows: rows, columns: columns, size: size, kept: kept, groups: found.groups)
        guard found.scales.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("bytes", reason: "a scale is not finite")
        }
    }

    private static func kernel(_ buffer: Buffer<UInt8>, columns: Int, size: Int, kept: Int) -> lk_code_groups {
        lk_code_groups(
            rows: buffer.pointer, columns: columns, group: size, kept: kept,
            row_bytes: CodeGroupLayout.rowBytes(size: size, kept: kept))
    }

    private static func parts(
        _ row: UnsafeMutablePointer<UInt8>, size: Int, kept: Int
    ) -> (scales: UnsafeMutableRawPointer, groups: UnsafeMutableRawPointer, zeros: UnsafeMutablePointer<UInt8>) {
        let scales = row + kept * size / 2
        return (UnsafeMutableRawPointer(scales), UnsafeMutableRawPointer(scales + 2 * kept), scales + 4 * kept)
    }

    private func codeGroupParts() -> (groups: [UInt16], scales: [Float]) {
        var (groups, scales) = ([UInt16](), [Float]())
        for row in 0..<rows {
            let parts = Self.parts(buffer.pointer + row * kernel.row_bytes, size: size, kept: kept)
            for k in 0..<kept {
                groups.append(parts.groups.loadUnaligned(fromByteOffset: 2 * k, as: UInt16.self))
                scales.append(
                    Half(bits: parts.scales.loadUnaligned(fromByteOffset: 2 * k, as: UInt16.self)).float)
            }
        }
        return (groups, scales)
    }

    /// What is stored.
    public var codeGroups: CodeGroups {
        let (groups, scales) = codeGroupParts()
        var result = CodeGroups(unchecked: rows, columns, size: size, kept: kept, groups: groups)
        result.scales = scales
        for row in 0..<rows {
            let codes = buffer.pointer + row * kernel.row_bytes
            let zeros = Self.parts(codes, size: size, kept: kept).zeros
            for k in 0..<kept {
                let place = row * kept + k
                result.zeros[place] = zeros[k / 2] >> UInt8(k % 2 * 4) & 15
                for j in 0..<size {
                    let byte = codes[(k * size + j) / 16 * 8 + j % 8]
                    result.codes[place * size + j] = j % 16 < 8 ? byte & 15 : byte >> 4
                }
            }
        }
        return result
    }

    public var format: StorageFormat {
        StorageFormat(
            StorageLayout(CodeGroupLayout(size: size, kept: kept, of: columns / max(size, 1))), .int4)
    }
    public var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: buffer.pointer, count: rows * kernel.row_bytes)
    }
    public var storedCount: Int { rows * kept * size }
    public var byteCount: Int { rows * kernel.row_bytes }
    public var inputEncoding: InputEncoding { .float }
    public var keptEntries: SparsePattern { codeGroups.pattern }
    /// Products with panels decode: a value meets many vectors.
    public var hasPanelKernel: Bool { false }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) {
            Kernels.best.gemv_code_groups($0, input.kernelInput, rows.lowerBound, rows.upperBound, output)
        }
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) {
            Kernels.best.decode_code_groups($0, rows.lowerBound, rows.upperBound, output)
        }
    }

    public func multiply(panel x: InputPanel, block: Int, rows: Range<Int>, into tile: OutputPanel) {
        require(false, "4-bit groups have no kernel for panels")
    }
}
