import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

/// A layout from outside: the signs of a matrix, a byte for four columns.
private struct SignLayout: StoreLayout {
    var name: String { "signs" }
    static func parse(_ name: String) -> SignLayout? { name == "signs" ? SignLayout() : nil }
    func formatName(_ values: ValueType) -> String { name }
    var fixedValues: ValueType? { .int8 }
    func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        StoreSize(storedCount: mask.rows * mask.columns, byteCount: mask.rows * mask.columns / 4)
    }
    var costs: StorageCosts.Layout { DenseLayout().costs }
    func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        var bytes = [UInt8](repeating: 0, count: source.rows * source.columns / 4)
        for row in 0..<source.rows {
            source.withRow(row) { columns, values in
                for (column, value) in zip(columns, values) {
                    let place = row * source.columns + Int(column)
                    bytes[place / 4] |= (value > 0 ? 1 : value < 0 ? 2 : 0) << UInt8(place % 4 * 2)
                }
            }
        }
        return SignMatrix(bytes, rows: source.rows, columns: source.columns)
    }
    static var opaqueTensor: String? { "sign_bytes" }
    func columns(bytesPerRow: Int) -> Int? { bytesPerRow * 4 }
    func make(bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) throws -> any StoredMatrix {
        SignMatrix(Array(bytes), rows: rows, columns: columns)
    }
}

private final class SignMatrix: OpaqueMatrix, @unchecked Sendable {
    let rows: Int
    let columns: Int
    private let signs: Buffer<UInt8>

    init(_ bytes: [UInt8], rows: Int, columns: Int) {
        (self.rows, self.columns) = (rows, columns)
        signs = Buffer(bytes)
    }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(signs.elements) }
    var format: StorageFormat { StorageFormat(StorageLayout(SignLayout()), .int8) }
    var storedCount: Int { rows * columns }
    var byteCount: Int { bytes.count }
    var inputEncoding: InputEncoding { .float }

    private func value(_ row: Int, _ column: Int) -> Float {
        let place = row * columns + column
        return [0, 1, -1, 0][Int(bytes[place / 4] >> UInt8(place % 4 * 2) & 3)]
    }

    func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        for r in rows {
            output[r - rows.lowerBound] = (0..<columns).reduce(0) { $0 + value(r, $1) * input.floats[$1] }
        }
    }

    func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        for r in rows { for c in 0..<columns { output[(r - rows.lowerBound) * columns + c] = value(r, c) } }
    }
}

@Suite struct OwnLayoutTests {
    /// What a layout from outside stores goes into checkpoints and comes back, with nothing known of it but its name.
    @Test func checkpointsHoldItsBytes() throws {
        StoreLayouts.register(SignLayout.self)
        var generator = SeededGenerator(seed: 3)
        let weight = Tensor<Float>(normal: [7, 24], using: &generator)
        let layout = try #require(StorageLayout("signs"))
        let matrix = try WeightStore.make(weight, layout: layout, values: .int8)
        let scratch = try Scratch()
        let writer = try CheckpointWriter(directory: scratch.path)
        try writer.write("p.weight", matrix)
        try writer.finish(configuration: JSONObject())

        let checkpoint = try SparseCheckpoint(directory: scratch.path)
        #expect(checkpoint.names == ["p.weight"] && checkpoint.source.contains("p.sign_bytes"))
        #expect(try checkpoint.shape(of: "p.weight") == [7, 24])
        let copy = try checkpoint.matrix("p.weight")
        #expect(copy is SignMatrix && copy.format == matrix.format && copy.densified() == matrix.densified())
        let signs = weight.scalars.map { $0 > 0 ? Float(1) : -1 }
        #expect(try checkpoint.float("p.weight").scalars == signs)
        #expect(try checkpoint.matrix("p.weight", values: .bf16).format == StorageFormat(.dense, .bf16))
        // No other program can read them, so none is told to.
        let configuration = try FileSystem.readText(FileSystem.join(scratch.path, "config.json"))
        #expect(configuration.contains("\"signs\"") && !configuration.contains("compressed-tensors"))
    }
}
