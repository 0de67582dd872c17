import LacunaTensor

/// What a pickle describes. Nothing of it is run: calls stay descriptions of calls.
///
/// Containers are numbers of a ``Pickle``'s table, so that no nesting is deep.
enum PickleValue: Sendable, Equatable {
    case none
    case boolean(Bool)
    case integer(Int)
    case number(Double)
    case text(String)
    /// A name of a module, with a space between both.
    case global(String)
    case list(Int)
    case tuple(Int)
    /// Keys and values in turns.
    case dictionary(Int)
    /// What is called, and the tuple of what it is given.
    case call(Int)
    /// Something that is kept outside, by a description of it.
    case persistent(Int)
}

/// A pickle, as Python writes objects: protocols 2 to 5, as far as files of numbers use them.
struct Pickle {
    /// The object.
    let value: PickleValue
    /// Bytes behind the pickle's last.
    let end: Int
    private let table: [[PickleValue]]
    /// The numbers of what is kept outside.
    let persistent: [Int]

    /// The items of a list or tuple, the keys and values of a dictionary, what is called and its arguments; nil for what has none.
    func items(_ value: PickleValue) -> [PickleValue]? {
        switch value {
        case .list(let index), .tuple(let index), .dictionary(let index), .call(let index), .persistent(let index):
            table[index]
        default: nil
        }
    }

    /// More objects than this, and times that one is kept, are refused: every byte of a file may be one.
    static let limit = 1 << 22

    /// - Parameters:
    ///   - start: The pickle's first byte.
    ///   - file: For messages.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` and ``LacunaError/unsupported(file:what:)`` with the place.
    init(_ bytes: UnsafeRawBufferPointer, from start: Int = 0, file: String) throws {
        var machine = Machine(bytes: bytes, position: start, file: file)
        value = try machine.run()
        (end, table, persistent) = (machine.position, machine.table, machine.persistent)
    }
}

/// The stack machine that pickles are programs of.
private struct Machine {
    let bytes: UnsafeRawBufferPointer
    var position: Int
    let file: String
    private(set) var table: [[PickleValue]] = []
    private(set) var persistent: [Int] = []
    private var stack: [PickleValue] = []
    private var marks: [Int] = []
    private var memory: [Int: PickleValue] = [:]
    private var objects = 0
    /// Bytes of a module's name, and of a name in it.
    private static let longestName = 1024

    init(bytes: UnsafeRawBufferPointer, position: Int, file: String) {
        (self.bytes, self.position, self.file) = (bytes, position, file)
    }

    private func failure(_ reason: String) -> LacunaError {
        .malformed(file: file, location: "pickle, byte \(position)", reason: reason)
    }

    mutating func run() throws -> PickleValue {
        while true {
            let code = try byte()
            switch code {
            case 0x80:
                let version = try byte()
                guard (2...5).contains(version) else {
                    throw LacunaError.unsupported(file: file, what: "a pickle of protocol \(version)")
                }
            case 0x95: _ = try number(8)
            case UInt8(ascii: "."): return try pop()
            case UInt8(ascii: "N"): try push(.none)
            case 0x88: try push(.boolean(true))
            case 0x89: try push(.boolean(false))
            case UInt8(ascii: "K"): try push(.integer(try number(1)))
            case UInt8(ascii: "M"): try push(.integer(try number(2)))
            case UInt8(ascii: "J"): try push(.integer(Int(Int32(truncatingIfNeeded: try number(4)))))
            case 0x8a: try push(.integer(try long(Int(try byte()))))
            case UInt8(ascii: "G"): try push(.number(try double()))
            case UInt8(ascii: "X"): try push(.text(try text(try number(4))))
            case 0x8c: try push(.text(try text(try number(1))))
            case UInt8(ascii: "U"): try push(.text(try text(try number(1))))
            case UInt8(ascii: "c"):
                let module = try line()
                try push(.global("\(module) \(try line())"))
            case 0x93:
                guard case .text(let name) = try pop(), case .text(let module) = try pop() else {
                    throw failure("a name is no text")
                }
                // Texts that were kept may be asked for at every few bytes: of long ones each name would be as much anew.
                guard max(name.utf8.count, module.utf8.count) <= Self.longestName else {
                    throw failure("a name is longer than \(Self.longestName) bytes")
                }
                try push(.global("\(module) \(name)"))
            case UInt8(ascii: "("):
                marks.append(stack.count)
                try count()
            case UInt8(ascii: ")"): try push(.tuple(add([])))
            case 0x85...0x87: try push(.tuple(add(try take(Int(code) - 0x84))))
            case UInt8(ascii: "t"): try push(.tuple(add(try takeToMark())))
            case UInt8(ascii: "]"): try push(.list(add([])))
            case UInt8(ascii: "}"): try push(.dictionary(add([])))
            case UInt8(ascii: "a"): try append([try pop()])
            case UInt8(ascii: "e"): try append(try takeToMark())
            case UInt8(ascii: "s"): try set(try take(2))
            case UInt8(ascii: "u"): try set(try takeToMark())
            case UInt8(ascii: "q"): try keep(try number(1))
            case UInt8(ascii: "r"): try keep(try number(4))
            case 0x94: try keep(memory.count)
            case UInt8(ascii: "h"): try push(try recalled(try number(1)))
            case UInt8(ascii: "j"): try push(try recalled(try number(4)))
            case UInt8(ascii: "0"): _ = try pop()
            case UInt8(ascii: "Q"):
                let index = add([try pop()])
                persistent.append(index)
                try push(.persistent(index))
            case UInt8(ascii: "R"): try call()
            // What is set on an object beyond what made it, such as the versions of a state's layers.
            case UInt8(ascii: "b"): _ = try pop()
            case 0x81: throw LacunaError.unsupported(file: file, what: "a pickle of whole objects, such as modules")
            default:
                throw LacunaError.unsupported(
                    file: file, what: "a pickle with the operation \(code) at byte \(position - 1)")
            }
        }
    }

    /// An ordered dictionary is one; any other call stays a description.
    private mutating func call() throws {
        let arguments = try pop()
        let function = try pop()
        guard case .tuple(let index) = arguments else { throw failure("a call without arguments") }
        if function == .global("collections OrderedDict"), table[index].isEmpty {
            try push(.dictionary(add([])))
        } else {
            try push(.call(add([function, arguments])))
        }
    }

    // MARK: Numbers and text

    private mutating func byte() throws -> UInt8 {
        guard position < bytes.count else { throw failure("the file ends inside it") }
        defer { position += 1 }
        return bytes[position]
    }

    private mutating func number(_ count: Int) throws -> Int {
        var value: UInt64 = 0
        for i in 0..<count { value |= UInt64(try byte()) << (8 * UInt64(i)) }
        guard let result = Int(exactly: value) else { throw failure("a number is too large") }
        return result
    }

    private mutating func long(_ count: Int) throws -> Int {
        guard count <= 8 else { throw failure("a number of \(count) bytes is too large") }
        var value: UInt64 = 0
        for i in 0..<count { value |= UInt64(try byte()) << (8 * UInt64(i)) }
        if count == 0 { return 0 }
        let shift = UInt64(64 - 8 * count)
        return Int(Int64(bitPattern: value << shift) >> Int64(shift))
    }

    private mutating func double() throws -> Double {
        var bits: UInt64 = 0
        for _ in 0..<8 { bits = bits << 8 | UInt64(try byte()) }
        return Double(bitPattern: bits)
    }

    private mutating func text(_ count: Int) throws -> String {
        guard count <= bytes.count - position else { throw failure("a text is cut off") }
        defer { position += count }
        return String(decoding: bytes[position..<position + count], as: UTF8.self)
    }

    private mutating func line() throws -> String {
        var letters: [UInt8] = []
        while true {
            let next = try byte()
            if next == 10 { return String(decoding: letters, as: UTF8.self) }
            guard letters.count < Self.longestName else { throw failure("a name does not end") }
            letters.append(next)
        }
    }

    // MARK: The stack

    private mutating func count() throws {
        objects += 1
        guard objects <= Pickle.limit else {
            throw LacunaError.unsupported(file: file, what: "a pickle of more than \(Pickle.limit) objects")
        }
    }

    private mutating func push(_ value: PickleValue) throws {
        try count()
        stack.append(value)
    }

    private mutating func add(_ items: [PickleValue]) -> Int {
        table.append(items)
        return table.count - 1
    }

    private func top() throws -> PickleValue {
        guard let last = stack.last, stack.count > marks.last ?? 0 else {
            throw failure("there is nothing on the stack")
        }
        return last
    }

    private mutating func pop() throws -> PickleValue {
        let last = try top()
        stack.removeLast()
        return last
    }

    private mutating func take(_ count: Int) throws -> [PickleValue] {
        guard stack.count - (marks.last ?? 0) >= count else { throw failure("there is too little on the stack") }
        defer { stack.removeLast(count) }
        return Array(stack.suffix(count))
    }

    private mutating func takeToMark() throws -> [PickleValue] {
        guard let mark = marks.popLast() else { throw failure("there is no mark on the stack") }
        defer { stack.removeLast(stack.count - mark) }
        return Array(stack[mark...])
    }

    /// Keeps what is on top under a number; that counts as an object, as it takes as much.
    private mutating func keep(_ key: Int) throws {
        memory[key] = try top()
        try count()
    }

    private func recalled(_ key: Int) throws -> PickleValue {
        guard let value = memory[key] else { throw failure("nothing was kept as number \(key)") }
        return value
    }

    private mutating func append(_ items: [PickleValue]) throws {
        guard case .list(let index) = try top() else { throw failure("items without a list") }
        table[index] += items
    }

    private mutating func set(_ items: [PickleValue]) throws {
        guard case .dictionary(let index) = try top(), items.count % 2 == 0 else {
            throw failure("items without a dictionary")
        }
        table[index] += items
    }
}
