import LacunaTensor

/// Tokens by id, and ids by token. Tokens are compared byte by byte.
struct Vocabulary: Sendable {
    /// All tokens, one after the other.
    fileprivate var bytes: [UInt8] = []
    /// Where in `bytes` a token stands; nil for ids that nothing uses.
    fileprivate var places: [Range<Int>?] = []
    private var table: ByteTable
    /// Bytes of the longest token.
    private(set) var longest = 0
    /// The id of the token without characters, which the table cannot hold.
    private var emptyID: Int?

    init(capacity: Int = 0) { table = ByteTable(capacity: capacity) }

    /// One more than the largest id.
    var count: Int { places.count }

    enum Conflict: Error {
        case impossibleID
        case otherToken(String)
        case secondID
    }

    /// Enters a token under an id. Entering the same again does nothing.
    ///
    /// - Parameter limit: What ids have to be below.
    mutating func enter(_ token: String, id: Int, limit: Int) throws(Conflict) {
        guard id >= 0, id < limit, id < Int(Int32.max) else { throw .impossibleID }
        if id >= places.count { places.append(contentsOf: repeatElement(nil, count: id + 1 - places.count)) }
        if let place = places[id] {
            guard bytes[place].elementsEqual(token.utf8) else {
                throw .otherToken(String(decoding: bytes[place], as: UTF8.self))
            }
            return
        }
        let start = bytes.count
        bytes.append(contentsOf: token.utf8)
        let place = start..<bytes.count
        if place.isEmpty {
            guard emptyID == nil else { throw .secondID }
            emptyID = id
        } else {
            guard insert(place, id: id) else {
                bytes.removeLast(place.count)
                throw .secondID
            }
        }
        longest = max(longest, place.count)
        places[id] = place
    }

    private mutating func insert(_ place: Range<Int>, id: Int) -> Bool {
        bytes.withUnsafeBufferPointer { bytes in
            table.findOrInsert(
                UnsafeBufferPointer(rebasing: bytes[place]), at: place.lowerBound, in: bytes.baseAddress!,
                value: Int32(id)) == nil
        }
    }

    /// The id of a token.
    @inline(__always)
    func id(of token: UnsafeBufferPointer<UInt8>) -> Int32? {
        if token.isEmpty { return emptyID.map { Int32($0) } }
        return bytes.withUnsafeBufferPointer { $0.isEmpty ? nil : table.find(token, in: $0.baseAddress!) }
    }

    func id(of token: String) -> Int? {
        var token = token
        return token.withUTF8 { id(of: $0) }.map { Int($0) }
    }

    /// The bytes of a token as it is spelled; nil for an id that nothing uses.
    func spelling(_ id: Int) -> ArraySlice<UInt8>? {
        guard id >= 0, id < places.count, let place = places[id] else { return nil }
        return bytes[place]
    }

    subscript(id: Int) -> String? { spelling(id).map { String(decoding: $0, as: UTF8.self) } }
}

extension Vocabulary {
    /// Bytes of a token that is there.
    @inline(__always)
    func length(_ id: Int32) -> Int { places[Int(id)]!.count }

    /// A byte of a token that is there and has as many.
    @inline(__always)
    func byte(_ id: Int32, at index: Int) -> UInt8 { bytes[places[Int(id)]!.lowerBound + index] }
}
