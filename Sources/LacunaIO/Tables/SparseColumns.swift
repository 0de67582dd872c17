import LacunaTensor

/// A sparse matrix as files of numbers give it: for each column its values and their ascending row numbers.
public struct SparseColumns: Sendable, Equatable {
    public let rows: Int
    /// Where each column begins; columns + 1 entries.
    public let start: [Int]
    public let index: [UInt32]
    public let values: [Double]

    public var columns: Int { start.count - 1 }

    /// From entries in any order inside `rows` by `columns`; those at the same place are added up.
    init(rows: Int, columns: Int, entries: [(row: UInt32, column: UInt32, value: Double)]) {
        // Two stable counting sorts: by row, then by column.
        func sorted(
            _ entries: [(row: UInt32, column: UInt32, value: Double)], _ count: Int,
            _ key: (row: Bool, Void)
        ) -> [(row: UInt32, column: UInt32, value: Double)] {
            var place = [Int](repeating: 0, count: count + 1)
            for entry in entries { place[Int(key.row ? entry.row : entry.column) + 1] += 1 }
            for i in 0..<count { place[i + 1] += place[i] }
            var result = entries
            for entry in entries {
                let k = Int(key.row ? entry.row : entry.column)
                result[place[k]] = entry
                place[k] += 1
            }
            return result
        }
        var start = [Int](repeating: 0, count: columns + 1)
        var (index, values): ([UInt32], [Double]) = ([], [])
        index.reserveCapacity(entries.count)
        values.reserveCapacity(entries.count)
        var last: (row: UInt32, column: UInt32)?
        for entry in sorted(sorted(entries, rows, (true, ())), columns, (false, ())) {
            if let last, last == (entry.row, entry.column) {
                values[values.count - 1] += entry.value
            } else {
                index.append(entry.row)
                values.append(entry.value)
                start[Int(entry.column) + 1] += 1
            }
            last = (entry.row, entry.column)
        }
        for j in 0..<columns { start[j + 1] += start[j] }
        self.rows = rows
        self.start = start
        self.index = index
        self.values = values
    }
}

/// Reads lines and words of a text file's bytes, and knows where it is.
struct TextScanner {
    let file: String
    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private(set) var line = 0

    init(_ bytes: UnsafeRawBufferPointer, file: String) {
        self.bytes = bytes
        self.file = file
    }

    /// The next line without its end; nil after the last.
    mutating func nextLine() -> UnsafeRawBufferPointer? {
        if position >= bytes.count { return nil }
        line += 1
        let begin = position
        while position < bytes.count && bytes[position] != 0x0A { position += 1 }
        var end = position
        position += 1
        if end > begin && bytes[end - 1] == 0x0D { end -= 1 }
        return UnsafeRawBufferPointer(rebasing: bytes[begin..<end])
    }

    func failure(_ reason: String) -> LacunaError {
        .malformed(file: file, location: "line \(line)", reason: reason)
    }

    /// The words of a line: what is between blanks.
    static func words(_ line: UnsafeRawBufferPointer) -> [Substring] {
        var result: [Substring] = []
        var i = 0
        while i < line.count {
            while i < line.count && (line[i] == 0x20 || line[i] == 0x09) { i += 1 }
            let begin = i
            while i < line.count && line[i] != 0x20 && line[i] != 0x09 { i += 1 }
            if i > begin { result.append(Substring(decoding: line[begin..<i], as: UTF8.self)) }
        }
        return result
    }

    /// Text for an error message, not too long.
    static func quoted(_ text: some StringProtocol) -> String {
        text.count <= 40 ? "'\(text)'" : "'\(text.prefix(37))…'"
    }
}
