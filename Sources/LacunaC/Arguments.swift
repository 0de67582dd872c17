import LacunaSparse
import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// What callers give, checked.
enum Arguments {
    static func text(_ pointer: UnsafePointer<CChar>?, _ argument: String) throws -> String {
        guard let pointer else { throw refused(argument, "is NULL") }
        // A repaired one would be another text, or the name of another file.
        guard let text = String(validatingCString: pointer) else { throw refused(argument, "is not UTF-8") }
        return text
    }

    static func texts(
        _ pointer: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int, _ argument: String
    ) throws -> [String] {
        try present(pointer, count, argument).enumerated().map { place, text in
            guard let text else { throw refused(argument, "number \(place) is NULL") }
            guard let valid = String(validatingCString: text) else {
                throw refused(argument, "number \(place) is not UTF-8")
            }
            return valid
        }
    }

    /// The bytes of a text for `lacuna_text_free`.
    static func give(_ text: String, _ place: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) throws {
        guard let place else { throw refused("text", "is NULL") }
        guard let bytes = strdup(endingAtItsEnd(text)) else {
            let needed = text.utf8.count + 1
            throw LacunaError.resource("memory for a text", needed: needed, available: MachineMemory.available)
        }
        place.pointee = bytes
    }

    /// The text as C reads it whole: a character NUL, which would end it, becomes U+FFFD.
    static func endingAtItsEnd(_ text: String) -> String {
        text.utf8.contains(0) ? text.replacing("\0", with: "\u{FFFD}") : text
    }

    /// A number of things.
    static func count(_ value: Int64, _ argument: String, atLeast least: Int = 0) throws -> Int {
        // Half of the address space: no product of a length and a width in bytes overflows unnoticed below.
        guard value >= least else { throw refused(argument, "is \(value), not at least \(least)") }
        guard value < 1 << 48 else { throw refused(argument, "is \(value), more than there can be") }
        return Int(value)
    }

    static func present<Element>(_ pointer: UnsafePointer<Element>?, _ count: Int, _ argument: String) throws
        -> UnsafeBufferPointer<
            Element
        >
    {
        if pointer == nil && count > 0 { throw refused(argument, "is NULL") }
        return UnsafeBufferPointer(start: pointer, count: count)
    }

    /// Numbers where processors expect numbers of their type.
    static func numbers<Element>(
        _ pointer: UnsafeRawPointer?, of type: Element.Type, _ argument: String
    ) throws -> UnsafePointer<Element> {
        guard let pointer else { throw refused(argument, "is NULL") }
        let alignment = MemoryLayout<Element>.alignment
        guard UInt(bitPattern: pointer) % UInt(alignment) == 0 else {
            throw refused(argument, "is at an address that is no multiple of \(alignment)")
        }
        return pointer.assumingMemoryBound(to: Element.self)
    }

    static func copy(_ pointer: UnsafePointer<Double>?, _ count: Int64, _ argument: String) throws -> [Double] {
        try Array(present(pointer, Arguments.count(count, "count of \(argument)"), argument))
    }

    static func tokens(_ pointer: UnsafePointer<Int64>?, _ count: Int64) throws -> [Int] {
        try present(pointer, Arguments.count(count, "count"), "tokens").map { Int($0) }
    }

    /// A whole number that was given as a `double`.
    static func integer(_ number: Double, _ argument: String) throws -> Int {
        guard let value = Int(exactly: number) else { throw refused(argument, "is \(number), not a whole number") }
        return value
    }
}

/// Memory of the caller's, which lives as long as the caller says.
private final class Foreign {}

extension Buffer {
    /// The caller's numbers: in place if they may be borrowed and the bytes behind them that vector loads may touch can be read,
    /// else a copy.
    static func foreign(
        _ pointer: UnsafeRawPointer?, count: Int, borrowed: Bool, for what: String
    ) throws -> Buffer<Element> {
        if count == 0 { return Buffer(uninitialized: 0) }
        guard let pointer else { throw refused(what, "is NULL") }
        let start = UInt(bitPattern: pointer)
        let last = start + UInt(count * MemoryLayout<Element>.stride) - 1
        // No system has smaller pages, and a page is readable as a whole.
        let page: UInt = 4096
        if borrowed, start % UInt(MemoryLayout<Element>.alignment) == 0, last / page == (last + UInt(slack)) / page {
            let elements = pointer.bindMemory(to: Element.self, capacity: count)
            return Buffer(borrowing: UnsafeMutablePointer(mutating: elements), count: count, owner: Foreign())
        }
        let copy = try Buffer(checking: count, for: what)
        memcpy(copy.pointer, pointer, count * MemoryLayout<Element>.stride)
        return copy
    }
}

extension SparsePattern {
    /// The caller's compressed rows, checked: nothing is read of them that the check has not seen.
    ///
    /// - Complexity: O(rows + entries).
    static func foreign(
        rows: Int64, columns: Int64, count: Int64, startBits: Int32, _ starts: UnsafeRawPointer?, indexBits: Int32,
        _ indices: UnsafeRawPointer?, borrowed: Bool
    ) throws -> SparsePattern {
        let rows = try Arguments.count(rows, "rows")
        let columns = try Arguments.count(columns, "columns")
        let count = try Arguments.count(count, "count")
        guard rows <= maximumSide, columns <= maximumSide else {
            throw refused("shape", "[\(rows), \(columns)]: each side must be in 0...\(maximumSide)")
        }
        guard count <= Int(Int32.max) else {
            throw LacunaError.unsupported(file: nil, what: "a matrix of more than \(Int32.max) entries")
        }
        let rowStarts: Buffer<Int>
        switch startBits {
        case 64: rowStarts = try .foreign(starts, count: rows + 1, borrowed: borrowed, for: "starts")
        case 32:
            let narrow = try Buffer<Int32>.foreign(starts, count: rows + 1, borrowed: true, for: "starts")
            rowStarts = try Buffer(checking: rows + 1, for: "starts")
            for i in 0...rows { rowStarts.pointer[i] = Int(narrow.pointer[i]) }
        default: throw refused("start_bits", "are \(startBits), not 32 or 64")
        }
        let at = rowStarts.pointer
        guard at[0] == 0, at[rows] == count else {
            throw refused("starts", "must run from 0 to \(count), not from \(at[0]) to \(at[rows])")
        }
        for row in 0..<rows where at[row] > at[row + 1] { throw refused("starts", "row \(row) ends before it begins") }
        let columnIndices: Buffer<UInt32>
        switch indexBits {
        case 32: columnIndices = try .foreign(indices, count: count, borrowed: borrowed, for: "indices")
        case 64:
            let wide = try Buffer<Int64>.foreign(indices, count: count, borrowed: true, for: "indices")
            columnIndices = try Buffer(checking: count, for: "indices")
            for i in 0..<count {
                // What does not fit becomes the largest number, which is no column.
                columnIndices.pointer[i] = UInt32(exactly: wide.pointer[i]) ?? .max
            }
        default: throw refused("index_bits", "are \(indexBits), not 32 or 64")
        }
        try requireOrder(at, UnsafePointer(columnIndices.pointer), rows: rows, columns: columns)
        return SparsePattern(rows: rows, columns: columns, starts: rowStarts, columnIndices: columnIndices)
    }

    /// The same in memory of its own, for what outlives the matrix that a caller lent the arrays to.
    func owned() throws -> SparsePattern {
        try withCompressedRows { starts, indices in
            let ownStarts = try Buffer<Int>(checking: starts.count, for: "starts")
            for i in starts.indices { ownStarts.pointer[i] = starts[i] }
            let ownIndices = try Buffer<UInt32>(checking: indices.count, for: "indices")
            if let first = indices.baseAddress { ownIndices.pointer.update(from: first, count: indices.count) }
            return SparsePattern(rows: rows, columns: columns, starts: ownStarts, columnIndices: ownIndices)
        }
    }

    /// Columns ascend strictly in every row and are below `columns`. Negative numbers of 32 bits are large ones here.
    private static func requireOrder(
        _ starts: UnsafePointer<Int>, _ indices: UnsafePointer<UInt32>, rows: Int, columns: Int
    ) throws {
        func isWrong(_ row: Int) -> Bool {
            let (start, end) = (starts[row], starts[row + 1])
            if start == end { return false }
            var wrong = Int(indices[end - 1]) >= columns
            var previous = indices[start]
            for j in start + 1..<max(end, start + 1) {
                wrong = wrong || indices[j] <= previous
                previous = indices[j]
            }
            return wrong
        }
        let grain = max(1024, rows / 64)
        let parts = (rows + grain - 1) / grain
        let found = Buffer<Bool>(repeating: false, count: parts)
        Parallel.forEach(parts) { part in
            found.pointer[part] = (part * grain..<min((part + 1) * grain, rows)).contains(where: isWrong)
        }
        guard let part = found.array.firstIndex(of: true) else { return }
        let row = (part * grain..<rows).first(where: isWrong) ?? 0
        throw refused("indices", "row \(row): its columns do not ascend, or are not below \(columns)")
    }
}

/// `lacuna_progress` of lacuna.h.
public typealias ProgressCallback =
    @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?, Int64, Int64) -> Int32

/// `lacuna_receive` of lacuna.h.
public typealias ReceiveCallback = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?) -> Int32

/// Asks the caller's function whether to go on, whenever the work asks this.
final class CallbackProgress: ProgressReporter, @unchecked Sendable {
    private let callback: ProgressCallback
    private let context: UnsafeMutableRawPointer?
    private let last = Locked((task: "", completed: 0, total: 0, isCancelled: false))

    init?(_ callback: ProgressCallback?, _ context: UnsafeMutableRawPointer?) {
        guard let callback else { return nil }
        (self.callback, self.context) = (callback, context)
    }

    var isCancelled: Bool {
        let now = last.withLock { $0 }
        if now.isCancelled { return true }
        let answer = now.task.withCString { callback(context, $0, Int64(now.completed), Int64(now.total)) }
        if answer != 0 { last.withLock { $0.isCancelled = true } }
        return answer != 0
    }

    func update(task: String, completed: Int, total: Int, detail: String) {
        last.withLock { ($0.task, $0.completed, $0.total) = (task, completed, total) }
    }
}
