import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Makes the batches of the next steps on a thread of its own while the present one is in use.
public final class Prefetcher<Source: BatchSource>: @unchecked Sendable {
    private let source: Source
    private let depth: Int
    private let lock = ThreadLock()
    private let changed: UnsafeMutablePointer<pthread_cond_t>
    private var ready: [Int: Source.Batch] = [:]
    private var wanted: Int
    private var isStopped = false
    private var thread: JoinableThread?

    /// - Parameters:
    ///   - first: The step that will be asked for first.
    ///   - depth: Batches to have ready. 0 makes every batch when it is asked for.
    public init(_ source: Source, first: Int = 0, depth: Int = 2) {
        self.source = source
        self.depth = depth
        wanted = first
        changed = .allocate(capacity: 1)
        pthread_cond_init(changed, nil)
        // Without a thread batches are made when they are asked for.
        if depth > 0 { thread = JoinableThread { [self] in work() } }
    }

    deinit {
        pthread_cond_destroy(changed)
        changed.deallocate()
    }

    /// The batch of a step. Steps are asked for in ascending order, one at a time.
    public func batch(step: Int) -> Source.Batch {
        if thread == nil { return source.batch(step: step) }
        return lock.withLock {
            wanted = step
            ready = ready.filter { $0.key >= step }
            pthread_cond_broadcast(changed)
            while ready[step] == nil { lock.wait(changed) }
            wanted = step + 1
            pthread_cond_broadcast(changed)
            return ready.removeValue(forKey: step)!
        }
    }

    /// Ends the thread. Call when no more batches are needed.
    public func stop() {
        guard let thread else { return }
        lock.withLock {
            isStopped = true
            pthread_cond_broadcast(changed)
        }
        thread.join()
        self.thread = nil
    }
}

extension Prefetcher {
    private func work() {
        while true {
            let step: Int? = lock.withLock {
                while !isStopped {
                    if let next = (wanted..<wanted + depth).first(where: { ready[$0] == nil }) { return next }
                    lock.wait(changed)
                }
                return nil
            }
            guard let step else { return }
            let batch = source.batch(step: step)
            lock.withLock {
                ready[step] = batch
                pthread_cond_broadcast(changed)
            }
        }
    }
}
