import LacunaTensor

/// The fields of a CSV file, as places in its bytes: four bytes a field instead of a string.
final class CSVCells: Sendable {
    let file: String
    let separator: UInt8
    /// Lines before the first record: blank ones and those that begin with `#`.
    let skippedLines: Int
    /// Fields of the first record.
    let width: Int
    let records: Int
    private let bytes: [UInt8]
    /// Where each record begins, and one past the last; fields count from there.
    private let recordStarts: [Int]
    private let lines: [Int]
    /// Where each field ends, relative to its record: its separator or line end.
    private let ends: [UInt32]
    private let firstFields: [Int]

    /// - Parameter bytes: UTF-8.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for a quote that is not closed, a file without records,
    ///   and a record of more than 4 GB.
    init(_ bytes: [UInt8], file: String, separator given: UInt8?) throws {
        self.file = file
        self.bytes = bytes
        // Old Macintosh files have carriage returns alone.
        let lineEnd: UInt8 = !bytes.contains(0x0A) && bytes.contains(0x0D) ? 0x0D : 0x0A
        var (position, line) = (0, 1)
        while position < bytes.count {
            var end = position
            while end < bytes.count && bytes[end] != lineEnd { end += 1 }
            let isBlank = bytes[position..<end].allSatisfy { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }
            guard isBlank || bytes[position] == UInt8(ascii: "#"), end < bytes.count else { break }
            position = end + 1
            line += 1
        }
        skippedLines = line - 1
        let separator = given ?? Self.separator(bytes, from: position, lineEnd: lineEnd, file: file)
        self.separator = separator
        var (recordStarts, lines, ends, firstFields): ([Int], [Int], [UInt32], [Int]) = ([], [], [], [])
        let quote = UInt8(ascii: "\"")
        try bytes.withUnsafeBufferPointer { bytes in
            while position < bytes.count {
                let start = position
                recordStarts.append(start)
                lines.append(line)
                firstFields.append(ends.count)
                var isOpen = true
                while isOpen {
                    // A quoted field may hold separators and line ends.
                    if position < bytes.count && bytes[position] == quote {
                        let begin = line
                        position += 1
                        while true {
                            guard position < bytes.count else {
                                throw LacunaError.malformed(
                                    file: file, location: "line \(begin)", reason: "a quote is not closed")
                            }
                            if bytes[position] == quote {
                                position += 1
                                guard position < bytes.count, bytes[position] == quote else { break }
                            } else if bytes[position] == lineEnd {
                                line += 1
                            }
                            position += 1
                        }
                    }
                    while position < bytes.count && bytes[position] != separator && bytes[position] != lineEnd {
                        position += 1
                    }
                    guard let end = UInt32(exactly: position - start) else {
                        throw LacunaError.malformed(
                            file: file, location: "line \(line)", reason: "a record is longer than 4 GB")
                    }
                    ends.append(end)
                    isOpen = position < bytes.count && bytes[position] == separator
                    position += 1
                }
                line += 1
                // A line without anything is no record.
                if ends.count - (firstFields.last ?? 0) == 1 {
                    let own = bytes[start..<min(bytes.count, start + Int(ends[ends.count - 1]))]
                    if own.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) {
                        recordStarts.removeLast()
                        lines.removeLast()
                        firstFields.removeLast()
                        ends.removeLast()
                    }
                }
            }
        }
        guard !recordStarts.isEmpty else {
            throw LacunaError.malformed(file: file, location: "line 1", reason: "the file is empty")
        }
        records = recordStarts.count
        firstFields.append(ends.count)
        width = firstFields[1]
        self.recordStarts = recordStarts
        self.lines = lines
        self.ends = ends
        self.firstFields = firstFields
    }

    /// Tabs for .tsv; else whichever of comma, semicolon and tab the first line has most of, outside quotes.
    private static func separator(_ bytes: [UInt8], from start: Int, lineEnd: UInt8, file: String) -> UInt8 {
        let name = file.lowercased()
        if name.hasSuffix(".tsv") || name.hasSuffix(".tsv.gz") { return 0x09 }
        var counts: [UInt8: Int] = [:]
        var quoted = false
        for byte in bytes[start...] {
            if byte == UInt8(ascii: "\"") { quoted.toggle() }
            if byte == lineEnd && !quoted { break }
            if !quoted { counts[byte, default: 0] += 1 }
        }
        var best = UInt8(ascii: ",")
        for candidate in [UInt8(ascii: ";"), 0x09] where counts[candidate, default: 0] > counts[best, default: 0] {
            best = candidate
        }
        return best
    }

    func fields(_ record: Int) -> Int { firstFields[record + 1] - firstFields[record] }

    /// The line where a record begins, from 1.
    func line(_ record: Int) -> Int { lines[record] }

    /// The bytes of a field between its separators, without blanks at both ends.
    private func range(_ record: Int, _ field: Int) -> Range<Int> {
        let first = firstFields[record]
        let base = recordStarts[record]
        var lower = field == 0 ? base : base + Int(ends[first + field - 1]) + 1
        var upper = min(bytes.count, base + Int(ends[first + field]))
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }
        while lower < upper && isBlank(bytes[lower]) { lower += 1 }
        while lower < upper && isBlank(bytes[upper - 1]) { upper -= 1 }
        return lower..<upper
    }

    func text(_ record: Int, _ field: Int) -> String {
        let range = range(record, field)
        guard range.count >= 2, bytes[range.lowerBound] == UInt8(ascii: "\"") else {
            return String(decoding: bytes[range], as: UTF8.self)
        }
        var content: [UInt8] = []
        var position = range.lowerBound + 1
        var isInside = true
        while position < range.upperBound {
            let byte = bytes[position]
            position += 1
            if byte == UInt8(ascii: "\"") && isInside {
                guard position < range.upperBound, bytes[position] == byte else {
                    isInside = false
                    continue
                }
                position += 1
            }
            content.append(byte)
        }
        var slice = Substring(decoding: content, as: UTF8.self)
        while slice.first == " " || slice.first == "\t" { slice.removeFirst() }
        while slice.last == " " || slice.last == "\t" { slice.removeLast() }
        return String(slice)
    }

    /// Calls `body` with a field's bytes; those of a quoted field without its quotes, doubled ones and all.
    func withBytes<Result>(_ record: Int, _ field: Int, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        var range = range(record, field)
        if range.count >= 2, bytes[range.lowerBound] == UInt8(ascii: "\""),
            bytes[range.upperBound - 1] == UInt8(ascii: "\"")
        {
            range = range.lowerBound + 1..<range.upperBound - 1
        }
        return bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[range])) }
    }
}
