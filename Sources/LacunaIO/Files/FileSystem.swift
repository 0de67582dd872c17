import LacunaTensor

/// What Lacuna asks of the file system. Every failure is a ``LacunaError/file(path:reason:)``.
public enum FileSystem {
    /// Whether there is a file or directory of this name.
    public static func exists(_ path: String) -> Bool { SystemCall.kind(path) != .missing }

    /// Whether there is a directory of this name.
    public static func isDirectory(_ path: String) -> Bool { SystemCall.kind(path) == .directory }

    /// Whether there is a file that is no directory, device, pipe or socket.
    public static func isPlainFile(_ path: String) -> Bool { SystemCall.kind(path) == .file }

    /// Whether there is anything of that name, be it a link that leads nowhere.
    static func isSomething(_ path: String) -> Bool { exists(path) || SystemCall.isSymbolicLink(path) }

    /// Bytes that may still be written to the file system that `path` is or would be on; nil if that cannot be said.
    public static func availableSpace(_ path: String) -> Int? { SystemCall.availableSpace(path) }

    /// Names (not paths) of the entries of a directory, sorted, without "." and "..".
    public static func list(_ directory: String) throws -> [String] { try SystemCall.list(directory) }

    /// Size of a file in bytes, or of all files below a directory.
    public static func size(_ path: String) throws -> Int {
        if isDirectory(path) {
            return try list(path).reduce(0) { try $0 + size(join(path, $1)) }
        }
        let descriptor = try SystemCall.openForReading(path)
        defer { SystemCall.closeFile(descriptor) }
        return try SystemCall.status(descriptor, path: path).size
    }

    /// The whole content of a file, a pipe or a device.
    ///
    /// - Parameter limit: More bytes than this are an error.
    public static func readBytes(_ path: String, limit: Int = 1 << 31) throws -> [UInt8] {
        let descriptor = try SystemCall.openForReading(path)
        defer { SystemCall.closeFile(descriptor) }
        let status = try SystemCall.status(descriptor, path: path)
        guard status.kind != .directory else { throw LacunaError.file(path: path, reason: "is a directory") }
        return try readBytes(descriptor, expecting: status.size, path: path, limit: limit)
    }

    /// What is left to read of an open file.
    static func readBytes(_ descriptor: Int32, expecting size: Int, path: String, limit: Int = 1 << 31) throws
        -> [UInt8]
    {
        var result: [UInt8] = []
        result.reserveCapacity(min(size, limit))
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 64)
        defer { piece.deallocate() }
        while true {
            let count = try SystemCall.readSome(descriptor, into: piece, path: path)
            if count == 0 { return result }
            guard result.count + count <= limit else {
                throw LacunaError.file(path: path, reason: "is larger than \(limit) bytes")
            }
            result.append(contentsOf: piece[..<count])
        }
    }

    /// The whole content of a text file.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` at the first byte that is not UTF-8.
    public static func readText(_ path: String, limit: Int = 1 << 31) throws -> String {
        let bytes = try readBytes(path, limit: limit)
        if let offset = bytes.withUnsafeBytes({ UTF8Validation.firstInvalidByte($0) }) {
            throw LacunaError.malformed(file: path, location: "byte \(offset)", reason: "is not UTF-8 text")
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Makes a directory and those above it, as far as they are missing.
    public static func createDirectory(_ path: String) throws {
        if path.isEmpty || isDirectory(path) { return }
        try createDirectory(directory(of: path))
        do {
            try SystemCall.makeDirectory(path)
        } catch {
            // Somebody else may have made it in the meantime.
            if !isDirectory(path) { throw error }
        }
    }

    /// Removes a file, or a directory with everything below it. Symbolic links are removed, not followed. Nothing
    /// happens if there is nothing.
    public static func remove(_ path: String) throws {
        if isDirectory(path) && !SystemCall.isSymbolicLink(path) {
            for name in try list(path) { try remove(join(path, name)) }
            try SystemCall.removeEmptyDirectory(path)
        } else {
            try SystemCall.removeFile(path)
        }
    }

    /// Where the running program is, links followed; nil if the system does not say.
    public static var programPath: String? { SystemCall.programPath }

    /// `directory/name`.
    public static func join(_ directory: String, _ name: String) -> String {
        directory.isEmpty ? name : directory.hasSuffix("/") ? directory + name : directory + "/" + name
    }

    /// Everything before the last slash; "" for a bare name, "/" at the root.
    public static func directory(of path: String) -> String {
        let trimmed = trimmingTrailingSlashes(path)
        guard let slash = trimmed.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
        let head = trimmed[..<slash]
        return head.isEmpty ? "/" : String(head)
    }

    /// Everything after the last slash.
    public static func name(of path: String) -> String {
        let trimmed = trimmingTrailingSlashes(path)
        guard let slash = trimmed.utf8.lastIndex(of: UInt8(ascii: "/")) else { return trimmed }
        return String(trimmed[trimmed.utf8.index(after: slash)...])
    }

    /// Where a name leads once symbolic links are followed; the end need not exist. Nil for a link to an open file of the
    /// process (`/dev/stdout`), which has no name that could be given to another file.
    static func followingLinks(_ path: String) throws -> String? {
        var place = trimmingTrailingSlashes(path)
        for _ in 0..<40 {
            if place.hasPrefix("/proc/") || place.hasPrefix("/dev/fd/") { return nil }
            guard let link = SystemCall.readLink(place) else { return place }
            place = link.hasPrefix("/") ? link : join(directory(of: place), link)
        }
        throw LacunaError.file(path: path, reason: "is a link that leads in circles")
    }

    /// The place of a directory that exists or will: without links, "." and "..".
    static func resolved(_ path: String) throws -> String {
        if let real = SystemCall.realPath(path) { return real }
        guard let place = try followingLinks(path) else {
            throw LacunaError.file(path: path, reason: "is no place for a directory")
        }
        let parent = directory(of: place)
        return SystemCall.realPath(parent.isEmpty ? "." : parent).map { join($0, name(of: place)) } ?? place
    }

    /// Whether another file system, or another part of this one, is mounted at a directory (given by its real path).
    static func isMountPoint(_ path: String) -> Bool {
        let parent = directory(of: path)
        guard let own = SystemCall.identity(path),
            let above = SystemCall.identity(parent.isEmpty ? "." : parent)
        else { return false }
        if own.device != above.device || own == above { return true }
        // A directory that is mounted a second time has the device of its parent; Linux lists it.
        let escaped = path.replacing("\\", with: "\\134").replacing(" ", with: "\\040").replacing("\t", with: "\\011")
        let table = (try? readBytes("/proc/self/mountinfo", limit: 1 << 24)) ?? []
        return String(decoding: table, as: UTF8.self).split(separator: "\n").contains {
            let fields = $0.split(separator: " ", maxSplits: 5)
            return fields.count > 4 && fields[4] == escaped
        }
    }

    /// A name cut so that a hidden file's dot and ending fit beside it into the 255 bytes of a name.
    static func shortened(_ name: String) -> String {
        var short = Substring(name)
        while short.utf8.count > 200 { short.removeLast() }
        return String(short)
    }

    static func trimmingTrailingSlashes(_ path: String) -> String {
        var trimmed = path[...]
        while trimmed.utf8.count > 1 && trimmed.hasSuffix("/") { trimmed.removeLast() }
        return String(trimmed)
    }
}
