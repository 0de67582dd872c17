import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A ``Collective`` whose processes are threads of this one: for tests of what is to run on several machines, and for trying
/// it out. It makes nothing faster, as the threads of one process share its kernels' threads.
public final class ThreadRanks: Collective, @unchecked Sendable {
    public let rank: Int
    public var count: Int { meeting.count }
    private let meeting: Meeting

    private init(rank: Int, meeting: Meeting) { (self.rank, self.meeting) = (rank, meeting) }

    /// Runs a body in `count` threads, each with its rank, and returns what each has given, by rank.
    ///
    /// - Parameters:
    ///   - count: 1 to 64.
    ///   - body: Is given the collective. If it throws in one thread, the others fail at what they ask for next.
    /// - Throws: `LacunaError.invalidArgument` for another count; what the body throws, of several errors that of the lowest rank
    ///   that did not fail for another's sake.
    public static func run<Value: Sendable>(
        _ count: Int, _ body: @escaping @Sendable (ThreadRanks) throws -> Value
    ) throws -> [Value] {
        guard (1...64).contains(count) else {
            throw LacunaError.invalidArgument("count", reason: "\(count) threads are not 1 to 64")
        }
        let meeting = Meeting(count)
        let results = Locked([Result<Value, any Error>?](repeating: nil, count: count))
        let threads = (0..<count).map { rank in
            JoinableThread {
                let result = Result { try body(ThreadRanks(rank: rank, meeting: meeting)) }
                results.withLock { $0[rank] = result }
                if case .failure = result { meeting.close() }
            }
        }
        if threads.contains(where: { $0 == nil }) { meeting.close() }
        for thread in threads { thread?.join() }
        let all = results.withLock { $0 }.map { $0 ?? .failure(Meeting.left) }
        let errors = all.compactMap { result -> (any Error)? in
            if case .failure(let error) = result { error } else { nil }
        }
        if let error = errors.first(where: { $0 as? LacunaError != Meeting.left }) ?? errors.first { throw error }
        return try all.map { try $0.get() }
    }

    public func exchange(_ pieces: [[UInt8]]) throws -> [[UInt8]] {
        require(pieces.count == count, "\(pieces.count) pieces for \(count) ranks")
        return try meeting.exchange(rank, pieces)
    }

    /// Where the threads leave what they send and wait for the others.
    private final class Meeting: @unchecked Sendable {
        static let left = LacunaError.numerical(
            operation: "collective", reason: "another rank has failed or could not begin")
        let count: Int
        private let lock = ThreadLock()
        private let changed: UnsafeMutablePointer<pthread_cond_t>
        private var pieces: [[[UInt8]]]
        private var (arrived, leaving, isClosed) = (0, 0, false)

        init(_ count: Int) {
            self.count = count
            pieces = Array(repeating: [], count: count)
            changed = .allocate(capacity: 1)
            pthread_cond_init(changed, nil)
        }

        deinit {
            pthread_cond_destroy(changed)
            changed.deallocate()
        }

        func exchange(_ rank: Int, _ sent: [[UInt8]]) throws -> [[UInt8]] {
            try lock.withLock {
                // The last exchange ends for all before the next begins.
                while leaving > 0 && !isClosed { lock.wait(changed) }
                if isClosed { throw Self.left }
                pieces[rank] = sent
                arrived += 1
                if arrived == count {
                    leaving = count
                    pthread_cond_broadcast(changed)
                }
                while leaving == 0 && !isClosed { lock.wait(changed) }
                if leaving == 0 { throw Self.left }
                let received = pieces.map { $0[rank] }
                leaving -= 1
                if leaving == 0 {
                    arrived = 0
                    pthread_cond_broadcast(changed)
                }
                return received
            }
        }

        func close() {
            lock.withLock {
                isClosed = true
                pthread_cond_broadcast(changed)
            }
        }
    }
}
