import CLacuna

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// How much memory the process may still take, asked before what a file or a user wants is allocated: an operating system
/// that promises more than it has ends programs without a word.
public enum MachineMemory {
    /// Bytes that can be had without swapping: what the system calls available, within the limits of the control groups
    /// and of the process (`ulimit -v`).
    public static var available: Int {
        #if os(Linux)
            var available = Int.max
            if let text = text("/proc/meminfo"), let kilobytes = number(after: "MemAvailable:", in: text) {
                available = kilobytes * 1024
            }
            return max(0, min(available, controlGroupRoom, addressRoom))
        #else
            var (size, length) = (UInt64(0), MemoryLayout<UInt64>.size)
            guard sysctlbyname("hw.memsize", &size, &length, nil, 0) == 0 else { return Int.max }
            return max(0, Int(size) - peakResidentBytes())
        #endif
    }

    /// Hands back what was allocated and freed in small pieces, which the allocator otherwise keeps: worth calling once work
    /// of another kind is over, such as reading a vocabulary.
    public static func returnUnused() { lk_return_unused() }

    /// Less than this is not worth asking the system for.
    private static let noticeable = 16 << 20

    /// - Parameter what: What the memory is for, as the error names it.
    /// - Throws: ``LacunaError/resource(_:needed:available:)`` if there is less than `bytes`.
    public static func require(_ bytes: Int, for what: String) throws {
        guard bytes >= noticeable else { return }
        let available = available
        guard bytes <= available else {
            throw LacunaError.resource("memory for \(what)", needed: bytes, available: available)
        }
    }

    /// The same for an array of elements.
    ///
    /// - Returns: Bytes of the array.
    /// - Throws: As above, also where the number of bytes overflows; ``LacunaError/invalidArgument(_:reason:)`` for a negative
    ///   length.
    @discardableResult
    public static func require<Element>(shape: [Int], of type: Element.Type, for what: String) throws -> Int {
        var bytes = MemoryLayout<Element>.stride
        for length in shape {
            guard length >= 0 else {
                throw LacunaError.invalidArgument(what, reason: "a length of \(length) in \(shape)")
            }
            let (product, overflow) = bytes.multipliedReportingOverflow(by: length)
            // Half of the address space leaves room for alignment and slack.
            guard !overflow, product < 1 << 62 else {
                if shape.contains(0) { return 0 }
                throw LacunaError.resource("memory for \(what)", needed: .max, available: available)
            }
            bytes = product
        }
        try require(bytes, for: what)
        return bytes
    }

    // MARK: The end of memory

    private static let handler = Locked<(@Sendable (Int) -> Void)?>(nil)

    /// What a program does when memory for a size of its own making is exhausted: nothing that was begun can go on. The
    /// closure gets the bytes that were asked for; it should leave no unfinished files and end the process. Without it, or
    /// if it returns, the process traps.
    public static func whenExhausted(_ body: @escaping @Sendable (_ bytes: Int) -> Void) {
        handler.withLock { $0 = body }
    }

    static func exhausted(_ bytes: Int) -> Never {
        handler.withLock { $0 }?(bytes)
        fatalError("out of memory: \(bytes) bytes")
    }

    // MARK: What the system says

    #if os(Linux)
        private static func text(_ path: String) -> String? {
            let descriptor = open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { return nil }
            defer { close(descriptor) }
            var bytes = [UInt8](repeating: 0, count: 1 << 14)
            let count = read(descriptor, &bytes, bytes.count)
            return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
        }

        private static func number(after key: String, in text: String) -> Int? {
            for line in text.split(separator: "\n") where line.hasPrefix(key) {
                return line.dropFirst(key.count).split(separator: " ").first.flatMap { Int($0) }
            }
            return nil
        }

        private static func number(_ path: String) -> Int? {
            text(path).flatMap { Int($0.split(separator: "\n").first ?? "") }
        }

        private static var controlGroupRoom: Int {
            text("/proc/self/cgroup").map { controlGroupRoom($0, mount: "/sys/fs/cgroup") } ?? .max
        }

        /// The least that a control group leaves, of those that the process is in and those above them.
        ///
        /// In a container the path may be one of the host's that is not there: then what is mounted is the container's own group.
        ///
        /// - Parameters:
        ///   - groups: As `/proc/self/cgroup` has them.
        ///   - mount: What is mounted like `/sys/fs/cgroup`.
        static func controlGroupRoom(_ groups: String, mount: String) -> Int {
            var least = Int.max
            func take(_ group: String, in mount: String, _ names: (limit: String, usage: String)) {
                var path = group == "/" ? "" : group
                while true {
                    least = min(least, room(mount + path, names))
                    guard let slash = path.lastIndex(of: "/") else { return }
                    path = String(path[..<slash])
                }
            }
            for line in groups.split(separator: "\n") {
                let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
                guard fields.count == 3 else { continue }
                if fields[1].isEmpty { take(fields[2], in: mount, ("memory.max", "memory.current")) }
                if fields[1].split(separator: ",").contains("memory") {
                    take(fields[2], in: mount + "/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"))
                }
            }
            return least
        }

        /// What a control group leaves; files that the kernel merely keeps in memory make room when it is needed.
        private static func room(_ group: String, _ names: (limit: String, usage: String)) -> Int {
            guard let limit = number("\(group)/\(names.limit)"), limit < 1 << 60,
                let usage = number("\(group)/\(names.usage)")
            else { return .max }
            let cached = text("\(group)/memory.stat").flatMap { number(after: "inactive_file", in: $0) } ?? 0
            return limit - max(0, usage - cached)
        }

        /// What `ulimit -v` leaves of the address space.
        private static var addressRoom: Int {
            var limit = rlimit()
            #if canImport(Musl)
                guard getrlimit(RLIMIT_AS, &limit) == 0 else { return .max }
            #else
                guard getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0 else { return .max }
            #endif
            guard limit.rlim_cur < 1 << 62, let pages = text("/proc/self/statm")?.split(separator: " ").first,
                let pages = Int(pages)
            else { return .max }
            return Int(limit.rlim_cur) - pages * Int(sysconf(Int32(_SC_PAGESIZE)))
        }
    #endif
}
