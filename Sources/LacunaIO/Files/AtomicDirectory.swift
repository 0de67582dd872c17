import LacunaTensor

/// A directory that appears under its name with all its files or not at all.
///
/// Write files below ``workingPath``, then ``commit()``. An object that goes away before that removes everything.
///
/// A new directory is written beside its place and renamed. One that is there trades places with the new one in a single
/// step, where the file system can do that; then the old one is removed. Where it must stay the same directory (a mount
/// point, the directory that the program runs in, one whose parent may not be written to, a file system that cannot
/// exchange) the files are written inside or beside it and moved up when all are complete, the marker last. Meanwhile, a
/// thousandth of a second, the marker says what is being moved from where: a process that dies then leaves old and new files
/// mixed but none lost, and the next one that reads or writes the directory ends what it began (``settle(_:)``).
///
/// The marker, ``markerName``, lists the files. Only a directory that has one, and holds nothing that is not in its list, is
/// ever replaced. While a directory is written, a ``DirectoryLock`` keeps other processes out.
public final class AtomicDirectory {
    /// Where the directory will appear, symbolic links followed.
    public let path: String
    /// Where its files are written meanwhile: a hidden directory beside or in `path`.
    public let workingPath: String
    private let placement: Placement
    private let lock: DirectoryLock
    /// Holds the working directory's lock, which shows others that its writer lives.
    private let descriptor: Int32?
    private var isOpen = true

    /// The file that tells a directory of Lacuna's from every other: `{"writer": "lacuna", "files": [names]}`, and while files
    /// are moved up from another directory its name, as `"unfinished"`.
    public static let markerName = ".lacuna"

    private enum Placement { case rename, exchange, inPlace }

    /// - Parameters:
    ///   - overwrite: Replace a directory that another `AtomicDirectory` wrote. Otherwise one that exists and is not empty
    ///     is an error.
    ///   - unmarked: Replace also a directory without a marker; for a program's own places, such as caches.
    /// - Throws: ``LacunaError/file(path:reason:)`` if `path` is taken or cannot be made, or another process writes there.
    public init(_ path: String, overwrite: Bool = false, unmarked: Bool = false) throws {
        self.path = try FileSystem.resolved(path)
        try Self.settle(self.path)
        placement = try Self.placement(self.path, as: path, overwrite: overwrite, unmarked: unmarked)
        try FileSystem.createDirectory(FileSystem.directory(of: self.path))
        lock = try DirectoryLock(self.path)
        workingPath =
            placement == .inPlace
            ? TemporaryFiles.reserve(in: self.path, for: FileSystem.name(of: self.path))
            : TemporaryFiles.reserve(beside: self.path)
        do {
            try SystemCall.makeDirectory(workingPath)
        } catch {
            TemporaryFiles.forget(workingPath)
            throw LacunaError.file(path: path, reason: "cannot be created: \(SystemCall.lastReason)")
        }
        descriptor = SystemCall.openForLocking(workingPath)
        if let descriptor {
            _ = SystemCall.lock(descriptor)
            if placement == .exchange { SystemCall.copyAccess(from: self.path, to: descriptor) }
        }
    }

    deinit {
        discard()
        if let descriptor { SystemCall.closeFile(descriptor) }
    }

    /// Says before the work whether a directory could be written at `path`; makes nothing.
    ///
    /// - Throws: As ``init(_:overwrite:unmarked:)``, except for other processes, which a ``DirectoryLock`` is for.
    public static func check(_ path: String, overwrite: Bool = false) throws {
        let place = try FileSystem.resolved(path)
        try settle(place)
        _ = try placement(place, as: path, overwrite: overwrite, unmarked: false)
    }

    /// The path to write file `name` of the directory to.
    public func file(_ name: String) -> String { FileSystem.join(workingPath, name) }

    // MARK: Where and how

    /// - Parameter name: The path as the user gave it, for messages.
    private static func placement(
        _ path: String, as name: String, overwrite: Bool, unmarked: Bool
    ) throws -> Placement {
        func refused(_ reason: String) -> LacunaError { .file(path: name, reason: reason) }
        let parent = FileSystem.directory(of: path)
        switch SystemCall.kind(path) {
        case .missing:
            try requireWritableAncestor(parent, as: name)
            return .rename
        case .directory: break
        default: throw refused("is a file, a directory is needed")
        }
        let content = try FileSystem.list(path).filter {
            !TemporaryFiles.isUnfinished($0) && !DirectoryLock.isLock($0)
        }
        if !content.isEmpty {
            guard overwrite || unmarked else { throw refused("exists already and is not empty") }
            if !unmarked, let reason = reasonNotToReplace(path, content) { throw refused(reason) }
        }
        let parentIsWritable = SystemCall.isWritable(parent.isEmpty ? "." : parent)
        if !parentIsWritable || FileSystem.isMountPoint(path) || SystemCall.identity(path) == SystemCall.identity(".") {
            guard SystemCall.isWritable(path) else {
                throw refused("cannot be written to: \(SystemCall.lastReason)")
            }
            return .inPlace
        }
        return .exchange
    }

    private static func requireWritableAncestor(_ directory: String, as name: String) throws {
        var place = directory
        while !place.isEmpty && SystemCall.kind(place) == .missing { place = FileSystem.directory(of: place) }
        if place.isEmpty { place = "." }
        guard FileSystem.isDirectory(place) else {
            throw LacunaError.file(path: name, reason: "cannot be created: \(place) is not a directory")
        }
        guard SystemCall.isWritable(place) else {
            throw LacunaError.file(path: name, reason: "cannot be created in \(place): \(SystemCall.lastReason)")
        }
    }

    /// What the marker of a directory says.
    private struct Marker {
        /// The names that it lists.
        var files: [String]
        /// The directory from which files are being moved up.
        var unfinished: String?

        init(files: [String], unfinished: String? = nil) { (self.files, self.unfinished) = (files, unfinished) }

        /// Nil if the directory has none, or one of something else than a directory that is written at once.
        init?(of directory: String) {
            let path = FileSystem.join(directory, markerName)
            guard let text = try? FileSystem.readText(path, limit: 1 << 24), let marker = try? JSONValue(parsing: text),
                marker["writer"]?.stringValue == "lacuna", let files = marker["files"]?.arrayValue
            else { return nil }
            self.files = files.compactMap(\.stringValue)
            unfinished = marker["unfinished"]?.stringValue
        }

        var text: String {
            var object = JSONObject()
            object["writer"] = "lacuna"
            object["files"] = .array(files.map { .string($0) })
            object["unfinished"] = unfinished.map { .string($0) }
            return JSONValue.object(object).serialized() + "\n"
        }
    }

    private static func reasonNotToReplace(_ directory: String, _ content: [String]) -> String? {
        guard let own = Marker(of: directory)?.files else {
            return "was not written by Lacuna (it has no file \(markerName)): it is not replaced"
        }
        let known = Set(own + [markerName])
        return content.first { !known.contains($0) }.map {
            "holds '\($0)', which Lacuna did not write: it is not replaced"
        }
    }

    // MARK: The end

    /// Puts the directory under its name. An old one is removed once the new one stands in its place.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)``; what was there is there still, or ``settle(_:)`` puts what is new there.
    public func commit() throws {
        require(isOpen, "the directory is already committed")
        let files = try FileSystem.list(workingPath)
        try AtomicFile.write(Marker(files: files).text, to: file(Self.markerName))
        SystemCall.synchronizeDirectory(workingPath)
        // Whatever the path had when the work began, it may have something else now.
        switch (placement, FileSystem.exists(path)) {
        case (.rename, _), (.exchange, false):
            try TemporaryFiles.uninterrupted { try SystemCall.move(workingPath, to: path) }
        case (.exchange, true):
            let replaced = TemporaryFiles.uninterrupted {
                // What cannot exchange may still put a directory in the place of an empty one.
                SystemCall.exchange(workingPath, path) || (try? SystemCall.move(workingPath, to: path)) != nil
            }
            if !replaced { try replaceInPlace(files) }
            try? FileSystem.remove(workingPath)  // the old files, or nothing any more
        case (.inPlace, _):
            try replaceInPlace(files)
            try? FileSystem.remove(workingPath)
        }
        isOpen = false
        TemporaryFiles.forget(workingPath)
        let parent = FileSystem.directory(of: path)
        SystemCall.synchronizeDirectory(parent.isEmpty ? "." : parent)
        lock.release()
    }

    /// Moves the files up, so that whatever happens in between can be made good.
    private func replaceInPlace(_ files: [String]) throws {
        let both = Set(Marker(of: path)?.files ?? []).union(files)
        let journal = Marker(files: both.sorted(), unfinished: FileSystem.name(of: workingPath))
        // From here on an interruption must leave them.
        TemporaryFiles.forget(workingPath)
        try AtomicFile.write(journal.text, to: FileSystem.join(path, Self.markerName))
        do {
            try TemporaryFiles.uninterrupted { try Self.moveUp(from: workingPath, to: path) }
        } catch {
            // The rest stays where the marker says that it is.
            isOpen = false
            throw error
        }
    }

    /// Moves the files one by one over those that are there, removes what the old directory had beside them, and moves the
    /// marker last. Can be begun anew after an end at any point.
    private static func moveUp(from working: String, to path: String) throws {
        guard let new = Marker(of: working)?.files else {
            throw LacunaError.file(path: path, reason: "was being replaced from \(working), which has no \(markerName)")
        }
        let old = Set(Marker(of: path)?.files ?? []).subtracting(new)
        for name in try FileSystem.list(working) where name != markerName {
            let target = FileSystem.join(path, name)
            // A directory takes the place of an empty one only.
            if FileSystem.isDirectory(target) { try FileSystem.remove(target) }
            try SystemCall.move(FileSystem.join(working, name), to: target)
        }
        for name in old where !name.contains("/") && name != "." && name != ".." {
            try? FileSystem.remove(FileSystem.join(path, name))
        }
        SystemCall.synchronizeDirectory(path)
        try SystemCall.move(FileSystem.join(working, markerName), to: FileSystem.join(path, markerName))
        SystemCall.synchronizeDirectory(path)
    }

    /// Ends what a process that died while it moved files into a directory has begun; waits a moment for one that lives. Does
    /// nothing to every other directory. Whoever reads a directory that may be one of these calls it first.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)`` if files of both states lie there and that cannot be mended.
    public static func settle(_ path: String) throws {
        func refused(_ reason: String) -> LacunaError { .file(path: path, reason: reason) }
        for _ in 0..<200 {
            guard let name = Marker(of: path)?.unfinished else { return }
            guard TemporaryFiles.isUnfinished(name), !name.contains("/") else {
                throw refused("has a damaged \(markerName)")
            }
            let beside = FileSystem.directory(of: path)
            let places =
                [FileSystem.join(path, name)]
                + (TemporaryFiles.isUnfinished(name, of: path)
                    ? [FileSystem.join(beside, name)] : [])
            guard let working = places.first(where: FileSystem.isDirectory) else {
                if Marker(of: path)?.unfinished != name { continue }
                throw refused("was being replaced when its writer ended, and its new files, in \(name), are gone")
            }
            guard let descriptor = SystemCall.openForLocking(working) else { continue }
            defer { SystemCall.closeFile(descriptor) }
            let outcome = SystemCall.lock(descriptor)
            guard outcome == .taken || (outcome == .unsupported && !TemporaryFiles.writerIsAlive(name)) else {
                SystemCall.pause(milliseconds: 10)
                continue
            }
            // It may have been the last moment of a writer that was alive.
            if Marker(of: path)?.unfinished != name { continue }
            do {
                try moveUp(from: working, to: path)
                try FileSystem.remove(working)
            } catch {
                throw refused("was being replaced when its writer ended; its new files are in \(working): \(error)")
            }
            return
        }
        throw refused("is being replaced by another process")
    }

    /// Gives up what was written. Does nothing after ``commit()``.
    public func discard() {
        guard isOpen else { return }
        isOpen = false
        try? FileSystem.remove(workingPath)
        TemporaryFiles.forget(workingPath)
        lock.release()
    }
}
