/// Whether bytes so far can become a JSON object (RFC 8259) that a schema describes, byte by byte: a pushdown automaton. Where
/// alternatives begin alike it follows all of them.
///
/// Of what the grammar leaves open, white space goes on for at most ``mostSpace`` bytes, so that a model cannot write it for ever,
/// and nesting is at most ``JSONSchema/mostDepth``.
struct JSONPrefix: Sendable {
    /// Bytes of white space in a row, at most.
    static let mostSpace = 24

    /// What has to come within an object or array: a member, value or the end, a member, a colon, what follows a value.
    private enum Phase: UInt8 { case first, member, colon, after }

    /// What is open, the outermost first.
    private enum Frame: Equatable {
        /// A value of this kind has to come.
        case value(Int)
        /// One of the texts of a kind, so many bytes of it there.
        case text(Int, which: Int, place: Int)
        case string(JSONStringPrefix, Int)
        case number(JSONNumberPrefix)
        /// The members from `next` on may come; while its key or colon is awaited, the one of that number.
        case object(Int, next: Int, Phase)
        case key(Int, member: Int, place: Int)
        case map(Int, Phase)
        case mapKey(JSONStringPrefix)
        case array(Int, count: Int, Phase)

        var isContainer: Bool {
            switch self {
            case .object, .map, .array: true
            default: false
            }
        }
    }

    /// One way of reading the bytes.
    private struct Reading: Equatable {
        var frames: [Frame]
        var space = 0

        func pushing(_ frame: Frame) -> Reading { Reading(frames: frames + [frame]) }
        func replacing(_ frame: Frame) -> Reading { Reading(frames: frames.dropLast() + [frame]) }
        func popping() -> Reading { Reading(frames: Array(frames.dropLast())) }
    }

    private let schema: JSONSchema
    private var readings: [Reading]

    /// - Parameter schema: Any object, if it is not said.
    init(_ schema: JSONSchema = .anyObject) {
        self.schema = schema
        readings = [Reading(frames: [.value(schema.root)])]
    }

    /// Whether the object is complete. Nothing but white space may follow.
    var isComplete: Bool { readings.contains { $0.frames.isEmpty } }

    /// Characters that may still be in a string of which the bytes so far are whole characters, if nothing else can be: a text
    /// without quotes, backslashes and control characters is allowed if it is as short.
    var roomInString: Int? {
        guard readings.count == 1, let frame = readings[0].frames.last else { return nil }
        switch frame {
        case .string(let string, let kind) where string.isBetween: return schema.mostLength(kind) - string.count
        case .mapKey(let string) where string.isBetween: return .max
        default: return nil
        }
    }

    /// Takes the next byte.
    ///
    /// - Returns: Whether it can be; if not, the prefix is as it was no more.
    mutating func accept(_ byte: UInt8) -> Bool {
        var next: [Reading] = []
        for reading in readings { read(byte, reading, into: &next) }
        // Alternatives that have ended alike are one.
        if next.count > 1 {
            next = next.enumerated().filter { !next[..<$0.offset].contains($0.element) }.map(\.element)
        }
        readings = next
        return !next.isEmpty
    }

    private func read(_ byte: UInt8, _ reading: Reading, into next: inout [Reading]) {
        switch reading.frames.last {
        case .string(var string, let kind):
            switch string.accept(byte, most: schema.mostLength(kind)) {
            case .goesOn: next.append(reading.replacing(.string(string, kind)))
            case .ends where string.count >= schema.leastLength(kind): next.append(reading.popping())
            default: break
            }
        case .mapKey(var string):
            switch string.accept(byte, most: .max) {
            case .goesOn: next.append(reading.replacing(.mapKey(string)))
            case .ends:
                let outer = reading.popping()
                if case .map(let kind, _) = outer.frames.last { next.append(outer.replacing(.map(kind, .colon))) }
            case .cannotBe: break
            }
        case .key(let kind, let member, let place):
            let key = schema.members(kind)[member].key
            guard byte == key[place] else { return }
            next.append(
                place + 1 < key.count
                    ? reading.replacing(.key(kind, member: member, place: place + 1))
                    : reading.popping().replacing(.object(kind, next: member, .colon)))
        case .text(let kind, let which, let place):
            let text = schema.texts(kind)[which]
            guard byte == text[place] else { return }
            next.append(
                place + 1 < text.count
                    ? reading.replacing(.text(kind, which: which, place: place + 1)) : reading.popping())
        case .number(var number):
            if number.accept(byte) {
                next.append(reading.replacing(.number(number)))
            } else if number.isWhole {
                // What follows a number is what ends it.
                read(byte, reading.popping(), into: &next)
            }
        case let frame:
            if [0x20, 0x09, 0x0A, 0x0D].contains(byte) {
                if reading.space < Self.mostSpace {
                    next.append(Reading(frames: reading.frames, space: reading.space + 1))
                }
            } else if let frame {
                readBetween(byte, frame, reading, into: &next)
            }
        }
    }

    /// Whether a value of a kind can be within what is open, and all that it needs within itself.
    private func fits(_ kind: Int, in reading: Reading) -> Bool {
        reading.frames.count(where: \.isContainer) + schema.height(kind) <= JSONSchema.mostDepth
    }

    private func readBetween(_ byte: UInt8, _ frame: Frame, _ reading: Reading, into next: inout [Reading]) {
        switch (frame, byte) {
        case (.value(let kind), _):
            let outer = reading.popping()
            for alternative in schema.alternatives(kind) where fits(alternative, in: outer) {
                begin(alternative, byte, outer, into: &next)
            }

        case (.object(let kind, let first, .first), UInt8(ascii: "}")),
            (.object(let kind, let first, .after), UInt8(ascii: "}")):
            if schema.members(kind)[first...].allSatisfy({ !$0.isRequired }) { next.append(reading.popping()) }
        case (.object(let kind, let first, .first), UInt8(ascii: "\"")),
            (.object(let kind, let first, .member), UInt8(ascii: "\"")):
            for member in candidates(kind, from: first, in: reading) {
                next.append(reading.pushing(.key(kind, member: member, place: 1)))
            }
        case (.object(let kind, let member, .colon), UInt8(ascii: ":")):
            next.append(
                reading.replacing(.object(kind, next: member + 1, .after))
                    .pushing(.value(schema.members(kind)[member].value)))
        case (.object(let kind, let first, .after), UInt8(ascii: ",")):
            if !candidates(kind, from: first, in: reading).isEmpty {
                next.append(reading.replacing(.object(kind, next: first, .member)))
            }

        case (.map, UInt8(ascii: "}")):
            if case .map(_, let phase) = frame, phase == .first || phase == .after { next.append(reading.popping()) }
        case (.map(let kind, .first), UInt8(ascii: "\"")), (.map(let kind, .member), UInt8(ascii: "\"")):
            if fits(schema.content(kind), in: reading) { next.append(reading.pushing(.mapKey(JSONStringPrefix()))) }
        case (.map(let kind, .colon), UInt8(ascii: ":")):
            next.append(reading.replacing(.map(kind, .after)).pushing(.value(schema.content(kind))))
        case (.map(let kind, .after), UInt8(ascii: ",")): next.append(reading.replacing(.map(kind, .member)))

        case (.array(let kind, let count, .after), UInt8(ascii: "]")),
            (.array(let kind, let count, .first), UInt8(ascii: "]")):
            if schema.counts(kind).contains(count) { next.append(reading.popping()) }
        case (.array(let kind, let count, .after), UInt8(ascii: ",")):
            guard count < schema.counts(kind).upperBound, fits(schema.content(kind), in: reading) else { return }
            next.append(
                reading.replacing(.array(kind, count: count + 1, .after)).pushing(.value(schema.content(kind))))
        case (.array(let kind, _, .first), _):
            guard schema.counts(kind).upperBound > 0, fits(schema.content(kind), in: reading) else { return }
            read(
                byte, reading.replacing(.array(kind, count: 1, .after)).pushing(.value(schema.content(kind))),
                into: &next)
        default: break
        }
    }

    /// The members that may be the next: up to the first that has to be there.
    private func candidates(_ kind: Int, from first: Int, in reading: Reading) -> [Int] {
        let members = schema.members(kind)
        var result: [Int] = []
        for member in first..<members.count {
            if fits(members[member].value, in: reading) { result.append(member) }
            if members[member].isRequired { break }
        }
        return result
    }

    /// The first byte of a value of a kind that is no choice of others.
    private func begin(_ kind: Int, _ byte: UInt8, _ outer: Reading, into next: inout [Reading]) {
        switch schema[kind] {
        case .anyOf: break
        case .texts(let texts):
            for (which, text) in texts.enumerated() where text[0] == byte {
                next.append(text.count == 1 ? outer : outer.pushing(.text(kind, which: which, place: 1)))
            }
        case .string:
            if byte == UInt8(ascii: "\"") { next.append(outer.pushing(.string(JSONStringPrefix(), kind))) }
        case .number(let isInteger):
            if let number = JSONNumberPrefix(byte, isInteger: isInteger) { next.append(outer.pushing(.number(number))) }
        case .object:
            if byte == UInt8(ascii: "{") { next.append(outer.pushing(.object(kind, next: 0, .first))) }
        case .map: if byte == UInt8(ascii: "{") { next.append(outer.pushing(.map(kind, .first))) }
        case .array: if byte == UInt8(ascii: "[") { next.append(outer.pushing(.array(kind, count: 0, .first))) }
        }
    }
}
