import LacunaSparse
import LacunaTensor

/// Labels and sparse features in the text format of SVMlight and LIBSVM: `label [qid:n] index:value … [# comment]` a line.
public struct SvmlightFile: Sendable, Equatable {
    /// The label of every row.
    public let labels: [Double]
    /// [labels, features].
    public let features: SparseMatrix<Double>
    /// Whether the file counts features from 0; else from 1.
    public let isZeroBased: Bool
    /// The file's index of each column, ascending: all from the first to the largest, or, where those are many more than the
    /// file has entries, the ones that occur.
    public let indices: [Int]

    /// - Parameters:
    ///   - maximumColumns: A larger index is an error.
    ///   - columns: The indices to have columns for, ascending, whether or not they occur: those of a model. Other features of
    ///     the file are left out. Nil for those of the file.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` with the line, for anything that is no number, and for
    ///   indices that do not ascend.
    public init(contentsOf path: String, maximumColumns: Int = 1 << 28, columns: [Int]? = nil) throws {
        let bytes = try FileSystem.readBytes(path)
        var labels: [Double] = []
        // Lines and colons are counted first: lists that grow would take up to three times the memory.
        var (lines, colons) = (1, 0)
        for byte in bytes {
            if byte == UInt8(ascii: "\n") { lines += 1 }
            if byte == UInt8(ascii: ":") { colons += 1 }
        }
        labels.reserveCapacity(lines)
        let starts = try Buffer<Int>(checking: lines + 1, for: "the rows of \(path)")
        let places = try Buffer<UInt32>(checking: colons, for: "the entries of \(path)")
        let values = try Buffer<Double>(checking: colons, for: "the entries of \(path)")
        starts.pointer[0] = 0
        var count = 0
        var (largest, smallest) = (-1, Int.max)
        try bytes.withUnsafeBytes { raw in
            var scanner = TextScanner(raw, file: path)
            while let line = scanner.nextLine() {
                let end = line.firstIndex(of: UInt8(ascii: "#")) ?? line.count
                var words = TextScanner.Words(UnsafeRawBufferPointer(rebasing: line[..<end]))
                guard let first = words.next() else { continue }
                guard let label = TextScanner.decimal(first) else {
                    throw scanner.failure("the label \(TextScanner.quoted(first)) is not a number")
                }
                guard labels.count < SparsePattern.maximumSide else { throw scanner.failure("there are too many rows") }
                var before = -1
                while let word = words.next() {
                    if word.hasPrefix("qid:") { continue }
                    guard let colon = word.firstIndex(of: ":"), let index = Int(word[..<colon]), index >= 0,
                        let value = TextScanner.decimal(word[word.index(after: colon)...])
                    else {
                        throw scanner.failure("\(TextScanner.quoted(word)) is not index:value with finite numbers")
                    }
                    guard index > before else {
                        throw scanner.failure("index \(index) follows \(before); indices must ascend")
                    }
                    guard index <= maximumColumns else {
                        throw scanner.failure("index \(index) is above the limit of \(maximumColumns)")
                    }
                    before = index
                    (largest, smallest) = (max(largest, index), min(smallest, index))
                    if value != 0 {
                        (places.pointer[count], values.pointer[count]) = (UInt32(truncatingIfNeeded: index), value)
                        count += 1
                    }
                }
                labels.append(label)
                starts.pointer[labels.count] = count
            }
        }
        if labels.isEmpty { throw LacunaError.malformed(file: path, location: "line 1", reason: "there are no rows") }
        isZeroBased = smallest == 0
        self.labels = labels
        if let columns {
            indices = columns
        } else {
            let first = isZeroBased ? 0 : 1
            let span = max(0, largest + 1 - first)
            // A hostile index must not cost memory.
            indices =
                span <= count + 1 << 16
                ? Array(first..<first + span)
                : Self.different(UnsafeBufferPointer(start: places.pointer, count: count))
        }
        let kept = Self.renumber(indices, rows: labels.count, starts, places, values)
        let pattern = SparsePattern(
            rows: labels.count, columns: indices.count, starts: Buffer(first: labels.count + 1, of: starts),
            columnIndices: Buffer(first: kept, of: places))
        features = SparseMatrix(pattern, buffer: Buffer(first: kept, of: values))
    }

    /// The numbers that occur, ascending.
    private static func different(_ numbers: UnsafeBufferPointer<UInt32>) -> [Int] {
        var result: [Int] = []
        var before: UInt32?
        for number in numbers.sorted() where number != before {
            result.append(Int(number))
            before = number
        }
        return result
    }

    /// Puts the place among `indices` where the index of an entry is, and closes up over entries of others. Returns how many
    /// entries are kept.
    private static func renumber(
        _ indices: [Int], rows: Int, _ starts: Buffer<Int>, _ places: Buffer<UInt32>, _ values: Buffer<Double>
    ) -> Int {
        let (first, last) = (indices.first ?? 0, indices.last ?? -1)
        let isWhole = last - first + 1 == indices.count
        /// Nil for an index that is not wanted.
        func place(_ index: Int) -> Int? {
            guard index >= first, index <= last else { return nil }
            if isWhole { return index - first }
            var (low, high) = (0, indices.count)
            while low < high {
                let middle = (low + high) / 2
                if indices[middle] < index { low = middle + 1 } else { high = middle }
            }
            return indices[low] == index ? low : nil
        }
        var (kept, begin) = (0, 0)
        for row in 0..<rows {
            let end = starts.pointer[row + 1]
            for k in begin..<end {
                guard let place = place(Int(places.pointer[k])) else { continue }
                (places.pointer[kept], values.pointer[kept]) = (UInt32(truncatingIfNeeded: place), values.pointer[k])
                kept += 1
            }
            begin = end
            starts.pointer[row + 1] = kept
        }
        return kept
    }
}
