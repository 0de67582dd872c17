#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A fixed-size block of memory aligned to 64 bytes, freed with its last reference.
///
/// Buffers carry 64 readable bytes beyond their last element, so that vector kernels may load whole vectors at a tail.
/// Buffers of 1 MiB and more ask for huge pages; smaller ones share them if they are
/// `lasting`. A buffer is `Sendable` by convention: it is written before it is shared, or through the unique owner (``Tensor``)
/// afterwards.
public final class Buffer<Element: BitwiseCopyable>: @unchecked Sendable {
    /// The first element. Only valid while something holds the buffer.
    package let pointer: UnsafeMutablePointer<Element>
    /// Number of elements.
    public let count: Int
    /// What the memory is a part of, if it is not the buffer's own.
    private let owner: AnyObject?

    /// Number of readable bytes beyond the last element.
    public static var slack: Int { 64 }

    /// Allocates `count` elements. The content is undefined, except for the slack, which is zero.
    /// - Parameter lasting: Whether the buffer will be kept as long as the lasting ones made before and after it, as the
    ///   weights of a model are: their memory is given back when the last of them is freed.
    ///
    /// For sizes of the program's own making: where memory is exhausted, the program ends
    /// (``MachineMemory/whenExhausted(_:)``). What a file or a user asks for goes through ``init(checking:lasting:for:)``.
    public init(uninitialized count: Int, lasting: Bool = false) {
        require(count >= 0)
        let size = count * MemoryLayout<Element>.stride
        guard let (raw, block) = HugePages.memory(size + Self.slack, lasting: lasting) else {
            MachineMemory.exhausted(size)
        }
        owner = block
        memset(raw + size, 0, Self.slack)
        pointer = raw.bindMemory(to: Element.self, capacity: count)
        self.count = count
    }

    /// The same for a size that comes from outside.
    ///
    /// - Parameter what: What the memory is for, as the error names it.
    /// - Throws: ``LacunaError/resource(_:needed:available:)`` if the machine has not that much memory to give, and
    ///   ``LacunaError/invalidArgument(_:reason:)`` for a negative count.
    public init(checking count: Int, lasting: Bool = false, for what: String) throws {
        let size = try MachineMemory.require(shape: [count], of: Element.self, for: what)
        guard let (raw, block) = HugePages.memory(size + Self.slack, lasting: lasting) else {
            throw LacunaError.resource(what, needed: size, available: MachineMemory.available)
        }
        owner = block
        memset(raw + size, 0, Self.slack)
        pointer = raw.bindMemory(to: Element.self, capacity: count)
        self.count = count
    }

    /// The first elements of a buffer that nothing else writes to any more: in place if they are most of it, else a copy, so that
    /// little memory is kept for nothing.
    package init(first count: Int, of whole: Buffer) {
        require((0...whole.count).contains(count), "the first \(count) of \(whole.count) elements")
        self.count = count
        if count * 4 >= whole.count * 3 {
            (pointer, owner) = (whole.pointer, whole)
            memset(pointer + count, 0, Self.slack)
        } else {
            let copy = Buffer(copying: whole.pointer, count: count)
            (pointer, owner) = (copy.pointer, copy)
        }
    }

    /// Elements that are somebody else's, in place.
    ///
    /// - Parameters:
    ///   - owner: Keeps them where they are; held as long as the buffer.
    /// - Precondition: The ``slack`` behind the last element can be read. What the bytes are does not matter.
    package init(borrowing pointer: UnsafeMutablePointer<Element>, count: Int, owner: AnyObject) {
        require(count >= 0)
        (self.pointer, self.count, self.owner) = (pointer, count, owner)
    }

    /// `count` elements, all of the same value; `lasting` as in ``init(uninitialized:lasting:)``.
    public convenience init(repeating value: Element, count: Int, lasting: Bool = false) {
        self.init(uninitialized: count, lasting: lasting)
        pointer.update(repeating: value, count: count)
    }

    /// A copy of the elements; `lasting` as in ``init(uninitialized:lasting:)``.
    public convenience init(_ elements: some Collection<Element>, lasting: Bool = false) {
        self.init(uninitialized: elements.count, lasting: lasting)
        _ = UnsafeMutableBufferPointer(start: pointer, count: count).initialize(from: elements)
    }

    /// A copy of `count` elements from `source` on.
    public convenience init(copying source: UnsafePointer<Element>, count: Int) {
        self.init(uninitialized: count)
        pointer.update(from: source, count: count)
    }

    deinit { if owner == nil { free(pointer) } }

    /// Bytes of the elements, the slack not counted.
    public var byteCount: Int { count * MemoryLayout<Element>.stride }

    /// The elements in place. Only valid while something else holds the buffer: never take them of a temporary.
    package var elements: UnsafeMutableBufferPointer<Element> { .init(start: pointer, count: count) }

    /// A copy of the elements.
    public var array: [Element] { withExtendedLifetime(self) { Array(elements) } }

    /// Calls `body` with the elements, which are only valid during the call.
    public func withElements<Result>(_ body: (UnsafeBufferPointer<Element>) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(self) { try body(UnsafeBufferPointer(elements)) }
    }

    /// Calls `body` with the elements to write, which are only valid during the call. Whoever else holds the buffer sees what is
    /// written.
    public func withMutableElements<Result>(
        _ body: (UnsafeMutableBufferPointer<Element>) throws -> Result
    ) rethrows -> Result {
        try withExtendedLifetime(self) { try body(elements) }
    }

    /// A buffer of its own with the same elements.
    public func copy() -> Buffer { Buffer(copying: pointer, count: count) }
}
