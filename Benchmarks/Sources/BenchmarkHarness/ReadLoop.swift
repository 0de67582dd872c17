import CBenchmark
import LacunaTensor

/// A plain loop that reads memory once, on all threads of the pool: the most that a program bound by memory can reach.
public final class ReadLoop: Sendable {
    private let words: Buffer<UInt64>
    private let bytesPerCall: Int

    /// - Parameter coldBytes: More than all caches hold.
    public init(coldBytes: Int) {
        bytesPerCall = max(1 << 20, min(coldBytes / 4, 64 << 20)) / itemBytes * itemBytes
        words = Buffer(repeating: 1, count: max(1, coldBytes / bytesPerCall) * bytesPerCall / 8)
    }

    /// Reads a part of the buffer a call, the parts in turn.
    public var candidate: Candidate {
        let bytes = bytesPerCall
        let parts = words.count * 8 / bytes
        return Candidate("plain read loop", work: Work(bytes: Double(bytes))) { [self] call in
            read(bytes: bytes, at: call % parts * bytes)
        }
    }

    /// Reads the whole buffer, after which the caches hold nothing else.
    public func evict() { read(bytes: words.count * 8, at: 0) }

    private func read(bytes: Int, at offset: Int) {
        let start = UnsafePointer(words.pointer) + offset / 8
        let sums = Buffer<UInt64>(uninitialized: bytes / itemBytes)
        Parallel.forEach(sums.count) { item in
            sums.pointer[item] = lb_sum(start + item * (itemBytes / 8), itemBytes / 8)
        }
        // Every word is 1. The check also keeps the compiler from dropping the loop.
        precondition(sums.array.reduce(0, &+) == UInt64(bytes / 8))
    }
}

/// What one item of the parallel loop reads.
private let itemBytes = 1 << 20
