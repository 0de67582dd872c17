import Dispatch

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

enum Threads {
    /// Runs a closure on a thread that may block.
    static func start(_ body: @escaping @Sendable () -> Void) {
        DispatchQueue(label: "blocking").async(execute: body)
    }
}

func pause(milliseconds: UInt32) { usleep(milliseconds * 1000) }
