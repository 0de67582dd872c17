import LacunaSparse
import LacunaTensor

/// Labels and sparse features in the text format of SVMlight and LIBSVM: `label [qid:n] index:value … [# comment]` a line.
public struct SvmlightFile: Sendable, Equatable {
    /// The label of every row.
    public let labels: [Double]
    /// [labels, features].
    public let features: SparseMatrix<Double>
    /// Whether the file counts features from 0; else from 1. Column `j` is the file's index `j`, or `j + 1`.
    public let isZeroBased: Bool

    /// - Parameter maximumColumns: More columns are an error: a hostile index must not cost memory.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` with the line, for anything that is no number, and for
    ///   indices that do not ascend.
    public init(contentsOf path: String, maximumColumns: Int = 1 << 28) throws {
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
        if !isZeroBased { for i in columnIndices.indices { columnIndices[i] -= 1 } }
        self.labels = labels
        features = try SparseMatrix(
            rows: labels.count, columns: isZeroBased ? largest + 1 : max(largest, 0), rowIndices: rowIndices,
            columnIndices: columnIndices, values: values)
    }
}
