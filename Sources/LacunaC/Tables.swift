import LacunaRegress
import LacunaSparse
import LacunaTensor

/// Columns, and what was put beside them.
final class TableObject: @unchecked Sendable {
    let design: any Design
    var target: [Double]?
    var weights: [Double]?
    var events: [Bool]?
    var folds: [Int]?

    init(_ design: any Design) throws {
        guard design.rows > 0 && design.columns > 0 else {
            throw refused("table", "has \(design.rows) rows and \(design.columns) columns, which leaves nothing to fit")
        }
        self.design = design
    }

    var table: Table {
        get throws { try Table(design, target: target, events: events, weights: weights, folds: folds) }
    }
}

extension DenseDesign {
    /// The caller's numbers: in place if they are whole columns that may be borrowed, else copied.
    static func foreign(
        _ values: UnsafePointer<Double>?, rows: Int, columns: Int, rowStride: Int, columnStride: Int, borrowed: Bool
    ) throws -> DenseDesign {
        guard rows <= SparsePattern.maximumSide, columns <= SparsePattern.maximumSide else {
            throw refused("shape", "[\(rows), \(columns)]: each side must be at most \(SparsePattern.maximumSide)")
        }
        let isWhole = rowStride == 1 && (columnStride == rows || columns == 1)
        // What stays where it is takes no memory, unless it is more than there can be.
        let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
        if !isWhole || !borrowed || overflow || count >= 1 << 48 {
            try MachineMemory.require(
                shape: [rows, columns], of: Double.self, for: "a table of \(rows) rows and \(columns) columns")
        }
        if isWhole {
            return try DenseDesign(
                .foreign(values, count: count, borrowed: borrowed, for: "values"), rows: rows,
                columns: columns)
        }
        let numbers = try Arguments.numbers(UnsafeRawPointer(values), of: Double.self, "values")
        for (length, step, name) in [(rows, rowStride, "row_stride"), (columns, columnStride, "column_stride")] {
            let (reach, overflow) = length.multipliedReportingOverflow(by: step)
            guard !overflow, reach.magnitude < 1 << 58 else { throw refused(name, "is \(step) for \(length) numbers") }
        }
        let copy = try Buffer<Double>(checking: count, for: "values")
        // Tiles keep both the reads and the writes inside a few cache lines.
        let (tile, target) = (32, copy.pointer)
        Parallel.forRanges(columns, grain: max(tile, 65_536 / rows / tile * tile)) { range in
            for i0 in stride(from: 0, to: rows, by: tile) {
                for j in range {
                    let source = numbers + j * columnStride
                    for i in i0..<min(i0 + tile, rows) { target[j * rows + i] = source[i * rowStride] }
                }
            }
        }
        return DenseDesign(copy, rows: rows, columns: columns)
    }
}

/// See lacuna.h.
@_cdecl("lacuna_table_dense")
public func lacunaTableDense(
    _ values: UnsafePointer<Double>?, _ rows: Int64, _ columns: Int64, _ rowStride: Int64, _ columnStride: Int64,
    _ borrow: Int32, _ table: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        try give(
            TableObject(
                DenseDesign.foreign(
                    values, rows: Arguments.count(rows, "rows", atLeast: 1),
                    columns: Arguments.count(columns, "columns", atLeast: 1), rowStride: Int(rowStride),
                    columnStride: Int(columnStride), borrowed: borrow != 0)),
            table, "table")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_table_sparse")
public func lacunaTableSparse(
    _ byRows: Int32, _ rows: Int64, _ columns: Int64, _ count: Int64, _ startBits: Int32,
    _ starts: UnsafeRawPointer?, _ indexBits: Int32, _ indices: UnsafeRawPointer?, _ values: UnsafePointer<Double>?,
    _ borrow: Int32, _ table: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let isByRows = byRows != 0
        // Compressed columns are the compressed rows of the transpose.
        let pattern = try SparsePattern.foreign(
            rows: isByRows ? rows : columns, columns: isByRows ? columns : rows, count: count, startBits: startBits,
            starts, indexBits: indexBits, indices, borrowed: borrow != 0)
        let matrix = try SparseMatrix<Double>(
            pattern,
            buffer: .foreign(values, count: pattern.count, borrowed: borrow != 0, for: "values"))
        try give(
            TableObject(SparseDesign(transpose: isByRows ? matrix.transposed() : matrix)), table, "table")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_table_set")
public func lacunaTableSet(
    _ table: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ values: UnsafePointer<Double>?, _ count: Int64
) -> Int32 {
    guarded {
        let table = try Objects.get(table, TableObject.self, "table")
        let name = try Arguments.text(name, "name")
        let numbers = values == nil ? nil : try Arguments.copy(values, count, name)
        if let numbers, numbers.count != table.design.rows {
            throw refused(name, "are \(numbers.count) for \(table.design.rows) rows")
        }
        switch name {
        case "target": table.target = numbers
        case "weights": table.weights = numbers
        case "events": table.events = numbers?.map { $0 != 0 }
        case "folds": table.folds = try numbers?.map { try Arguments.integer($0, name) }
        default: throw refused("name", "'\(name)' is not target, weights, events or folds")
        }
    }
}
