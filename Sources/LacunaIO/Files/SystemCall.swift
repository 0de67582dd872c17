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

    /// The failure to add `bytes` to a file: a full disk has an error of its own.
    private static func writingFailure(_ path: String, bytes: Int) -> LacunaError {
        guard errno == ENOSPC || errno == EDQUOT else { return failure(path) }
        return .resource("\(path): room on the disk", needed: bytes, available: availableSpace(path) ?? 0)
    }

    enum Kind { case missing, file, directory, characterDevice, blockDevice, pipe, socket }

    static func kind(_ path: String) -> Kind {
        var status = stat()
        guard stat(path, &status) == 0 else { return .missing }
        return kind(status)
    }

    private static func kind(_ status: stat) -> Kind {
        switch status.st_mode & S_IFMT {
        case S_IFREG: .file
        case S_IFDIR: .directory
        case S_IFCHR: .characterDevice
        case S_IFBLK: .blockDevice
        case S_IFIFO: .pipe
        default: .socket
        }
    }

    /// What tells one file of a machine from every other.
    struct Identity: Equatable {
        let device: UInt64
        let inode: UInt64
    }

    private static func identity(_ status: stat) -> Identity {
        Identity(device: UInt64(truncatingIfNeeded: status.st_dev), inode: UInt64(truncatingIfNeeded: status.st_ino))
    }

    static func identity(_ path: String) -> Identity? {
        var status = stat()
        return stat(path, &status) == 0 ? identity(status) : nil
    }

    static func identity(_ descriptor: Int32) -> Identity? {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? identity(status) : nil
    }

    /// Gives an open file the owner, as far as that is allowed, and the permission bits of another.
    static func copyAccess(from path: String, to descriptor: Int32) {
        var (old, new) = (stat(), stat())
        guard stat(path, &old) == 0, fstat(descriptor, &new) == 0 else { return }
        if old.st_uid != new.st_uid || old.st_gid != new.st_gid { _ = fchown(descriptor, old.st_uid, old.st_gid) }
        _ = fchmod(descriptor, old.st_mode & 0o777)
    }

    /// Whether files may be made in a directory or written in place.
    static func isWritable(_ path: String) -> Bool { access(path, W_OK) == 0 }

    /// What a symbolic link says; nil for everything else.
    static func readLink(_ path: String) -> String? {
        var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(path, &bytes, bytes.count)
        guard count > 0 else { return nil }
        return String(decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The absolute path without links, "." and ".."; nil if there is nothing.
    static func realPath(_ path: String) -> String? {
        guard let found = realpath(path, nil) else { return nil }
        defer { free(found) }
        return String(cString: found)
    }

    /// Where the running program is, links followed; nil if the system does not say.
    static var programPath: String? {
        #if os(Linux)
            return realPath("/proc/self/exe")
        #else
            let name = CommandLine.arguments.first ?? ""
            return name.contains("/") ? realPath(name) : nil
        #endif
    }

    /// Bytes that an ordinary user may still write to the file system of `path`, or of the directory it would lie in.
    static func availableSpace(_ path: String) -> Int? {
        var status = statvfs()
        var place = path
        while statvfs(place.isEmpty ? "." : place, &status) != 0 {
            guard errno == ENOENT, !place.isEmpty, place != "/" else { return nil }
            place = FileSystem.directory(of: place)
        }
        return Int(
            clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
    }

    enum LockOutcome { case taken, held, unsupported }

    /// Locks an open file or directory against every other open one until it is closed, without waiting. A process that
    /// dies gives its locks back.
    static func lock(_ descriptor: Int32) -> LockOutcome {
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            switch errno {
            case EINTR: continue
            case EWOULDBLOCK: return .held
            default: return .unsupported
            }
        }
        return .taken
    }

    static func isAlive(process: Int) -> Bool {
        guard let number = pid_t(exactly: process), number > 0 else { return false }
        return kill(number, 0) == 0 || errno == EPERM
    }

    /// Seconds since the last change; nil if there is nothing.
    static func age(_ path: String) -> Int? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        #if canImport(Darwin)
            return time(nil) - status.st_mtimespec.tv_sec
        #else
            return time(nil) - status.st_mtim.tv_sec
        #endif
    }

    /// The number of an open file of this process that a path stands for, such as 1 for `/dev/stdout`.
    private static func ownDescriptor(_ path: String) -> Int32? {
        switch path {
        case "/dev/stdin": return 0
        case "/dev/stdout": return 1
        case "/dev/stderr": return 2
        default:
            for prefix in ["/dev/fd/", "/proc/self/fd/"] where path.hasPrefix(prefix) {
                return Int32(path.dropFirst(prefix.count))
            }
            return nil
        }
    }

    /// Another number for an open file of this process. Opening it by its name would begin anew: a file at its first byte, so
    /// that what `>>` should add would fall upon what is there, and a socket not at all.
    private static func duplicate(_ own: Int32, path: String) throws -> Int32 {
        let descriptor = fcntl(own, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw failure(path) }
        return descriptor
    }

    static func pause(milliseconds: UInt32) { usleep(1000 * milliseconds) }

    /// Opens for reading. A named pipe without a writer does not block.
    static func openForReading(_ path: String) throws -> Int32 {
        if let own = ownDescriptor(path) { return try duplicate(own, path: path) }
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

    /// Opens a device or pipe for writing; a pipe waits for its reader.
    static func openForWriting(_ path: String) throws -> Int32 {
        if let own = ownDescriptor(path) { return try duplicate(own, path: path) }
        while true {
            let descriptor = open(path, O_WRONLY | O_CLOEXEC)
            if descriptor >= 0 { return descriptor }
            guard errno == EINTR else { throw failure(path) }
        }
    }

    /// Opens for reading, not following a link, to take a lock or synchronise; nil if that cannot be.
    static func openForLocking(_ path: String) -> Int32? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
        return descriptor >= 0 ? descriptor : nil
    }

    /// Opens a lock's file, making it if need be; nil if that cannot be.
    static func openLock(_ path: String) -> Int32? {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o666)
        return descriptor >= 0 ? descriptor : nil
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
            // Nothing is wrong with the file.
            if errno == ENOMEM {
                throw LacunaError.resource("memory for \(path)", needed: count, available: MachineMemory.available)
            }
            throw failure(path)
        }
        return UnsafeRawPointer(address)
    }

    static func unmap(_ address: UnsafeRawPointer, count: Int) {
        munmap(UnsafeMutableRawPointer(mutating: address), count)
    }

    /// Takes whole pages of a mapped file out of memory; they come back when they are read again.
    static func forget(_ address: UnsafeRawPointer, count: Int) {
        let page = Int(getpagesize())
        let start = (Int(bitPattern: address) + page - 1) / page * page
        let end = (Int(bitPattern: address) + count) / page * page
        let adviseUnneeded: Int32 = 4  // MADV_DONTNEED, which Glibc's module does not export
        if start < end { madvise(UnsafeMutableRawPointer(bitPattern: start), end - start, adviseUnneeded) }
    }

    /// - Parameter position: Where in the file; nil for behind what was written last.
    static func writeAll(
        _ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, at position: Int? = nil, path: String
    ) throws {
        var offset = 0
        while offset < bytes.count {
            // Linux writes at most 2 GiB in one call; smaller pieces cost nothing.
            let (start, count) = (bytes.baseAddress! + offset, min(bytes.count - offset, 1 << 26))
            let written =
                position.map { pwrite(descriptor, start, count, off_t($0 + offset)) } ?? write(descriptor, start, count)
            if written < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN {
                    // Somebody else's pipe that does not wait.
                    var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    _ = poll(&room, 1, -1)
                    continue
                }
                throw writingFailure(path, bytes: bytes.count - offset)
            }
            offset += written
        }
    }

    /// Reads a range that is known to be in the file.
    static func readWhole(
        _ descriptor: Int32, at position: Int, into buffer: UnsafeMutableRawBufferPointer, path: String
    )
        throws
    {
        var offset = 0
        while offset < buffer.count {
            let received = pread(
                descriptor, buffer.baseAddress! + offset, min(buffer.count - offset, 1 << 26),
                off_t(position + offset))
            if received < 0 && errno == EINTR { continue }
            guard received > 0 else {
                throw received < 0 ? failure(path) : LacunaError.file(path: path, reason: "was cut short meanwhile")
            }
            offset += received
        }
    }

    static func truncate(_ descriptor: Int32, to count: Int, path: String) throws {
        guard ftruncate(descriptor, off_t(count)) == 0 else { throw failure(path) }
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

    static func synchronize(_ descriptor: Int32, path: String) throws {
        // Some file systems cannot synchronise and say EINVAL; there is nothing better to do on them.
        guard fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP else {
            throw writingFailure(path, bytes: 0)
        }
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

    /// Lets two directories trade places in one step; false where the system or the file system cannot.
    static func exchange(_ a: String, _ b: String) -> Bool {
        // Neither C library exports its function to Swift under a name that all of them share.
        guard let handle = dlopen(nil, RTLD_NOW) else { return false }
        defer { dlclose(handle) }
        #if canImport(Darwin)
            typealias Rename = @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UInt32) -> Int32
            guard let symbol = dlsym(handle, "renamex_np") else { return false }
            return unsafeBitCast(symbol, to: Rename.self)(a, b, 2) == 0  // RENAME_SWAP
        #else
            typealias Rename =
                @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32
            guard let symbol = dlsym(handle, "renameat2") else { return false }
            return unsafeBitCast(symbol, to: Rename.self)(AT_FDCWD, a, AT_FDCWD, b, 2) == 0  // RENAME_EXCHANGE
        #endif
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
}
