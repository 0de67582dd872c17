import CZlib
import LacunaIO
import LacunaTensor

/// A file of named sections, each with a checksum: what an index directory's files are.
///
///     0   "LACUNAIX", version (4 bytes), number of sections (4), length of the file (8), CRC-32 of the table (4), 0
///     (4) 32  for each section: name (16 bytes, filled up with 0), offset (8), length (8), CRC-32 (4), 0 (4)
///     …   the sections, each at a multiple of 64
///
/// All numbers are little-endian, as those of every processor that Lacuna runs on.
enum SectionFile {
    static let magic = Array("LACUNAIX".utf8)
    static let version: UInt32 = 1
    private static let headerSize = 32
    private static let entrySize = 40
    private static let alignment = 64
    /// More sections than any index has.
    private static let maximumSections = 4096

    static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        UInt32(truncatingIfNeeded: crc32_z(0, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count))
    }

    private static func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian) { Array($0) }
    }

    /// Writes a file, which appears whole or not at all.
    ///
    /// - Returns: The CRC-32 of its table, which stands for the whole content.
    static func write(_ sections: [(name: String, bytes: UnsafeRawBufferPointer)], to path: String) throws -> UInt32 {
        require(sections.count <= maximumSections)
        var table: [UInt8] = []
        var offset = aligned(headerSize + entrySize * sections.count)
        let sums = Locked([UInt32](repeating: 0, count: sections.count))
        Parallel.forEach(sections.count) { index in
            let sum = checksum(sections[index].bytes)
            sums.withLock { $0[index] = sum }
        }
        let checksums = sums.withLock { $0 }
        for (index, section) in sections.enumerated() {
            let name = Array(section.name.utf8)
            require(name.count <= 16, "the name '\(section.name)' is too long")
            table += name + [UInt8](repeating: 0, count: 16 - name.count)
            table +=
                little(UInt64(offset)) + little(UInt64(section.bytes.count)) + little(checksums[index])
                + little(UInt32(0))
            offset = aligned(offset + section.bytes.count)
        }
        let tableSum = table.withUnsafeBytes { checksum($0) }
        let file = try AtomicFile(path)
        try file.write(
            magic + little(version) + little(UInt32(sections.count)) + little(UInt64(offset)) + little(tableSum)
                + little(UInt32(0)))
        try file.write(table)
        for section in sections {
            try file.write([UInt8](repeating: 0, count: aligned(file.count) - file.count))
            try file.write(section.bytes)
        }
        try file.write([UInt8](repeating: 0, count: offset - file.count))
        try file.commit()
        return tableSum
    }

    private static func aligned(_ offset: Int) -> Int { (offset + alignment - 1) / alignment * alignment }

    /// A mapped file of sections.
    final class Reader: Sendable {
        let file: MappedFile
        /// The CRC-32 of the table.
        let tableChecksum: UInt32
        private let sections: [String: Section]

        private struct Section {
            let range: Range<Int>
            let checksum: UInt32
        }

        /// Maps a file and checks its header and its table, but not yet what is in its sections.
        ///
        /// - Throws: `LacunaError.malformed` for what is no such file or does not agree with itself,
        ///   `LacunaError.unsupported` for another version.
        init(_ path: String) throws {
            let file = try MappedFile(path)
            self.file = file
            let bytes = file.bytes
            func fail(_ location: String, _ reason: String) -> LacunaError {
                .malformed(file: path, location: location, reason: reason)
            }
            guard bytes.count >= headerSize, bytes[..<8].elementsEqual(magic) else {
                throw fail("header", "is no file of a Lacuna index")
            }
            let version = bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)
            guard version == SectionFile.version else {
                throw LacunaError.unsupported(
                    file: path,
                    what: "version \(version) of the index format (this program reads \(SectionFile.version))")
            }
            let count = Int(bytes.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
            let length = bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
            guard length == UInt64(bytes.count) else {
                throw fail("header", "the file has \(bytes.count) bytes, its header says \(length)")
            }
            guard count <= maximumSections, headerSize + count * entrySize <= bytes.count else {
                throw fail("header", "\(count) sections do not fit into the file")
            }
            let table = UnsafeRawBufferPointer(rebasing: bytes[headerSize..<headerSize + count * entrySize])
            tableChecksum = bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self)
            guard checksum(table) == tableChecksum, bytes.loadUnaligned(fromByteOffset: 28, as: UInt32.self) == 0 else {
                throw fail("table", "the checksum does not agree: the file is damaged")
            }
            var sections: [String: Section] = [:]
            for index in 0..<count {
                let entry = index * entrySize
                let name = String(decoding: table[entry..<entry + 16].prefix { $0 != 0 }, as: UTF8.self)
                let offset = table.loadUnaligned(fromByteOffset: entry + 16, as: UInt64.self)
                let size = table.loadUnaligned(fromByteOffset: entry + 24, as: UInt64.self)
                guard offset % UInt64(alignment) == 0, offset <= length, size <= length - offset else {
                    throw fail("section \(name)", "does not lie in the file")
                }
                let section = Section(
                    range: Int(offset)..<Int(offset + size),
                    checksum: table.loadUnaligned(fromByteOffset: entry + 32, as: UInt32.self))
                guard sections.updateValue(section, forKey: name) == nil else {
                    throw fail("section \(name)", "comes twice")
                }
            }
            self.sections = sections
        }

        func contains(_ name: String) -> Bool { sections[name] != nil }

        func failure(_ section: String, _ reason: String) -> LacunaError {
            .malformed(file: file.path, location: "section \(section)", reason: reason)
        }

        func bytes(_ name: String) throws -> UnsafeRawBufferPointer {
            guard let section = sections[name] else { throw failure(name, "is missing") }
            return UnsafeRawBufferPointer(rebasing: file.bytes[section.range])
        }

        /// A section as elements of a type.
        ///
        /// - Parameter count: How many there have to be; nil for any number.
        func array<Element: BitwiseCopyable>(
            _ name: String, of: Element.Type, count: Int? = nil
        ) throws -> MappedArray<Element> {
            let bytes = try bytes(name)
            guard bytes.count % MemoryLayout<Element>.stride == 0 else {
                throw failure(name, "\(bytes.count) bytes are no whole number of elements")
            }
            let array = MappedArray<Element>(bytes, in: file)
            if let count, array.count != count {
                throw failure(name, "has \(array.count) elements, \(count) are needed")
            }
            return array
        }

        /// Where parts begin: ascending from 0, and `total` at the end.
        func starts(_ name: String, count: Int?, total: Int, checked: Bool) throws -> MappedArray<Int> {
            let starts = try array(name, of: Int.self, count: count)
            guard starts.count > 0, starts[0] == 0, starts[starts.count - 1] == total else {
                throw failure(name, "does not begin at 0 and end at \(total)")
            }
            if checked {
                for i in 1..<max(starts.count, 1) where starts[i] < starts[i - 1] {
                    throw failure(name, "descends at \(i)")
                }
            }
            return starts
        }

        /// Reads everything and compares it with the checksums.
        ///
        /// - Throws: `LacunaError.malformed` naming the section.
        func verify() throws {
            // Of sections that begin at one place the empty ones come first.
            let all = sections.sorted {
                let (a, b) = ($0.value.range, $1.value.range)
                return a.lowerBound != b.lowerBound ? a.lowerBound < b.lowerBound : a.upperBound < b.upperBound
            }
            let bad = Locked<[String]>([])
            Parallel.forEach(all.count) { index in
                let (name, section) = all[index]
                let bytes = UnsafeRawBufferPointer(rebasing: file.bytes[section.range])
                if checksum(bytes) != section.checksum { bad.withLock { $0.append(name) } }
            }
            if let name = bad.withLock({ $0.min() }) {
                throw failure(name, "the checksum does not agree: the file is damaged")
            }
            // What is between sections is 0, so that no byte of the file may differ.
            var end = headerSize + entrySize * all.count
            for (name, section) in all {
                guard end <= section.range.lowerBound,
                    file.bytes[end..<section.range.lowerBound].allSatisfy({ $0 == 0 })
                else { throw failure(name, "there is something before it: the file is damaged") }
                end = section.range.upperBound
            }
            guard file.bytes[end...].allSatisfy({ $0 == 0 }) else {
                throw LacunaError.malformed(file: file.path, location: "end", reason: "the file is damaged")
            }
        }
    }
}
