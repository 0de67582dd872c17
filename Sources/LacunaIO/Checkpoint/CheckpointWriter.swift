import LacunaSparse
import LacunaTensor

/// Writes a model's directory: `model.safetensors` and `config.json`, sparse matrices in the layout of the
/// `compressed-tensors` package wherever that has one, so that other programs can load them.
///
/// A weight `P.weight` becomes
///
/// | stored as | tensors |
/// |---|---|
/// | dense f32, bf16, f16 | `P.weight` |
/// | dense int8 | `P.weight`, `P.weight_scale` [rows, 1]: the package's `int-quantized`, channel-wise |
/// | dense int4 | `P.weight_packed`, `P.weight_scale` [rows, groups], `P.weight_shape`: its `pack-quantized`, groups of 64 |
/// | sparse f32, bf16, f16, int8 | `P.compressed`, `P.bitmask`, `P.row_offsets`, `P.shape`: its `sparse-bitmask` |
/// | 2:4, if asked for | `P.compressed` [rows, columns / 2], `P.bitmask`, `P.shape`: its `sparse-24-bitmask` |
/// | sparse int4 | `P.compressed_int4`, `P.bitmask`, `P.row_offsets`, `P.shape`, `P.weight_scale`: Lacuna's own |
/// | GGUF blocks | `P.gguf_blocks` [rows, bytes]: Lacuna's own |
/// | 4-bit groups | `P.code_groups` [rows, bytes], as ``CodeGroupMatrix`` has them: Lacuna's own |
/// | a product | its factors as the weights `P.factors.0.weight`, `P.factors.1.weight` …: Lacuna's own |
///
/// CSR, BSR and other N:M matrices are bitmasks in the file as well: up to a sparsity of 94 % that takes fewer bytes than
/// 16-bit columns would. What they are in memory stands in `config.json` under `lacuna`:
/// `{"version": 1, "weights": {"P.weight": "csr-bf16"}}`.
public final class CheckpointWriter {
    /// Which of the package's two sparse layouts the sparse matrices get. A checkpoint can have only one of them.
    public enum SparseLayout: String, Sendable {
        /// Any sparse matrix: a bit for every entry, the kept values, and where each row begins among them.
        case bitmask = "sparse-bitmask"
        /// Every sparse matrix has to be 2:4 with columns divisible by 4, and its values f32, bf16, f16 or int8.
        case twoOfFour = "sparse-24-bitmask"

        /// The 2:4 layout if all sparse matrices among `matrices` fit it.
        public static func fitting(_ matrices: some Sequence<any StoredMatrix>) -> SparseLayout {
            let sparse = matrices.filter { $0.format.layout.base.isSparse }
            return !sparse.isEmpty && sparse.allSatisfy(holdsTwoOfFour) ? .twoOfFour : .bitmask
        }

        static func holdsTwoOfFour(_ matrix: any StoredMatrix) -> Bool {
            matrix.format.layout == .nm(n: 2, m: 4) && matrix.columns % 4 == 0 && matrix.format.values != .int4
        }
    }

    /// The name of the file of tensors in a checkpoint's directory.
    public static let fileName = "model.safetensors"
    private let directory: String
    private let layout: SparseLayout
    private let file: SafetensorsWriter
    private var summary = CompressionSummary()

    /// - Parameter directory: An existing directory, best that of an ``AtomicDirectory``.
    /// - Throws: ``LacunaError/file(path:reason:)``.
    public init(directory: String, layout: SparseLayout = .bitmask) throws {
        self.directory = directory
        self.layout = layout
        file = try SafetensorsWriter(
            FileSystem.join(directory, Self.fileName), metadata: ["format": "pt", "producer": "lacuna"])
    }

    /// Writes a tensor that is not stored as a matrix, such as a norm or a bias.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the name is taken.
    public func write(_ name: String, _ tensor: Tensor<Float>, as type: ElementType = .f32) throws {
        try file.write(name, tensor, as: type)
    }

    /// Writes a matrix as it is stored.
    ///
    /// - Parameter name: The name of the weight, ending in `.weight`.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for another name, a name that is taken, or a matrix that does
    ///   not fit the 2:4 layout.
    public func write(_ name: String, _ matrix: any StoredMatrix) throws {
        guard name.hasSuffix(".weight") else {
            throw LacunaError.invalidArgument(name, reason: "the name of a matrix ends in '.weight'")
        }
        let prefix = String(name.dropLast(".weight".count))
        let layout = matrix.format.layout.base
        if let product = matrix as? ProductMatrix {
            for (index, factor) in product.factors.enumerated() {
                try write(ProductFactors.name(prefix, index), factor)
            }
        } else if let tensor = type(of: layout).opaqueTensor {
            try writeBytes("\(prefix).\(tensor)", matrix)
        } else if layout.isSparse {
            try writeSparse(prefix, matrix)
        } else {
            try writeDense(name, prefix, matrix)
        }
        summary.add(name, matrix)
    }

    private func writeDense(_ name: String, _ prefix: String, _ matrix: any StoredMatrix) throws {
        let type = matrix.format.values
        let (rows, columns) = (matrix.rows, matrix.columns)
        if let bytes = (matrix as? DenseMatrix)?.numberBytes {
            return try file.write(name, type: type.elementType, shape: [rows, columns], bytes: bytes)
        }
        if type != .int8 && type != .int4 { return try file.write(name, matrix.densified(), as: type.elementType) }
        let weight = CompressedWeight(matrix)
        if type == .int8 {
            try file.write(name, type: .i8, shape: [rows, columns], values: weight.values)
        } else {
            try file.write(
                "\(prefix).weight_packed", type: .i32, shape: [rows, (columns + 7) / 8],
                values: PackedNibbles.words(weight.values, rows: rows, columns: columns))
            try file.write(
                "\(prefix).weight_shape", type: .i64, shape: [2], values: [Int64(rows), Int64(columns)])
        }
        try writeScales(prefix, weight, type, rows: rows)
    }

    private func writeSparse(_ prefix: String, _ matrix: any StoredMatrix) throws {
        let type = matrix.format.values
        let (rows, columns) = (matrix.rows, matrix.columns)
        if layout == .twoOfFour && !SparseLayout.holdsTwoOfFour(matrix) {
            throw LacunaError.invalidArgument(
                prefix + ".weight",
                reason: "a \(matrix.format) matrix of shape [\(rows), \(columns)] does not fit "
                    + "the 2:4 layout")
        }
        let weight = CompressedWeight(matrix)
        let kept = weight.mask.count
        let shape = [Int64(rows), Int64(columns)]
        try file.write(
            "\(prefix).bitmask", type: .u8, shape: [rows, CompressedWeight.maskRowBytes(columns: columns)],
            values: weight.maskBytes)
        switch layout {
        case .twoOfFour:
            try file.write("\(prefix).shape", type: .i64, shape: [2, 1], values: shape)
            try file.write(
                "\(prefix).compressed", type: type.elementType, shape: [rows, columns / 2], values: weight.values)
        case .bitmask:
            try file.write("\(prefix).shape", type: .i64, shape: [2], values: shape)
            try file.write("\(prefix).row_offsets", type: .i64, shape: [rows], values: weight.rowOffsets)
            if type == .int4 {
                try file.write(
                    "\(prefix).compressed_int4", type: .u8, shape: [weight.values.count], values: weight.values)
            } else {
                try file.write("\(prefix).compressed", type: type.elementType, shape: [kept], values: weight.values)
            }
        }
        try writeScales(prefix, weight, type, rows: rows)
    }

    private func writeScales(_ prefix: String, _ weight: CompressedWeight, _ type: ValueType, rows: Int) throws {
        guard type == .int8 || type == .int4 else { return }
        let perRow = rows == 0 ? 1 : weight.scales.count / rows
        try file.write(
            "\(prefix).weight_scale", Tensor(weight.scales, shape: [rows, perRow]), as: type == .int8 ? .f32 : .bf16)
    }

    private func writeBytes(_ name: String, _ matrix: any StoredMatrix) throws {
        guard let matrix = matrix as? any OpaqueMatrix else {
            throw LacunaError.unsupported(file: file.path, what: "writing a \(matrix.format) matrix")
        }
        let bytes = matrix.bytes
        try file.write(
            name, type: .u8, shape: [matrix.rows, matrix.rows == 0 ? 0 : bytes.count / matrix.rows], bytes: bytes)
    }

    /// Completes `model.safetensors` and writes `config.json`: `configuration` with what describes the compression.
    public func finish(configuration: JSONObject) throws {
        try file.finish()
        var configuration = configuration
        configuration["quantization_config"] = summary.quantizationConfiguration(layout)
        configuration["lacuna"] = summary.lacuna
        try AtomicFile.write(
            JSONValue.object(configuration).serialized(.pretty), to: FileSystem.join(directory, "config.json"))
    }
}

/// How the factors of a product are called in a checkpoint.
enum ProductFactors {
    static func name(_ prefix: String, _ index: Int) -> String { "\(prefix).factors.\(index).weight" }
}

/// Eight 4-bit codes in a 32-bit word, as `pack-quantized` has them: code + 8, the first in the lowest bits, every row
/// filled up with zeros to whole words.
enum PackedNibbles {
    /// From two's-complement codes, two to a byte, rows following each other without gap.
    static func words(_ nibbles: [UInt8], rows: Int, columns: Int) -> [UInt32] {
        let width = (columns + 7) / 8
        var words = [UInt32](repeating: 0, count: rows * width)
        for row in 0..<rows {
            for c in 0..<columns {
                let i = row * columns + c
                let code = nibbles[i / 2] >> UInt8(i % 2 * 4) & 15
                words[row * width + c / 8] |= UInt32(code ^ 8) << UInt32(c % 8 * 4)
            }
        }
        return words
    }

    /// The code (-8...7) of column `c` in a row of packed words.
    @inline(__always) static func code(_ row: UnsafeRawPointer, _ c: Int) -> Int {
        Int(row.load(fromByteOffset: c / 2, as: UInt8.self) >> UInt8(c % 2 * 4) & 15) - 8
    }
}
