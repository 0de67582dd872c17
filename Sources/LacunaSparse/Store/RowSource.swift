import LacunaTensor

/// The rows of a sparse matrix, one by one: what stores are made from, so that none is made through a dense copy.
///
/// Rows are asked for from several threads at once, and more than once.
public protocol RowSource: Sendable {
    /// Number of rows.
    var rows: Int { get }
    /// Number of columns.
    var columns: Int { get }
    /// Entries of all rows.
    var count: Int { get }
    /// Entries of one row.
    func count(row: Int) -> Int
    /// Calls `body` with the columns of a row's entries, ascending, and their values.
    func withRow(
        _ row: Int, _ body: (_ columns: UnsafeBufferPointer<UInt32>, _ values: UnsafeBufferPointer<Float>) -> Void)
}

extension RowSource {
    public var count: Int { (0..<rows).reduce(0) { $0 + count(row: $1) } }

    /// Calls `body` with every row, on the thread pool unless `serially`.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a row whose columns do not ascend within the matrix, or that has not as
    ///   many entries as it said.
    func forEachRow(
        serially: Bool = false,
        _ body: (_ row: Int, _ columns: UnsafeBufferPointer<UInt32>, _ values: UnsafeBufferPointer<Float>) -> Void
    ) throws {
        let broken = Locked<Int?>(nil)
        let width = columns
        let grain = serially ? max(rows, 1) : max(1, (1 << 16) / max(1, rows == 0 ? 1 : count / rows))
        Parallel.forRanges(rows, grain: grain) { range in
            for row in range {
                let expected = count(row: row)
                withRow(row) { columns, values in
                    var isValid = columns.count == expected && values.count == expected
                    var previous = -1
                    for column in columns {
                        isValid = isValid && Int(column) > previous
                        previous = Int(column)
                    }
                    if isValid && previous < width {
                        body(row, columns, values)
                    } else {
                        broken.withLock { $0 = min($0 ?? row, row) }
                    }
                }
            }
        }
        if let row = broken.withLock({ $0 }) {
            throw LacunaError.invalidArgument(
                "rows", reason: "row \(row) is no list of ascending columns below \(width) with a value each")
        }
    }

    /// - Throws: `LacunaError.invalidArgument` for sizes that are negative or that 32-bit columns do not number.
    func checkShape() throws {
        guard rows >= 0, columns >= 0, columns <= Int(Int32.max),
            !rows.multipliedReportingOverflow(by: columns).overflow
        else {
            throw LacunaError.invalidArgument("shape", reason: "[\(rows), \(columns)] is out of range")
        }
    }
}

/// A dense tensor seen through a mask.
public struct DenseRows: RowSource {
    private let weight: Tensor<Float>
    private let mask: SparsePattern?
    /// 0, 1, 2, …: the columns of a row that is whole.
    private let all: Buffer<UInt32>

    /// - Parameter mask: The entries; nil for all.
    /// - Throws: `LacunaError.invalidArgument` if the tensor is no matrix or the mask has another shape.
    public init(_ weight: Tensor<Float>, mask: SparsePattern? = nil) throws {
        guard weight.rank == 2 else {
            throw LacunaError.invalidArgument("weight", reason: "shape \(weight.shape) is not a matrix")
        }
        if let mask, mask.rows != weight.rows || mask.columns != weight.columns {
            throw LacunaError.invalidArgument(
                "mask", reason: "shape [\(mask.rows), \(mask.columns)] for a weight of shape \(weight.shape)")
        }
        self.weight = weight
        self.mask = mask
        all = Buffer(mask == nil ? (0..<weight.columns).map { UInt32($0) } : [])
    }

    public var rows: Int { weight.rows }
    public var columns: Int { weight.columns }
    public var count: Int { mask?.count ?? weight.count }
    public func count(row: Int) -> Int { mask?.keptCount(row: row) ?? weight.columns }

    public func withRow(
        _ row: Int, _ body: (_ columns: UnsafeBufferPointer<UInt32>, _ values: UnsafeBufferPointer<Float>) -> Void
    ) {
        let width = columns
        weight.withPointer { p in
            let values = UnsafeBufferPointer(start: p + row * width, count: width)
            guard let mask else { return body(UnsafeBufferPointer(all.elements), values) }
            withUnsafeTemporaryAllocation(of: UInt32.self, capacity: width) { columns in
                withUnsafeTemporaryAllocation(of: Float.self, capacity: width) { kept in
                    var count = 0
                    mask.forEachKeptColumn(row: row) { column in
                        columns[count] = UInt32(column)
                        kept[count] = values[column]
                        count += 1
                    }
                    body(
                        UnsafeBufferPointer(rebasing: columns[..<count]), UnsafeBufferPointer(rebasing: kept[..<count]))
                }
            }
        }
    }
}

extension SparseMatrix: RowSource where Scalar == Float {
    public func count(row: Int) -> Int { pattern.entries(row: row).count }

    public func withRow(
        _ row: Int, _ body: (_ columns: UnsafeBufferPointer<UInt32>, _ values: UnsafeBufferPointer<Float>) -> Void
    ) {
        let entries = pattern.entries(row: row)
        pattern.withCompressedRows { _, columns in
            body(
                UnsafeBufferPointer(rebasing: columns[entries]),
                UnsafeBufferPointer(rebasing: buffer.elements[entries]))
        }
    }
}

extension SparsePattern {
    /// The entries of a matrix.
    ///
    /// - Throws: `LacunaError.invalidArgument` for rows that are out of order.
    init(_ source: some RowSource) throws {
        try source.checkShape()
        var failure: (any Error)?
        self.init(
            rows: source.rows, columns: source.columns,
            words: { words, wordsPerRow in
                do {
                    try source.forEachRow { row, columns, _ in
                        for column in columns {
                            words[row * wordsPerRow + Int(column) / 64] |= 1 << UInt64(column % 64)
                        }
                    }
                } catch { failure = error }
            })
        if let failure { throw failure }
    }
}
