import LacunaSparse
import LacunaTensor

/// The 4-bit codes of a `pack-quantized` weight: eight to a word of 32 bits, scales and zero points by groups of columns, as
/// GPTQ and AWQ find them.
struct PackedCodes {
    private let source: any TensorSource
    private let prefix: String
    let rows, columns: Int
    private let bytes: UnsafeRawBufferPointer

    init(_ source: any TensorSource, _ prefix: String, _ shape: [Int]) throws {
        (self.source, self.prefix, rows, columns) = (source, prefix, shape[0], shape[1])
        let info = try source.info("\(prefix).weight_packed")
        try info.require(shape: [rows, (columns + 7) / 8])
        try info.require(type: .i32)
        bytes = try source.bytes(of: info.name)
    }

    /// -8...7. Valid while the source lives.
    @inline(__always) subscript(row: Int, column: Int) -> Int {
        PackedNibbles.code(bytes.baseAddress! + row * ((columns + 7) / 8) * 4, column)
    }

    /// Row by row, what every code of a group is lessened by; nil where nothing is.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` and ``LacunaError/tensorMismatch(file:name:expected:found:)``.
    func zeroPoints(groups: Int) throws -> [Int8]? {
        let name = "\(prefix).weight_zero_point"
        guard let info = source.find(name) else { return nil }
        let bytes = try source.bytes(of: name)
        return try withExtendedLifetime(source) {
            if info.type == .scalar(.i8) {
                guard info.shape == [rows, groups] || groups == 1 && info.shape == [rows] else {
                    throw LacunaError.tensorMismatch(
                        file: info.file, name: name, expected: "[\(rows), \(groups)]", found: "\(info.shape)")
                }
                return bytes.map { Int8(bitPattern: $0) }
            }
            // Packed along the rows: eight rows of a group to a word.
            try info.require(type: .i32)
            try info.require(shape: [(rows + 7) / 8, groups])
            return (0..<rows * groups).map { i in
                let (row, group) = (i / groups, i % groups)
                let word = bytes.loadUnaligned(fromByteOffset: 4 * (row / 8 * groups + group), as: UInt32.self)
                return Int8(word.littleEndian >> UInt32(row % 8 * 4) & 15) - 8
            }
        }
    }

    /// The group of each column.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for groups that do not divide the columns, and for columns
    ///   of groups that there are not.
    func groups(_ count: Int) throws -> [Int] {
        let name = "\(prefix).weight_g_idx"
        if source.contains(name) {
            let groups = try source.integers(name)
            guard groups.count == columns, groups.allSatisfy({ $0 >= 0 && $0 < count }) else {
                throw LacunaError.malformed(
                    file: source.path, location: name, reason: "is no list of \(columns) groups of \(count)")
            }
            return groups
        }
        // Groups of 64 may end with a shorter one; others have to divide the row.
        let isOwn = count == (columns + Quantization.int4Group - 1) / Quantization.int4Group
        guard count > 0, isOwn || columns % count == 0 else {
            throw LacunaError.malformed(
                file: source.path, location: "\(prefix).weight_scale",
                reason: "\(count) scales a row do not divide \(columns) columns")
        }
        let size = count == 1 ? columns : isOwn ? Quantization.int4Group : columns / count
        return (0..<columns).map { $0 / size }
    }
}

/// Integers with scales as GGUF blocks of 32 columns, which have kernels. Groups are whole blocks, scales f16 numbers.
enum QuantizedBlocks {
    /// Codes as Q4_0, or, less their zero points, as Q5_0.
    static func nibbles(
        _ codes: PackedCodes, _ zeros: [Int8]?, scales: Tensor<Float>, groups: Int
    ) throws -> GGUFMatrix {
        let (rows, blocks) = (codes.rows, codes.columns / 32)
        let size = zeros == nil ? 18 : 22
        var bytes = [UInt8](repeating: 0, count: rows * blocks * size)
        scales.withPointer { scales in
            for row in 0..<rows {
                for block in 0..<blocks {
                    let place = row * groups + block * groups / blocks
                    let start = (row * blocks + block) * size
                    let scale = Half(scales[place]).bits
                    (bytes[start], bytes[start + 1]) = (UInt8(scale & 255), UInt8(scale >> 8))
                    guard let zeros else {
                        for i in 0..<16 {
                            let (low, high) = (codes[row, 32 * block + i] + 8, codes[row, 32 * block + i + 16] + 8)
                            bytes[start + 2 + i] = UInt8(low | high << 4)
                        }
                        continue
                    }
                    for i in 0..<32 {
                        let code = codes[row, 32 * block + i] - Int(zeros[place]) + 16
                        bytes[start + 6 + i % 16] |= UInt8((code & 15) << (i < 16 ? 0 : 4))
                        bytes[start + 2 + i / 8] |= UInt8((code >> 4) << (i % 8))
                    }
                }
            }
        }
        return try bytes.withUnsafeBytes {
            try GGUFMatrix(zeros == nil ? "Q4_0" : "Q5_0", bytes: $0, rows: rows, columns: codes.columns)
        }
    }

    /// Signed bytes [rows, columns] as Q8_0.
    static func q80(
        _ values: UnsafeRawBufferPointer, shape: [Int], scales: Tensor<Float>, groups: Int
    ) throws -> GGUFMatrix {
        let (rows, blocks) = (shape[0], shape[1] / 32)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(rows * blocks * 34)
        scales.withPointer { scales in
            for row in 0..<rows {
                for block in 0..<blocks {
                    let scale = Half(scales[row * groups + block * groups / blocks]).bits
                    bytes += [UInt8(scale & 255), UInt8(scale >> 8)]
                    let start = (row * blocks + block) * 32
                    bytes += values[start..<start + 32]
                }
            }
        }
        return try bytes.withUnsafeBytes { try GGUFMatrix("Q8_0", bytes: $0, rows: rows, columns: shape[1]) }
    }
}
