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
/// Buffers of 1 MiB and more ask for huge pages. A buffer is `Sendable` by convention: it is written before it is
/// shared, or through the unique owner (`Tensor`) afterwards.
public final class Buffer<Element: BitwiseCopyable>: @unchecked Sendable {
    public let pointer: UnsafeMutablePointer<Element>
    public let count: Int

    /// Number of readable bytes beyond the last element.
    public static var slack: Int { 64 }

    /// Allocates `count` elements. The content is undefined, except for the slack, which is zero.
    public init(uninitialized count: Int) {
        precondition(count >= 0)
        let size = count * MemoryLayout<Element>.stride
        let huge = size >= 1 << 20
        let alignment = huge ? 1 << 21 : 64
        let total = (size + Self.slack + alignment - 1) / alignment * alignment
        var raw: UnsafeMutableRawPointer?
        // Exhausted memory is not a condition that a caller could handle: sizes from files are checked when read.
        guard posix_memalign(&raw, alignment, total) == 0, let raw else {
            fatalError("out of memory: \(total) bytes")
        }
        #if os(Linux)
            let adviseHugePages: Int32 = 14  // MADV_HUGEPAGE, which Glibc's module does not export
            if huge { madvise(raw, total, adviseHugePages) }
        #endif
        memset(raw + size, 0, min(Self.slack, total - size))
        pointer = raw.bindMemory(to: Element.self, capacity: count)
        self.count = count
    }

    public convenience init(repeating value: Element, count: Int) {
        self.init(uninitialized: count)
        pointer.update(repeating: value, count: count)
    }

    public convenience init(_ elements: some Collection<Element>) {
        self.init(uninitialized: elements.count)
        _ = UnsafeMutableBufferPointer(start: pointer, count: count).initialize(from: elements)
    }

    public convenience init(copying source: UnsafePointer<Element>, count: Int) {
        self.init(uninitialized: count)
        pointer.update(from: source, count: count)
    }

    deinit { free(pointer) }

    /// Bytes of the elements, the slack not counted.
    public var byteCount: Int { count * MemoryLayout<Element>.stride }

    /// The elements in place. Only valid while something else holds the buffer: never take them of a temporary.
    public var elements: UnsafeMutableBufferPointer<Element> { .init(start: pointer, count: count) }

    /// A copy of the elements.
    public var array: [Element] { withExtendedLifetime(self) { Array(elements) } }

    public func copy() -> Buffer { Buffer(copying: pointer, count: count) }
}
