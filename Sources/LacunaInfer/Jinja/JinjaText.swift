/// A string of a template, which knows of every character whether it is the template's own or came in with the values it
/// was given: what users write must not be able to pass for the marks that a template writes.
///
/// Characters are Unicode scalars, as in Python, whose lengths and positions templates count by.
struct JinjaText: Hashable, Sendable {
    /// Scalar values; the highest bit marks those that came in.
    private(set) var units: [UInt32] = []

    private static let foreign: UInt32 = 1 << 31

    init() {}

    /// - Parameter isInput: Whether it came in with the values.
    init(_ text: some StringProtocol, isInput: Bool = false) {
        units = text.unicodeScalars.map { isInput ? $0.value | Self.foreign : $0.value }
    }

    private init(units: [UInt32]) { self.units = units }

    var count: Int { units.count }
    var isEmpty: Bool { units.isEmpty }

    /// The scalars, wherever they are from.
    var values: [UInt32] { units.map { $0 & ~Self.foreign } }

    var string: String {
        var view = String.UnicodeScalarView()
        for unit in units { view.append(Unicode.Scalar(unit & ~Self.foreign)!) }
        return String(view)
    }

    func scalar(_ i: Int) -> Unicode.Scalar { Unicode.Scalar(units[i] & ~Self.foreign)! }

    /// Texts are the same whatever they come from.
    static func == (a: Self, b: Self) -> Bool {
        a.count == b.count && zip(a.units, b.units).allSatisfy { ($0 ^ $1) & ~foreign == 0 }
    }

    func hash(into hasher: inout Hasher) { for unit in units { hasher.combine(unit & ~Self.foreign) } }

    static func + (a: Self, b: Self) -> Self { Self(units: a.units + b.units) }

    mutating func append(_ other: Self) { units.append(contentsOf: other.units) }

    subscript(range: Range<Int>) -> Self { Self(units: Array(units[range])) }

    /// The characters at positions.
    func picking(_ positions: some Sequence<Int>) -> Self { Self(units: positions.map { units[$0] }) }

    func repeated(_ count: Int) -> Self { Self(units: Array(repeatElement(units, count: max(count, 0)).joined())) }

    /// UTF-8 text, and which of its bytes are the template's own.
    var rendered: (text: String, ownRanges: [Range<Int>]) {
        var ranges: [Range<Int>] = []
        var (offset, start) = (0, Int?.none)
        for unit in units {
            let isOwn = unit & Self.foreign == 0
            if isOwn, start == nil { start = offset }
            if !isOwn, let begin = start {
                ranges.append(begin..<offset)
                start = nil
            }
            offset += UTF8.width(Unicode.Scalar(unit & ~Self.foreign)!)
        }
        if let start { ranges.append(start..<offset) }
        return (string, ranges)
    }

    // MARK: Searching

    /// Where `other` stands first, at or after `start`.
    func firstIndex(of other: Self, from start: Int = 0) -> Int? {
        guard other.count + start <= count else { return nil }
        return (start...count - other.count).first { matches(other, at: $0) }
    }

    func lastIndex(of other: Self, before end: Int? = nil) -> Int? {
        let last = (end ?? count) - other.count
        return last < 0 ? nil : (0...last).reversed().first { matches(other, at: $0) }
    }

    private func matches(_ other: Self, at i: Int) -> Bool {
        for k in 0..<other.count where (units[i + k] ^ other.units[k]) & ~Self.foreign != 0 { return false }
        return true
    }

    func hasPrefix(_ other: Self) -> Bool { count >= other.count && matches(other, at: 0) }
    func hasSuffix(_ other: Self) -> Bool { count >= other.count && matches(other, at: count - other.count) }

    /// As Python's `replace`: also of nothing, which stands between all characters.
    func replacing(_ old: Self, with new: Self, atMost limit: Int = .max) -> Self {
        var result: [UInt32] = []
        var (i, done) = (0, 0)
        if old.isEmpty {
            while i <= count {
                if done < limit {
                    result += new.units
                    done += 1
                }
                if i < count { result.append(units[i]) }
                i += 1
            }
            return Self(units: result)
        }
        while let found = done < limit ? firstIndex(of: old, from: i) : nil {
            result += units[i..<found]
            result += new.units
            i = found + old.count
            done += 1
        }
        result += units[i...]
        return Self(units: result)
    }

    // MARK: Stripping and splitting

    /// As Python's `strip`, `lstrip`, `rstrip`; nil strips white space.
    func stripped(_ characters: Self? = nil, left: Bool = true, right: Bool = true) -> Self {
        let set = characters.map { Set($0.values) }
        func isStripped(_ i: Int) -> Bool { set?.contains(units[i] & ~Self.foreign) ?? scalar(i).isPythonSpace }
        var (start, end) = (0, count)
        while left, start < end, isStripped(start) { start += 1 }
        while right, end > start, isStripped(end - 1) { end -= 1 }
        return self[start..<end]
    }

    /// As Python's `split` with a separator.
    func split(_ separator: Self, atMost limit: Int) -> [Self] {
        var (parts, i) = ([Self](), 0)
        while parts.count < limit, let found = firstIndex(of: separator, from: i) {
            parts.append(self[i..<found])
            i = found + separator.count
        }
        return parts + [self[i..<count]]
    }

    func splitFromEnd(_ separator: Self, atMost limit: Int) -> [Self] {
        var (parts, end) = ([Self](), count)
        while parts.count < limit, let found = lastIndex(of: separator, before: end) {
            parts.append(self[found + separator.count..<end])
            end = found
        }
        return (parts + [self[0..<end]]).reversed()
    }

    /// As Python's `split` without one: at runs of white space, of which none begins or ends a part.
    func splitAtSpace(atMost limit: Int) -> [Self] {
        var (parts, i) = ([Self](), 0)
        while true {
            while i < count, scalar(i).isPythonSpace { i += 1 }
            if i == count { return parts }
            if parts.count == limit { return parts + [self[i..<count].stripped(left: false)] }
            let start = i
            while i < count, !scalar(i).isPythonSpace { i += 1 }
            parts.append(self[start..<i])
        }
    }

    /// As Python's `splitlines`.
    func lines(keepingEnds: Bool) -> [Self] {
        var (result, start, i) = ([Self](), 0, 0)
        while i < count {
            var end = i + 1
            switch units[i] & ~Self.foreign {
            case 0x0D: if end < count, units[end] & ~Self.foreign == 0x0A { end += 1 }
            case 0x0A...0x0C, 0x1C...0x1E, 0x85, 0x2028, 0x2029: break
            default:
                i += 1
                continue
            }
            result.append(self[start..<(keepingEnds ? end : i)])
            (start, i) = (end, end)
        }
        if start < count { result.append(self[start..<count]) }
        return result
    }

    // MARK: Letters

    private func mapped(_ body: (Int, Unicode.Scalar) -> String) -> Self {
        var result: [UInt32] = []
        result.reserveCapacity(count)
        for i in 0..<count {
            for scalar in body(i, scalar(i)).unicodeScalars { result.append(scalar.value | units[i] & Self.foreign) }
        }
        return Self(units: result)
    }

    var uppercased: Self { mapped { $1.properties.uppercaseMapping } }

    var lowercased: Self {
        mapped { i, scalar in
            // A sigma at the end of a word has a form of its own.
            guard scalar == "Σ" else { return scalar.properties.lowercaseMapping }
            func isCased(_ positions: some Sequence<Int>) -> Bool {
                positions.first { !self.scalar($0).properties.isCaseIgnorable }
                    .map { self.scalar($0).properties.isCased } ?? false
            }
            return isCased((0..<i).reversed()) && !isCased(i + 1..<count) ? "ς" : "σ"
        }
    }

    /// The first character in title case, the rest small.
    var capitalized: Self {
        isEmpty ? self : self[0..<1].mapped { $1.properties.titlecaseMapping } + self[1..<count].lowercasedAfter(self)
    }

    private func lowercasedAfter(_ whole: Self) -> Self {
        let lower = whole.lowercased
        return lower.count == whole.count ? lower[1..<lower.count] : lowercased
    }
}

extension Unicode.Scalar {
    /// What Python takes for white space.
    var isPythonSpace: Bool { properties.isWhitespace || (0x1C...0x1F).contains(value) }
}
