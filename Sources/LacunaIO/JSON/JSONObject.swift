/// The members of a JSON object, in order. Keys are unique.
public struct JSONObject: Sendable {
    /// A name and its value.
    public struct Member: Hashable, Sendable {
        /// The name.
        public var key: String
        /// Its value.
        public var value: JSONValue
    }

    /// The members in their order.
    public private(set) var members: [Member] = []
    /// Where keys are, once there are more members than a linear search is good for: a table of open addresses of which at most two
    /// thirds are taken. Each is the number of a member and 1, or 0. A `Dictionary` would take ten times the bytes, which for the
    /// vocabularies of tokenizers is more than all the rest.
    private var places: [UInt32] = []
    private static let linearLimit = 16

    /// An object without members.
    public init() {}

    /// An object without members that has room for some.
    init(capacity: Int) {
        members.reserveCapacity(capacity)
        if capacity > Self.linearLimit { places = [UInt32](repeating: 0, count: Self.tableSize(capacity)) }
    }

    /// Number of members.
    public var count: Int { members.count }
    /// The names in their order.
    public var keys: [String] { members.map(\.key) }

    /// Bytes of the members and of what finds them, without what they refer to.
    static func byteCount(members: Int) -> Int {
        members * MemoryLayout<Member>.stride
            + (members > linearLimit ? tableSize(members) * MemoryLayout<UInt32>.stride : 0)
    }

    private static func tableSize(_ members: Int) -> Int {
        var size = 64
        while 2 * size < 3 * members { size *= 2 }
        return size
    }

    /// The place of a key in the table, or the free one where it would go.
    private func place(_ key: String) -> Int {
        let mask = places.count - 1
        var place = ExactString(key).hashValue & mask
        while places[place] != 0, !Self.equal(members[Int(places[place]) - 1].key, key) { place = (place + 1) & mask }
        return place
    }

    private static func equal(_ a: String, _ b: String) -> Bool { ExactString(a) == ExactString(b) }

    private func position(_ key: String) -> Int? {
        if members.count <= Self.linearLimit { return members.firstIndex { Self.equal($0.key, key) } }
        let number = places[place(key)]
        return number == 0 ? nil : Int(number) - 1
    }

    /// Setting nil removes the member; setting an absent key appends one.
    public subscript(key: String) -> JSONValue? {
        get { position(key).map { members[$0].value } }
        set {
            guard let newValue else { return remove(key) }
            if let position = position(key) {
                members[position].value = newValue
            } else {
                _ = append(key, newValue)
            }
        }
    }

    private mutating func remove(_ key: String) {
        guard let position = position(key) else { return }
        members.remove(at: position)
        fillTable(for: members.count)
    }

    /// Makes the table anew, for so many members.
    private mutating func fillTable(for count: Int) {
        guard count > Self.linearLimit else {
            places = []
            return
        }
        places = [UInt32](repeating: 0, count: Self.tableSize(count))
        for (index, member) in members.enumerated() { places[place(member.key)] = UInt32(index + 1) }
    }

    /// Appends a member; false if the key is taken.
    mutating func append(_ key: String, _ value: JSONValue) -> Bool {
        if members.count < Self.linearLimit {
            if members.contains(where: { Self.equal($0.key, key) }) { return false }
        } else {
            if members.count == Self.linearLimit || 3 * members.count >= 2 * places.count {
                fillTable(for: Swift.max(2 * members.count, places.count / 2))
            }
            let place = place(key)
            guard places[place] == 0 else { return false }
            places[place] = UInt32(members.count + 1)
        }
        members.append(Member(key: key, value: value))
        return true
    }
}

extension JSONObject: Hashable {
    public static func == (a: JSONObject, b: JSONObject) -> Bool { a.members == b.members }
    public func hash(into hasher: inout Hasher) { hasher.combine(members) }
}

extension JSONObject: Sequence {
    public func makeIterator() -> Array<Member>.Iterator { members.makeIterator() }
}
