import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// The text of the last error, one for each thread.
enum LastError {
    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        pthread_key_create(&key) { free($0) }
        return key
    }()

    /// Valid until the next `set` on this thread.
    static var text: UnsafePointer<CChar>? {
        pthread_getspecific(key).map { UnsafePointer($0.assumingMemoryBound(to: CChar.self)) }
    }

    static func set(_ text: String) {
        free(pthread_getspecific(key))
        pthread_setspecific(key, strdup(Arguments.endingAtItsEnd(text)))
    }
}

/// What functions return, as lacuna.h names it.
enum Status {
    static let ok: Int32 = 0

    static func code(_ error: any Error) -> Int32 {
        switch error as? LacunaError {
        case .file: 1
        case .malformed: 2
        case .missingTensor: 3
        case .tensorMismatch: 4
        case .unsupported: 5
        case .invalidArgument: 6
        case .numerical: 7
        case .resource: 8
        case .cancelled: 9
        case nil: 10
        }
    }
}

/// Runs the body of an exported function: its error becomes a code and a text.
func guarded(_ body: () throws -> Void) -> Int32 {
    do {
        try body()
        return Status.ok
    } catch {
        LastError.set("\(error)")
        return Status.code(error)
    }
}

func refused(_ argument: String, _ reason: String) -> LacunaError { .invalidArgument(argument, reason: reason) }
