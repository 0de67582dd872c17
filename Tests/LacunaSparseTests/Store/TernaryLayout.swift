import LacunaSparse
import LacunaTensor

/// A layout and a type of values as somebody outside the library would write them: signs and a scale for every row, two
/// bytes of 8 columns each for what is plus and what is minus.
struct TernaryLayout: StoreLayout {
    var name: String { "ternary" }
    static func parse(_ name: String) -> TernaryLayout? { name == "ternary" ? TernaryLayout() : nil }
    func formatName(_ values: ValueType) -> String { name }
    var fixedValues: ValueType? { .f32 }
    /// For one shape alone: other tests of this process plan too.
    static func candidates(for mask: SparsePattern) -> [TernaryLayout] { mask.rows == 61 ? [TernaryLayout()] : [] }
    func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        StoreSize(storedCount: mask.count, byteCount: mask.rows * ((mask.columns + 7) / 8 * 2 + 4))
    }
    var costs: StorageCosts.Layout {
        StorageCosts.Layout(entryNanoseconds: 0.001, valueNanoseconds: 0, rate16: 1e13, rate128: 1e13)
    }
    func densityLimit(_ values: ValueType) -> Double { 1 }

    func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        try TernaryMatrix(source)
    }

    static var opaqueTensor: String? { "ternary" }
    func columns(bytesPerRow: Int) -> Int? { nil }
}

/// Entries are a row's scale, its negative, or 0.
final class TernaryMatrix: PanelMatrix, Sendable {
    let rows: Int
    let columns: Int
    let storedCount: Int
    private let scales: [Float]
    /// The columns that count as plus, and as minus.
    private let plus: [[Int]]
    private let minus: [[Int]]
    /// How often the panel kernel ran.
    let panelCalls = Locked(0)

    init(_ source: some RowSource) throws {
        var (scales, plus, minus) = ([Float](), [[Int]](), [[Int]]())
        for row in 0..<source.rows {
            source.withRow(row) { columns, values in
                let scale = values.isEmpty ? 0 : values.reduce(0) { $0 + abs($1) } / Float(values.count)
                scales.append(scale)
                plus.append(zip(columns, values).filter { $0.1 > 0 }.map { Int($0.0) })
                minus.append(zip(columns, values).filter { $0.1 < 0 }.map { Int($0.0) })
            }
        }
        (rows, columns) = (source.rows, source.columns)
        (self.scales, self.plus, self.minus) = (scales, plus, minus)
        storedCount = plus.reduce(0) { $0 + $1.count } + minus.reduce(0) { $0 + $1.count }
    }

    var format: StorageFormat { StorageFormat(StorageLayout(TernaryLayout()), .f32) }
    var byteCount: Int { rows * ((columns + 7) / 8 * 2 + 4) }
    var inputEncoding: InputEncoding { .float }
    var keptEntries: SparsePattern {
        SparsePattern(rows: rows, columns: columns) { r, c in plus[r].contains(c) || minus[r].contains(c) }
    }

    func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        let x = input.floats
        for r in rows {
            let sum = plus[r].reduce(0) { $0 + x[$1] } - minus[r].reduce(0) { $0 + x[$1] }
            output[r - rows.lowerBound] = scales[r] * sum
        }
    }

    func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        output.update(repeating: 0, count: rows.count * columns)
        for r in rows {
            let row = output + (r - rows.lowerBound) * columns
            for c in plus[r] { row[c] = scales[r] }
            for c in minus[r] { row[c] = -scales[r] }
        }
    }

    var hasPanelKernel: Bool { true }

    func multiply(panel x: InputPanel, block: Int, rows: Range<Int>, into tile: OutputPanel) {
        panelCalls.withLock { $0 += 1 }
        for r in rows {
            let sums = tile[r - rows.lowerBound]
            for t in 0..<x.width {
                let sum = plus[r].reduce(0) { $0 + x[$1][t] } - minus[r].reduce(0) { $0 + x[$1][t] }
                sums[t] = scales[r] * sum
            }
        }
    }
}
