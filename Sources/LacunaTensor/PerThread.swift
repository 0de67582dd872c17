#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// An object of each thread: made when the thread first asks for it, released when the thread ends.
package final class PerThread<Object: AnyObject>: Sendable {
    private let key: pthread_key_t
    private let make: @Sendable () -> Object

    /// - Precondition: The process has a thread-specific key left; they are never given back, so this belongs into a constant of the
    ///   program.
    package init(_ make: @escaping @Sendable () -> Object) {
        self.make = make
        var key = pthread_key_t()
        let error = pthread_key_create(&key) { object in
            #if canImport(Darwin)
                Unmanaged<AnyObject>.fromOpaque(object).release()
            #else
                if let object { Unmanaged<AnyObject>.fromOpaque(object).release() }
            #endif
        }
        require(error == 0, "this process has used up its thread-specific keys")
        self.key = key
    }

    /// The calling thread's.
    package var current: Object {
        if let object = pthread_getspecific(key) { return Unmanaged<Object>.fromOpaque(object).takeUnretainedValue() }
        let object = make()
        pthread_setspecific(key, Unmanaged.passRetained(object).toOpaque())
        return object
    }
}
