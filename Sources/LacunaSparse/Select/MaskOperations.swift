import LacunaTensor

extension Mask: CustomStringConvertible {
    public var description: String { "mask of \(rows) x \(columns), \(keptCount) kept" }
}

extension Mask {
    private func combined(with other: Mask, _ operation: (UInt64, UInt64) -> UInt64) -> Mask {
        precondition(
            rows == other.rows && columns == other.columns,
            "masks of \(rows) x \(columns) and \(other.rows) x \(other.columns)")
        var result = self
        for i in words.indices { result.words[i] = operation(words[i], other.words[i]) }
        return result
    }

    /// Keeps what both keep. The shapes must agree.
    public func intersection(_ other: Mask) -> Mask { combined(with: other, &) }
    /// Keeps what either keeps. The shapes must agree.
    public func union(_ other: Mask) -> Mask { combined(with: other, |) }
    /// Keeps what this mask keeps and `other` does not. The shapes must agree.
    public func subtracting(_ other: Mask) -> Mask { combined(with: other) { $0 & ~$1 } }

    /// Keeps what this mask removes.
    public func inverted() -> Mask {
        var result = self
        for i in words.indices { result.words[i] = ~words[i] }
        result.clearSlack()
        return result
    }

    /// The mask of the transposed matrix.
    public func transposed() -> Mask {
        var result = Mask(rows: columns, columns: rows)
        for row in 0..<rows {
            let (word, bit) = (row / 64, UInt64(1) << UInt64(row % 64))
            forEachKeptColumn(row: row) { result.words[$0 * result.wordsPerRow + word] |= bit }
        }
        return result
    }

    /// Sets the removed entries of `matrix` [rows, columns] to 0, whatever they were.
    public func apply<Scalar: TensorScalar>(to matrix: inout Tensor<Scalar>) {
        precondition(matrix.shape == [rows, columns], "a mask of \(rows) x \(columns) for shape \(matrix.shape)")
        let (columns, wordsPerRow) = (columns, wordsPerRow)
        matrix.withMutablePointer { p in
            words.withUnsafeBufferPointer { words in
                Parallel.forRanges(rows, grain: max(1, 65536 / max(columns, 1))) { range in
                    for row in range {
                        for word in 0..<wordsPerRow {
                            let start = p + row * columns + word * 64
                            var removed = ~words[row * wordsPerRow + word]
                            if word == wordsPerRow - 1 { removed &= lastWordBits }
                            while removed != 0 {
                                start[removed.trailingZeroBitCount] = 0
                                removed &= removed - 1
                            }
                        }
                    }
                }
            }
        }
    }

    /// `matrix` with its removed entries set to 0.
    public func applied<Scalar: TensorScalar>(to matrix: Tensor<Scalar>) -> Tensor<Scalar> {
        var result = matrix
        apply(to: &result)
        return result
    }
}

extension Mask {
    /// The kept columns of one row, in ascending order.
    public struct KeptColumns: Sequence, IteratorProtocol, Sendable {
        private let words: ArraySlice<UInt64>
        private var index: Int
        private var rest: UInt64

        init(_ words: ArraySlice<UInt64>) {
            self.words = words
            index = words.startIndex
            rest = words.first ?? 0
        }

        public mutating func next() -> Int? {
            while rest == 0 {
                if index + 1 >= words.endIndex { return nil }
                index += 1
                rest = words[index]
            }
            defer { rest &= rest - 1 }
            return (index - words.startIndex) * 64 + rest.trailingZeroBitCount
        }
    }

    /// The kept columns of a row, in ascending order.
    public func keptColumns(row: Int) -> KeptColumns {
        KeptColumns(words[row * wordsPerRow..<(row + 1) * wordsPerRow])
    }

    /// Calls `body` with every kept column of a row, in ascending order: the quickest way through a row.
    @inlinable
    public func forEachKeptColumn(row: Int, _ body: (Int) throws -> Void) rethrows {
        for word in 0..<wordsPerRow {
            var rest = words[row * wordsPerRow + word]
            while rest != 0 {
                try body(word * 64 + rest.trailingZeroBitCount)
                rest &= rest - 1
            }
        }
    }

    /// Keeps or removes the columns `range` of a row.
    public mutating func set(row: Int, columns range: Range<Int>, kept: Bool) {
        precondition(row >= 0 && row < rows && range.lowerBound >= 0 && range.upperBound <= columns)
        var column = range.lowerBound
        while column < range.upperBound {
            let (word, bit) = (column / 64, column % 64)
            let count = min(64 - bit, range.upperBound - column)
            let bits = (count == 64 ? ~0 : (UInt64(1) << UInt64(count)) - 1) << UInt64(bit)
            if kept {
                words[row * wordsPerRow + word] |= bits
            } else {
                words[row * wordsPerRow + word] &= ~bits
            }
            column += count
        }
    }
}
