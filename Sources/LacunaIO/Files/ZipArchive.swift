import LacunaTensor

/// A ZIP archive of entries that are stored as they are or deflated. Opening it reads the directory; an entry is unpacked when it is
/// asked for.
struct ZipArchive: Sendable {
    /// Where an entry is.
    private struct Entry: Sendable {
        var range: Range<Int>
        var size: Int
        var isDeflated: Bool
        var checksum: UInt32
    }

    private let file: MappedFile
    private let entries: [String: Entry]

    /// The names of the entries, in alphabetical order.
    var names: [String] { entries.keys.sorted() }

    /// Where in the file an entry's bytes are, if there is one of this name that is stored as it is.
    func storedRange(of name: String) -> Range<Int>? {
        guard let entry = entries[name], !entry.isDeflated else { return nil }
        return entry.range
    }

    /// Calls `body` with the bytes of an entry and its name for messages; nil if there is no such entry.
    func withBytes<Result>(of name: String, _ body: (UnsafeRawBufferPointer, String) throws -> Result) throws -> Result?
    {
        guard let entry = entries[name] else { return nil }
        let content = UnsafeRawBufferPointer(rebasing: file.bytes[entry.range])
        let path = "\(file.path)/\(name)"
        if !entry.isDeflated { return try body(content, path) }
        let unpacked = try Gzip.inflated(Array(content), count: entry.size, checksum: entry.checksum, file: path)
        return try unpacked.withUnsafeBytes { try body($0, path) }
    }

    /// - Parameter kind: What the file should be, for messages.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if the archive is damaged;
    ///   ``LacunaError/unsupported(file:what:)`` for entries that are neither stored nor deflated.
    init(_ file: MappedFile, kind: String) throws {
        let (bytes, path) = (file.bytes, file.path)
        func failure(_ at: Int, _ reason: String) -> LacunaError {
            .malformed(file: path, location: "byte \(at)", reason: reason)
        }
        func number(_ at: Int, _ count: Int) throws -> Int {
            guard at >= 0, at <= bytes.count - count else { throw failure(at, "the archive is cut off") }
            return (0..<count).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
        }
        // The directory is found from the end record, which is the last but for a comment.
        var end = bytes.count - 22
        while end >= 0 && end >= bytes.count - 22 - 65_535 {
            if try number(end, 4) == 0x0605_4B50 { break }
            end -= 1
        }
        guard end >= 0, try number(end, 4) == 0x0605_4B50 else { throw failure(0, "is not a \(kind)") }
        var (count, at) = (try number(end + 10, 2), try number(end + 16, 4))
        if end >= 20, try number(end - 20, 4) == 0x0706_4B50 {
            // Of archives that are larger than 4 GiB or have many entries the numbers are in a record of their own, found from here.
            let record = try number(end - 12, 8)
            guard try number(record, 4) == 0x0606_4B50 else {
                throw failure(end - 20, "leads to no end of a directory")
            }
            (count, at) = (try number(record + 32, 8), try number(record + 48, 8))
            guard count >= 0 else { throw failure(record, "has \(count) entries") }
        }
        var entries: [String: Entry] = [:]
        var total = 0
        for _ in 0..<count {
            guard try number(at, 4) == 0x0201_4B50 else { throw failure(at, "no entry of the directory is here") }
            let method = try number(at + 10, 2)
            var (packed, size) = (try number(at + 20, 4), try number(at + 24, 4))
            let (nameLength, extraLength) = (try number(at + 28, 2), try number(at + 30, 2))
            var local = try number(at + 42, 4)
            _ = try number(at + 46 + nameLength + extraLength, 0)
            let name = String(decoding: bytes[(at + 46)..<(at + 46 + nameLength)], as: UTF8.self)
            guard method == 0 || method == 8 else {
                throw LacunaError.unsupported(file: path, what: "compression method \(method) ('\(name)')")
            }
            if size == 0xFFFF_FFFF || packed == 0xFFFF_FFFF || local == 0xFFFF_FFFF {
                // Large numbers are in a field of the extra data, as far as they are large: the unpacked size, the packed one, the place.
                let last = at + 46 + nameLength + extraLength
                var place = at + 46 + nameLength
                while place + 4 <= last, try number(place, 2) != 1 { place += 4 + (try number(place + 2, 2)) }
                guard place + 4 <= last else { throw failure(at, "the size of '\(name)' is missing") }
                let end = place + 4 + (try number(place + 2, 2))
                place += 4
                func large() throws -> Int {
                    guard place + 8 <= end, end <= last else {
                        throw failure(at, "the size of '\(name)' is missing")
                    }
                    defer { place += 8 }
                    return try number(place, 8)
                }
                if size == 0xFFFF_FFFF { size = try large() }
                if packed == 0xFFFF_FFFF { packed = try large() }
                if local == 0xFFFF_FFFF { local = try large() }
            }
            guard try number(local, 4) == 0x0403_4B50 else { throw failure(local, "no entry is here") }
            let data = local + 30 + (try number(local + 26, 2)) + (try number(local + 28, 2))
            if method == 0 { packed = size }
            guard data <= bytes.count, size >= 0, packed >= 0, packed <= bytes.count - data else {
                throw failure(local, "'\(name)' is cut off")
            }
            // Entries that overlap would unpack to far more than the file.
            total += packed
            guard total <= bytes.count else { throw failure(at, "its entries overlap") }
            let checksum = UInt32(truncatingIfNeeded: try number(at + 16, 4))
            guard entries[name] == nil else { throw failure(at, "'\(name)' comes twice") }
            entries[name] = Entry(
                range: data..<data + packed, size: size, isDeflated: method == 8, checksum: checksum)
            at += 46 + nameLength + extraLength + (try number(at + 32, 2))
        }
        (self.file, self.entries) = (file, entries)
    }
}
