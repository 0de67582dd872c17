import LacunaSparse
import LacunaTensor

/// Some columns of a sparse matrix that may announce a thousand times as many: found by a bit for each, so that those which are
/// not wanted take next to nothing.
struct OccupiedColumns {
    private let columns: Int
    /// One for each column that is kept.
    private let bits: Buffer<UInt64>
    /// How many are kept.
    private(set) var count = 0

    /// These columns, ascending, each once.
    init(_ chosen: [Int], of columns: Int) {
        self.init(columns: columns)
        for column in chosen { keep(column) }
    }

    /// The columns of a matrix that have entries.
    init(of matrix: SparseMatrix<Double>) {
        self.init(columns: matrix.columns)
        matrix.pattern.withCompressedRows { _, indices in
            for index in indices { keep(Int(index)) }
        }
    }

    private init(columns: Int) {
        self.columns = columns
        bits = Buffer(repeating: 0, count: (columns + 63) / 64)
    }

    private mutating func keep(_ column: Int) {
        require((0..<columns).contains(column), "column \(column) of \(columns)")
        let bit = UInt64(1) << UInt64(column % 64)
        if bits.pointer[column / 64] & bit == 0 { count += 1 }
        bits.pointer[column / 64] |= bit
    }

    /// The columns that are kept, ascending.
    var indices: [Int] {
        var result: [Int] = []
        result.reserveCapacity(count)
        for word in 0..<bits.count {
            var left = bits.pointer[word]
            while left != 0 {
                result.append(64 * word + left.trailingZeroBitCount)
                left &= left - 1
            }
        }
        return result
    }

    /// These columns of a matrix.
    ///
    /// - Complexity: O(columns / 64 + rows + entries).
    func selected(of matrix: SparseMatrix<Double>) -> SparseMatrix<Double> {
        require(matrix.columns == columns, "a matrix of \(matrix.columns) columns, not \(columns)")
        let ranks = Buffer<UInt32>(uninitialized: bits.count)
        var rank: UInt32 = 0
        for word in 0..<bits.count {
            ranks.pointer[word] = rank
            rank += UInt32(truncatingIfNeeded: bits.pointer[word].nonzeroBitCount)
        }
        let starts = Buffer<Int>(uninitialized: matrix.rows + 1)
        let places = Buffer<UInt32>(uninitialized: matrix.count)
        let values = Buffer<Double>(uninitialized: matrix.count)
        var total = 0
        starts.pointer[0] = 0
        matrix.pattern.withCompressedRows { oldStarts, oldPlaces in
            matrix.withValues { oldValues in
                for row in 0..<matrix.rows {
                    for j in oldStarts[row]..<oldStarts[row + 1] {
                        let column = Int(oldPlaces[j])
                        let (word, bit) = (bits.pointer[column / 64], UInt64(1) << UInt64(column % 64))
                        if word & bit == 0 { continue }
                        places.pointer[total] =
                            ranks.pointer[column / 64] + UInt32(truncatingIfNeeded: (word & (bit - 1)).nonzeroBitCount)
                        values.pointer[total] = oldValues[j]
                        total += 1
                    }
                    starts.pointer[row + 1] = total
                }
            }
        }
        let pattern = SparsePattern(
            rows: matrix.rows, columns: count, starts: starts, columnIndices: Buffer(first: total, of: places))
        return SparseMatrix(pattern, buffer: Buffer(first: total, of: values))
    }
}
