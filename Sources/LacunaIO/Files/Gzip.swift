import LacunaTensor

/// Reads gzip files (RFC 1952), whose content is compressed by DEFLATE (RFC 1951).
public enum Gzip {
    /// The content of a gzip file, or the bytes themselves if they do not begin as one.
    ///
    /// - Parameter limit: More bytes than this are an error, as a small file may unpack to a very large one.
    /// - Throws: `LacunaError.malformed` with the byte offset if the data is damaged.
    public static func decompressed(_ bytes: [UInt8], file: String, limit: Int = 1 << 30) throws -> [UInt8] {
        guard bytes.count >= 2, bytes[0] == 0x1F, bytes[1] == 0x8B else { return bytes }
        var reader = Inflater(bytes, file: file, limit: limit)
        return try reader.members()
    }

    /// The content of a bare DEFLATE stream, as ZIP archives hold it.
    ///
    /// - Parameters:
    ///   - count: The bytes that it must unpack to.
    ///   - checksum: Their CRC-32.
    /// - Throws: `LacunaError.malformed` with the byte offset if the data is damaged.
    static func inflated(_ bytes: [UInt8], count: Int, checksum: UInt32, file: String) throws -> [UInt8] {
        // No stream unpacks to more than 1032 times its size: a larger claim need not be tried.
        guard count / 1032 <= bytes.count else {
            throw LacunaError.malformed(
                file: file, location: "directory", reason: "\(count) bytes are not in \(bytes.count) packed ones")
        }
        var reader = Inflater(bytes, file: file, limit: count)
        return try reader.stream(count: count, checksum: checksum)
    }
}

/// DEFLATE: literals and copies of what came before, in Huffman codes.
private struct Inflater {
    private let bytes: [UInt8]
    private let file: String
    private let limit: Int
    private var position = 0
    private var bits: UInt64 = 0
    private var bitCount = 0
    private var output: [UInt8] = []

    init(_ bytes: [UInt8], file: String, limit: Int) {
        self.bytes = bytes
        self.file = file
        self.limit = limit
    }

    private func failure(_ reason: String) -> LacunaError {
        .malformed(file: file, location: "byte \(min(position, bytes.count))", reason: reason)
    }

    /// A gzip file is one compressed member after another.
    mutating func members() throws -> [UInt8] {
        while position < bytes.count {
            try header()
            let start = output.count
            try blocks()
            position -= bitCount / 8  // whole bytes that were read ahead
            (bits, bitCount) = (0, 0)
            guard position + 8 <= bytes.count else { throw failure("the file ends inside a member") }
            func word(_ at: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) } }
            guard word(position + 4) == UInt32(truncatingIfNeeded: output.count - start) else {
                throw failure("the length does not agree")
            }
            guard word(position) == Self.checksum(output[start...]) else {
                throw failure("the checksum does not agree")
            }
            position += 8
        }
        return output
    }

    mutating func stream(count: Int, checksum: UInt32) throws -> [UInt8] {
        try blocks()
        guard output.count == count else { throw failure("unpacks to \(output.count) bytes instead of \(count)") }
        guard Self.checksum(output[...]) == checksum else { throw failure("the checksum does not agree") }
        return output
    }

    private mutating func header() throws {
        guard position + 10 <= bytes.count, bytes[position] == 0x1F, bytes[position + 1] == 0x8B,
            bytes[position + 2] == 8
        else { throw failure("not the beginning of a gzip member") }
        let flags = bytes[position + 3]
        position += 10
        if flags & 4 != 0 {
            guard position + 2 <= bytes.count else { throw failure("the file ends inside its header") }
            position += 2 + Int(bytes[position]) + Int(bytes[position + 1]) << 8
        }
        for flag in [8, 16] as [UInt8] where flags & flag != 0 {  // a name, a comment
            while position < bytes.count && bytes[position] != 0 { position += 1 }
            position += 1
        }
        if flags & 2 != 0 { position += 2 }
        guard position <= bytes.count else { throw failure("the file ends inside its header") }
    }

    private mutating func fill(_ count: Int) throws {
        while bitCount < count {
            guard position < bytes.count else { throw failure("the file ends inside its data") }
            bits |= UInt64(bytes[position]) << UInt64(bitCount)
            position += 1
            bitCount += 8
        }
    }

    private mutating func take(_ count: Int) throws -> Int {
        try fill(count)
        let value = Int(bits & ((1 << UInt64(count)) - 1))
        bits >>= UInt64(count)
        bitCount -= count
        return value
    }

    private mutating func blocks() throws {
        var isLast = false
        while !isLast {
            isLast = try take(1) == 1
            switch try take(2) {
            case 0: try stored()
            case 1: try compressed(Self.fixedLiterals, Self.fixedDistances)
            case 2:
                let (literals, distances) = try codes()
                try compressed(literals, distances)
            default: throw failure("a block of no known kind")
            }
        }
    }

    private mutating func stored() throws {
        _ = try take(bitCount % 8)
        let count = try take(16)
        guard try take(16) == count ^ 0xFFFF else { throw failure("the length of a stored block does not agree") }
        for _ in 0..<count { output.append(UInt8(try take(8))) }
        try checkSize()
    }

    private func checkSize() throws {
        if output.count > limit { throw failure("unpacks to more than \(limit) bytes") }
    }

    /// A code by the length of each symbol's word: the first 10 bits are looked up, longer words continue bit by bit.
    private struct Code {
        /// symbol << 4 | length, or 0.
        var table = [UInt16](repeating: 0, count: 1 << 10)
        var counts = [Int](repeating: 0, count: 16)
        var symbols: [UInt16] = []

        /// Nil if the lengths make no prefix code.
        init?(_ lengths: [UInt8]) {
            for length in lengths { counts[Int(length)] += 1 }
            counts[0] = 0
            var starts = [Int](repeating: 0, count: 17)
            var next = [Int](repeating: 0, count: 17)
            var word = 0
            for length in 1...15 {
                starts[length + 1 > 16 ? 16 : length + 1] = starts[length] + counts[length]
                word = (word + (length > 1 ? counts[length - 1] : 0)) << 1
                next[length] = word
                if word + counts[length] > 1 << length { return nil }
            }
            symbols = [UInt16](repeating: 0, count: lengths.count)
            var places = starts
            for (symbol, length) in lengths.enumerated() where length > 0 {
                let l = Int(length)
                symbols[places[l]] = UInt16(symbol)
                places[l] += 1
                let word = next[l]
                next[l] += 1
                if l <= 10 {
                    // Words come with their first bit lowest.
                    var reversed = 0
                    for bit in 0..<l where word >> bit & 1 == 1 { reversed |= 1 << (l - 1 - bit) }
                    for rest in 0..<1 << (10 - l) { table[reversed | rest << l] = UInt16(symbol) << 4 | UInt16(l) }
                }
            }
        }
    }

    private mutating func symbol(_ code: borrowing Code) throws -> Int {
        while bitCount < 15, position < bytes.count {
            bits |= UInt64(bytes[position]) << UInt64(bitCount)
            position += 1
            bitCount += 8
        }
        let entry = Int(code.table[Int(bits & 0x3FF)])
        if entry != 0 && entry & 15 <= bitCount {
            bits >>= UInt64(entry & 15)
            bitCount -= entry & 15
            return entry >> 4
        }
        var (word, first, index) = (0, 0, 0)
        for length in 1...15 {
            guard bitCount >= length else { throw failure("the file ends inside its data") }
            word |= Int(bits >> UInt64(length - 1) & 1)
            let count = code.counts[length]
            if word - first < count {
                bits >>= UInt64(length)
                bitCount -= length
                return Int(code.symbols[index + word - first])
            }
            index += count
            first = (first + count) << 1
            word <<= 1
        }
        throw failure("a word that is in no code")
    }

    private mutating func codes() throws -> (Code, Code) {
        let (literalCount, distanceCount, count) = (try take(5) + 257, try take(5) + 1, try take(4) + 4)
        let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
        var lengths = [UInt8](repeating: 0, count: 19)
        for place in order.prefix(count) { lengths[place] = UInt8(try take(3)) }
        guard let code = Code(lengths) else { throw failure("lengths that make no code") }
        var all: [UInt8] = []
        while all.count < literalCount + distanceCount {
            let next = try symbol(code)
            switch next {
            case 0..<16: all.append(UInt8(next))
            case 16:
                guard let last = all.last else { throw failure("a repetition of nothing") }
                all += Array(repeating: last, count: 3 + (try take(2)))
            case 17: all += Array(repeating: 0, count: 3 + (try take(3)))
            default: all += Array(repeating: 0, count: 11 + (try take(7)))
            }
        }
        guard all.count == literalCount + distanceCount, let literals = Code(Array(all[..<literalCount])),
            let distances = Code(Array(all[literalCount...]))
        else { throw failure("lengths that make no code") }
        return (literals, distances)
    }

    private static let lengthBases = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227,
        258,
    ]
    private static let lengthBits = [
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
    ]
    private static let distanceBases = [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
        6145,
        8193, 12289, 16385, 24577,
    ]
    private static let fixedLiterals = Code(
        (0..<288).map { $0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8 })!
    private static let fixedDistances = Code([UInt8](repeating: 5, count: 30))!

    private mutating func compressed(_ literals: Code, _ distances: Code) throws {
        while true {
            let next = try symbol(literals)
            if next < 256 {
                output.append(UInt8(next))
                continue
            }
            if next == 256 { return try checkSize() }
            guard next - 257 < 29 else { throw failure("a length that does not exist") }
            let length = Self.lengthBases[next - 257] + (try take(Self.lengthBits[next - 257]))
            let code = try symbol(distances)
            guard code < 30 else { throw failure("a distance that does not exist") }
            let distance = Self.distanceBases[code] + (try take(max(0, code / 2 - 1)))
            guard distance <= output.count else { throw failure("a copy from before the beginning") }
            if output.count + length > limit { throw failure("unpacks to more than \(limit) bytes") }
            let start = output.count - distance
            for i in 0..<length { output.append(output[start + i]) }
        }
    }

    private static let checksumTable: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }

    private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        let table = checksumTable
        return table.withUnsafeBufferPointer { table in
            bytes.withUnsafeBufferPointer { bytes in
                ~bytes.reduce(~UInt32(0)) { $0 >> 8 ^ table[Int(($0 ^ UInt32($1)) & 0xFF)] }
            }
        }
    }
}
