import LacunaTensor

/// Memory that goes from one step of training to the next: in steady state nothing is allocated.
///
/// Buffers are kept by size, rounded up so that at most a quarter of one is wasted. A pool belongs to one thread.
public final class BufferPool<Scalar: LearningScalar> {
    private var free: [[Buffer<Scalar>]] = Array(repeating: [], count: 256)
    /// Bytes of all buffers made so far, in use or not.
    public private(set) var allocatedBytes = 0
    /// Bytes of the buffers in use.
    public private(set) var usedBytes = 0
    /// The largest ``usedBytes`` so far, or since ``resetPeak()``.
    public private(set) var peakBytes = 0

    /// An empty pool.
    public init() {}

    /// Forgets the maximum of ``peakBytes`` before now.
    public func resetPeak() { peakBytes = usedBytes }

    /// Four sizes for each power of two, the smallest of 16 elements.
    private static func bucket(_ count: Int) -> (index: Int, capacity: Int) {
        if count <= 16 { return (0, 16) }
        let bits = Int.bitWidth - (count - 1).leadingZeroBitCount  // 2^(bits - 1) < count <= 2^bits
        let quarter = 1 << (bits - 3)
        let quarters = (count + quarter - 1) / quarter  // 5...8
        return ((bits - 4) * 4 + quarters - 4, quarters * quarter)
    }

    func take(_ count: Int) -> Storage<Scalar> {
        let (index, capacity) = Self.bucket(count)
        let buffer: Buffer<Scalar>
        if let old = free[index].popLast() {
            buffer = old
        } else {
            buffer = Buffer(uninitialized: capacity)
            allocatedBytes += buffer.byteCount
        }
        usedBytes += buffer.byteCount
        peakBytes = max(peakBytes, usedBytes)
        return Storage(buffer, count: count, pool: self)
    }

    fileprivate func give(_ buffer: Buffer<Scalar>) {
        usedBytes -= buffer.byteCount
        free[Self.bucket(buffer.count).index].append(buffer)
    }
}

/// Numbers that return to their pool with the last reference, or that a parameter owns.
final class Storage<Scalar: LearningScalar> {
    private let buffer: Buffer<Scalar>
    let pointer: UnsafeMutablePointer<Scalar>
    let count: Int
    private let pool: BufferPool<Scalar>?

    init(_ buffer: Buffer<Scalar>, count: Int, pool: BufferPool<Scalar>?) {
        self.buffer = buffer
        self.count = count
        self.pool = pool
        pointer = buffer.pointer
    }

    deinit { pool?.give(buffer) }

    /// The memory itself if it holds exactly `count` numbers, else a copy of that size.
    func buffer(of count: Int) -> Buffer<Scalar> {
        buffer.count == count ? buffer : Buffer(copying: pointer, count: count)
    }
}
