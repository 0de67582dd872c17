#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Memory that the system is asked to map in pages of 2 MiB: reading weights then does not wait for address translation,
/// and the processor's own prefetching runs on where it would stop at the end of a small page.
enum HugePages {
    static let size = 2 << 20

    /// Memory that several buffers share, freed with the last of them.
    final class Block: @unchecked Sendable {
        static let size = 16 * HugePages.size
        /// What is larger gets memory of its own.
        static let largestPart = 2 * HugePages.size
        private let start: UnsafeMutableRawPointer
        private var used = 0

        init?() {
            guard let start = HugePages.attempt(Block.size, alignment: HugePages.size) else { return nil }
            self.start = start
        }
        deinit { free(start) }

        /// The next `bytes`, if so many are left.
        func take(_ bytes: Int) -> UnsafeMutableRawPointer? {
            let end = used + (bytes + 63) / 64 * 64
            guard end <= Block.size else { return nil }
            defer { used = end }
            return start + used
        }
    }

    private static let current = Locked<Block?>(nil)

    /// `bytes` of a block, at most ``Block/largestPart``; nil if memory is exhausted.
    private static func share(_ bytes: Int) -> (UnsafeMutableRawPointer, Block)? {
        require(bytes <= Block.largestPart)
        return current.withLock { current in
            if let block = current, let part = block.take(bytes) { return (part, block) }
            guard let block = Block() else { return nil }
            current = block
            return block.take(bytes).map { ($0, block) }
        }
    }

    /// Memory for a buffer of `bytes`: a part of a block for small lasting ones, otherwise memory of its own, in large
    /// pages where that pays. Nil if memory is exhausted.
    static func memory(_ bytes: Int, lasting: Bool) -> (UnsafeMutableRawPointer, Block?)? {
        if lasting && bytes <= Block.largestPart { return share(bytes).map { ($0.0, $0.1) } }
        return attempt(bytes, alignment: bytes >= size / 2 ? size : 64).map { ($0, nil) }
    }

    /// `bytes` for `free`; nil if memory is exhausted.
    private static func attempt(_ bytes: Int, alignment: Int) -> UnsafeMutableRawPointer? {
        let (padded, overflow) = bytes.addingReportingOverflow(alignment - 1)
        guard !overflow else { return nil }
        let total = padded / alignment * alignment
        var raw: UnsafeMutableRawPointer?
        guard posix_memalign(&raw, alignment, total) == 0, let raw else { return nil }
        #if os(Linux)
            let adviseHugePages: Int32 = 14  // MADV_HUGEPAGE, which Glibc's module does not export
            if alignment == size { madvise(raw, total, adviseHugePages) }
        #endif
        return raw
    }
}
