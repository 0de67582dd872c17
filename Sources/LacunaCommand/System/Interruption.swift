import LacunaIO
import LacunaTensor

/// Ctrl-C (SIGINT) and SIGTERM: the running work is asked to stop at its next safe point; if it does not within a grace
/// period, or the user insists, unfinished files are removed and the process ends.
///
/// The signal handler does nothing but wake a thread through a pipe; that thread may do anything. (Blocking the signals
/// and fetching them with `sigwait` would not do: OpenBLAS starts threads before `main`, and those do not block them.)
enum Interruption {
    private static let requested = Locked(false)
    private static let idle = Locked(false)
    private static let gracePeriod: Int32 = 3000
    nonisolated(unsafe) private static var wakeUp: (read: Int32, write: Int32) = (-1, -1)

    static var isRequested: Bool { requested.withLock { $0 } }

    /// Throws ``LacunaError/cancelled`` if the user asked to stop.
    static func check() throws {
        if isRequested { throw LacunaError.cancelled }
    }

    /// Runs `body`, which only waits for somebody: an interruption meanwhile ends the process at once.
    static func whileIdle<Result>(_ body: () -> Result) -> Result {
        idle.withLock { $0 = true }
        defer { idle.withLock { $0 = false } }
        return body()
    }

    /// Call once, at the start of the program.
    static func install() {
        var ends: [Int32] = [-1, -1]
        guard wakeUp.read < 0, pipe(&ends) == 0 else { return }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        wakeUp = (ends[0], ends[1])
        #if canImport(Darwin)
            var thread: pthread_t?
        #else
            var thread = pthread_t()
        #endif
        let status = pthread_create(
            &thread, nil,
            { _ in
                Interruption.watch()
                return nil
            }, nil)
        // Without the thread, the default action, which ends the process at once, is better.
        guard status == 0 else { return }
        for number in [SIGINT, SIGTERM] { signal(number) { Interruption.wake($0) } }
    }

    private static func wake(_ number: Int32) {
        let before = errno
        var byte = UInt8(truncatingIfNeeded: number)
        _ = write(wakeUp.write, &byte, 1)
        errno = before
    }

    private static func watch() {
        let number = nextSignal()
        requested.withLock { $0 = true }
        if idle.withLock({ $0 }) {
            Console.error.write("\n")
        } else {
            Console.error.write("\nlacuna: stopping (once more to stop at once)\n")
            var next = pollfd(fd: wakeUp.read, events: Int16(POLLIN), revents: 0)
            _ = poll(&next, 1, gracePeriod)
        }
        TemporaryFiles.removeAll()
        _exit(128 + number)
    }

    private static func nextSignal() -> Int32 {
        var byte: UInt8 = 0
        while read(wakeUp.read, &byte, 1) != 1 {}
        return Int32(byte)
    }
}
