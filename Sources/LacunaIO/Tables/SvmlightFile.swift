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
        var (rowIndices, columnIndices, values): ([UInt32], [UInt32], [Double]) = ([], [], [])
        var (largest, smallest) = (-1, Int.max)
        try bytes.withUnsafeBytes { raw in
            var scanner = TextScanner(raw, file: path)
            while let line = scanner.nextLine() {
                let end = line.firstIndex(of: UInt8(ascii: "#")) ?? line.count
                let words = TextScanner.words(UnsafeRawBufferPointer(rebasing: line[..<end]))
                guard let first = words.first else { continue }
                guard let label = TextScanner.decimal(first) else {
                    throw scanner.failure("the label \(TextScanner.quoted(first)) is not a number")
                }
                guard labels.count < Int(UInt32.max) else { throw scanner.failure("there are too many rows") }
                var before = -1
                for word in words.dropFirst() {
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
                        rowIndices.append(UInt32(labels.count))
                        columnIndices.append(UInt32(index))
                        values.append(value)
                    }
                }
                labels.append(label)
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
                span <= 16 * (values.count + 4096)
                ? Array(first..<first + span) : Set(columnIndices).sorted().map { Int($0) }
        }
        if let first = indices.first, let last = indices.last, last - first + 1 == indices.count {
            var kept = 0
            for k in values.indices where Int(columnIndices[k]) >= first && Int(columnIndices[k]) <= last {
                (rowIndices[kept], values[kept]) = (rowIndices[k], values[k])
                columnIndices[kept] = columnIndices[k] - UInt32(first)
                kept += 1
            }
            rowIndices.removeLast(values.count - kept)
            columnIndices.removeLast(values.count - kept)
            values.removeLast(values.count - kept)
        } else {
            let places = Dictionary(uniqueKeysWithValues: indices.enumerated().map { (UInt32($1), UInt32($0)) })
            var kept = 0
            for k in values.indices {
                guard let place = places[columnIndices[k]] else { continue }
                (rowIndices[kept], columnIndices[kept], values[kept]) = (rowIndices[k], place, values[k])
                kept += 1
            }
            rowIndices.removeLast(values.count - kept)
            columnIndices.removeLast(values.count - kept)
            values.removeLast(values.count - kept)
        }
        features = try SparseMatrix(
            rows: labels.count, columns: indices.count, rowIndices: rowIndices, columnIndices: columnIndices,
            values: values)
    }
}
