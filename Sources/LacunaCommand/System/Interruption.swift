import LacunaIO
import LacunaTensor

/// Ctrl-C (SIGINT), SIGTERM and the loss of the terminal (SIGHUP): the running work is asked to stop at its next safe
/// point. If it has not got there within a moment, or the user insists, unfinished files are removed and the process ends:
/// whatever is half done can be done again. Work that has something to save first, and says so, is waited for.
///
/// The signal handler does nothing but wake a thread through a pipe; that thread may do anything. (Blocking the signals
/// and fetching them with `sigwait` would not do: OpenBLAS starts threads before `main`, and those do not block them.)
enum Interruption {
    private struct State {
        var signal: Int32?
        var isIdle = false
        var isSaving = false
    }

    private static let state = Locked(State())
    /// Less than the half second after which people press the keys again.
    private static let moment: Int32 = 350
    /// How long work that saves its state may take to get there.
    private static let savingPeriod: Int32 = 60_000
    nonisolated(unsafe) private static var wakeUp: (read: Int32, write: Int32) = (-1, -1)

    static var isRequested: Bool { signalNumber != nil }

    /// The signal that asked to stop.
    static var signalNumber: Int32? { state.withLock { $0.signal } }

    /// Throws ``LacunaError/cancelled`` if the user asked to stop.
    static func check() throws {
        if isRequested { throw LacunaError.cancelled }
    }

    /// Runs `body`, which only waits for somebody: an interruption meanwhile ends the process at once.
    static func whileIdle<Result>(_ body: () -> Result) -> Result {
        state.withLock { $0.isIdle = true }
        defer { state.withLock { $0.isIdle = false } }
        return body()
    }

    /// Runs `body`, which saves what it has when it is asked to stop: an interruption waits for that.
    static func whileSaving<Result>(_ body: () throws -> Result) rethrows -> Result {
        state.withLock { $0.isSaving = true }
        defer { state.withLock { $0.isSaving = false } }
        return try body()
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
        for number in [SIGINT, SIGTERM, SIGHUP] {
            // nohup has the loss of the terminal ignored, and means it.
            var before = sigaction()
            if number == SIGHUP && sigaction(number, nil, &before) == 0 && isIgnored(before) { continue }
            signal(number) { Interruption.wake($0) }
        }
    }

    private static func isIgnored(_ action: sigaction) -> Bool {
        #if canImport(Darwin)
            let handler = action.__sigaction_u.__sa_handler
        #elseif canImport(Musl)
            let handler = action.__sa_handler.sa_handler
        #else
            let handler = action.__sigaction_handler.sa_handler
        #endif
        return unsafeBitCast(handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    private static func wake(_ number: Int32) {
        let before = errno
        var byte = UInt8(truncatingIfNeeded: number)
        _ = write(wakeUp.write, &byte, 1)
        errno = before
    }

    private static func watch() {
        let number = nextSignal()
        let (isIdle, isSaving) = state.withLock { state in
            state.signal = number
            return (state.isIdle, state.isSaving)
        }
        if isIdle {
            Console.error.write("\n")
        } else {
            Console.error.write(
                isSaving
                    ? "\nlacuna: stopping once this step is saved (once more to stop at once)\n" : "\nlacuna: stopping\n")
            var next = pollfd(fd: wakeUp.read, events: Int16(POLLIN), revents: 0)
            _ = poll(&next, 1, isSaving ? savingPeriod : moment)
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
