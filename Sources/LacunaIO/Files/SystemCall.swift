import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Thin wrappers around the platform's file calls, so that no other file needs the conditional imports.
enum SystemCall {
    /// The platform's words for the last failed call.
    static var lastReason: String { String(cString: strerror(errno)) }

    static func failure(_ path: String) -> LacunaError { .file(path: path, reason: lastReason) }

    enum Kind { case missing, file, directory, other }

    static func kind(_ path: String) -> Kind {
        var status = stat()
        guard stat(path, &status) == 0 else { return .missing }
        return kind(status)
    }

    private static func kind(_ status: stat) -> Kind {
        switch status.st_mode & S_IFMT {
        case S_IFREG: .file
        case S_IFDIR: .directory
        default: .other
        }
    }

    /// Opens for reading. A named pipe without a writer does not block.
    static func openForReading(_ path: String) throws -> Int32 {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw failure(path) }
        return descriptor
    }

    /// Creates a file that must not exist yet.
    static func create(_ path: String) throws -> Int32 {
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw failure(path) }
        return descriptor
    }

    static func closeFile(_ descriptor: Int32) { _ = close(descriptor) }

    /// Kind and size in bytes of an open file.
    static func status(_ descriptor: Int32, path: String) throws -> (kind: Kind, size: Int) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure(path) }
        return (kind(status), Int(status.st_size))
    }

    static func map(_ descriptor: Int32, count: Int, path: String) throws -> UnsafeRawPointer {
        guard let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), address != MAP_FAILED else {
            throw failure(path)
        }
        return UnsafeRawPointer(address)
    }

    static func unmap(_ address: UnsafeRawPointer, count: Int) {
        munmap(UnsafeMutableRawPointer(mutating: address), count)
    }

    static func writeAll(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, path: String) throws {
        var offset = 0
        while offset < bytes.count {
            // Linux writes at most 2 GiB in one call; smaller pieces cost nothing.
            let written = write(descriptor, bytes.baseAddress! + offset, min(bytes.count - offset, 1 << 26))
            if written < 0 {
                if errno == EINTR { continue }
                throw failure(path)
            }
            offset += written
        }
    }

    /// Reads up to `count` bytes; 0 at the end of the file.
    static func readSome(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, path: String) throws -> Int {
        while true {
            let received = read(descriptor, buffer.baseAddress!, buffer.count)
            if received >= 0 { return received }
            if errno == EAGAIN {
                var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                _ = poll(&wait, 1, -1)
            } else if errno != EINTR {
                throw failure(path)
            }
        }
    }

    static func seek(_ descriptor: Int32, to offset: Int, path: String) throws {
        guard lseek(descriptor, off_t(offset), SEEK_SET) >= 0 else { throw failure(path) }
    }

    static func synchronize(_ descriptor: Int32, path: String) throws {
        // Some file systems cannot synchronise and say EINVAL; there is nothing better to do on them.
        guard fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP else { throw failure(path) }
    }

    /// Makes a rename inside `directory` durable, where the file system allows it.
    static func synchronizeDirectory(_ directory: String) {
        let descriptor = open(directory, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        _ = close(descriptor)
    }

    static func move(_ source: String, to target: String) throws {
        guard rename(source, target) == 0 else { throw failure(target) }
    }

    static func removeFile(_ path: String) throws {
        guard unlink(path) == 0 || errno == ENOENT else { throw failure(path) }
    }

    static func removeEmptyDirectory(_ path: String) throws {
        guard rmdir(path) == 0 || errno == ENOENT else { throw failure(path) }
    }

    static func isSymbolicLink(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
    }

    static func makeDirectory(_ path: String) throws {
        guard mkdir(path, 0o777) == 0 else { throw failure(path) }
    }

    static func list(_ path: String) throws -> [String] {
        guard let directory = opendir(path) else { throw failure(path) }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 1) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    static var processIdentifier: Int { Int(getpid()) }

    /// Starts a detached thread that never returns to the caller.
    static func startThread(_ body: @escaping @Sendable () -> Void) {
        final class Box {
            let body: () -> Void
            init(_ body: @escaping () -> Void) { self.body = body }
        }
        let context = Unmanaged.passRetained(Box(body)).toOpaque()
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        #if canImport(Darwin)
            var thread: pthread_t?
            pthread_create(
                &thread, &attributes,
                {
                    Unmanaged<Box>.fromOpaque($0).takeRetainedValue().body()
                    return nil
                }, context)
        #else
            var thread = pthread_t()
            pthread_create(
                &thread, &attributes,
                {
                    Unmanaged<Box>.fromOpaque($0!).takeRetainedValue().body()
                    return nil
                }, context)
        #endif
        pthread_attr_destroy(&attributes)
    }
}

/// A mutual exclusion lock.
final class Lock: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    init() {
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func withLock<R>(_ body: () throws -> R) rethrows -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }
}
