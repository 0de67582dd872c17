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
/// Buffers of 1 MiB and more ask for huge pages; smaller ones share them if they are `lasting`. A buffer is `Sendable` by convention: it is written before it is
/// shared, or through the unique owner (`Tensor`) afterwards.
public final class Buffer<Element: BitwiseCopyable>: @unchecked Sendable {
    public let pointer: UnsafeMutablePointer<Element>
    public let count: Int
    /// What the memory is a part of, if it is shared.
    private let block: HugePages.Block?

    /// Number of readable bytes beyond the last element.
    public static var slack: Int { 64 }

    /// Allocates `count` elements. The content is undefined, except for the slack, which is zero.
    /// - Parameter lasting: Whether the buffer will be kept as long as the lasting ones made before and after it, as the
    ///   weights of a model are: their memory is given back when the last of them is freed.
    public init(uninitialized count: Int, lasting: Bool = false) {
        precondition(count >= 0)
        let size = count * MemoryLayout<Element>.stride
        let raw: UnsafeMutableRawPointer
        if lasting && size + Self.slack <= HugePages.Block.largestPart {
            (raw, block) = HugePages.share(size + Self.slack)
        } else if size >= HugePages.size / 2 {
            (raw, block) = (HugePages.allocate(size + Self.slack), nil)
        } else {
            (raw, block) = (HugePages.allocate(size + Self.slack, alignment: 64), nil)
        }
        memset(raw + size, 0, Self.slack)
        pointer = raw.bindMemory(to: Element.self, capacity: count)
        self.count = count
    }

    public convenience init(repeating value: Element, count: Int, lasting: Bool = false) {
        self.init(uninitialized: count, lasting: lasting)
        pointer.update(repeating: value, count: count)
    }

    public convenience init(_ elements: some Collection<Element>, lasting: Bool = false) {
        self.init(uninitialized: elements.count, lasting: lasting)
        _ = UnsafeMutableBufferPointer(start: pointer, count: count).initialize(from: elements)
    }

    public convenience init(copying source: UnsafePointer<Element>, count: Int) {
        self.init(uninitialized: count)
        pointer.update(from: source, count: count)
    }

    deinit { if block == nil { free(pointer) } }

    /// Bytes of the elements, the slack not counted.
    public var byteCount: Int { count * MemoryLayout<Element>.stride }

    /// The elements in place. Only valid while something else holds the buffer: never take them of a temporary.
    public var elements: UnsafeMutableBufferPointer<Element> { .init(start: pointer, count: count) }

    /// A copy of the elements.
    public var array: [Element] { withExtendedLifetime(self) { Array(elements) } }

    public func copy() -> Buffer { Buffer(copying: pointer, count: count) }
}
