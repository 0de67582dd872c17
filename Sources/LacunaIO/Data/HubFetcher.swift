import LacunaTensor

/// Models of the Hugging Face hub, brought into the cache by the `hf` client of the `huggingface_hub` package, which is
/// installed there by pip if the machine has none.
///
/// A model is called `hf:ORG/NAME`, `hf:ORG/NAME@REVISION` for a commit, tag or branch, and either with `:FILE` for one file
/// of it, such as a GGUF file among several. What is cached is not asked for again; remove its directory to fetch a branch
/// that has moved.
public struct HubFetcher {
    /// Where what is fetched is kept.
    public var cache: DataCache
    /// Where the client, and Python to install it, are looked for, as in `PATH`.
    public var searchPath: String
    /// Whom bytes are reported to; it may cancel, too.
    public var progress: (any ProgressReporter)?

    /// A fetcher that keeps what it brings in `cache`.
    public init(
        cache: DataCache, searchPath: String = ChildProcess.searchPath, progress: (any ProgressReporter)? = nil
    ) {
        (self.cache, self.searchPath, self.progress) = (cache, searchPath, progress)
    }

    /// A name on the hub.
    public struct Name: Sendable, Hashable, CustomStringConvertible {
        /// `ORG/NAME`.
        public let repository: String
        /// A commit, tag or branch; nil for the hub's default branch.
        public let revision: String?
        /// The path of one file in the repository; nil for all that a model needs.
        public let file: String?

        /// nil for what does not begin with `hf:`.
        ///
        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for what begins so, but is no name of that form.
        public init?(_ text: String) throws {
            guard text.hasPrefix("hf:") else { return nil }
            var rest = text.dropFirst(3)
            var parts: (revision: String?, file: String?) = (nil, nil)
            if let colon = rest.firstIndex(of: ":") {
                parts.file = String(rest[rest.index(after: colon)...])
                rest = rest[..<colon]
            }
            if let at = rest.firstIndex(of: "@") {
                parts.revision = String(rest[rest.index(after: at)...])
                rest = rest[..<at]
            }
            func isWord(_ word: Substring) -> Bool {
                !word.isEmpty && word.first != "-" && word.first != "." && !word.contains("..")
                    && word.utf8.allSatisfy {
                        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                            || $0 == 45 || $0 == 46 || $0 == 95
                    }
            }
            func isPath(_ path: String?) -> Bool {
                path.map { $0.split(separator: "/", omittingEmptySubsequences: false).allSatisfy(isWord) } ?? true
            }
            guard rest.split(separator: "/", omittingEmptySubsequences: false).count == 2, isPath(String(rest)),
                isPath(parts.revision), isPath(parts.file)
            else {
                throw LacunaError.invalidArgument(
                    text, reason: "a model of the hub is called hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME:FILE")
            }
            repository = String(rest)
            (revision, file) = parts
        }

        /// The name as a user writes it: `hf:ORG/NAME@REVISION:FILE`.
        public var description: String {
            "hf:\(repository)" + (revision.map { "@\($0)" } ?? "") + (file.map { ":\($0)" } ?? "")
        }

        /// Name of its directory in the cache.
        var folder: String {
            let parts = [repository, revision.map { "@\($0)" }, file.map { ":\($0)" }].compactMap(\.self)
            return String(parts.joined().map { $0 == "/" ? "+" : $0 })
        }
    }

    /// The directory of a model, or its file if one is named; fetched first if it is not there.
    ///
    /// - Throws: ``FetchFailure`` if the client cannot be had or cannot fetch the model;
    ///   ``LacunaError/malformed(file:location:reason:)`` for a file whose SHA-256 is not the hub's;
    ///   ``LacunaError/file(path:reason:)`` for a repository without weights; ``LacunaError/cancelled``.
    public func path(of name: Name) throws -> String {
        let directory = FileSystem.join(cache.root, "hf/\(name.folder)")
        let result = name.file.map { FileSystem.join(directory, $0) } ?? directory
        if FileSystem.exists(result) { return result }
        try FileSystem.createDirectory(FileSystem.join(cache.root, "hf"))
        let target = try AtomicDirectory(directory, unmarked: true)
        var process = try client()
        process.arguments += ["download", name.repository]
        if let revision = name.revision { process.arguments += ["--revision", revision] }
        if let file = name.file {
            process.arguments.append(file)
        } else {
            // Weights in other forms are not read; subdirectories hold more of them.
            for pattern in ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.gguf"] {
                process.arguments += ["--include", pattern]
            }
            process.arguments += ["--exclude", "*/*"]
        }
        process.arguments += ["--local-dir", target.workingPath]
        process.environment["HF_HUB_DISABLE_TELEMETRY"] = "1"
        process.environment["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        let outcome = try process.run(whileRunning: {
            let done = (try? FileSystem.size(target.workingPath)) ?? 0
            try progress.report("fetch \(name)", 0, of: 1, "\(done / 1_000_000) MB")
        })
        guard outcome.status == 0 else {
            let said = DataFetcher.lastLine(outcome.errorOutput + outcome.output)
            throw FetchFailure(
                "\(name): hf could not fetch it"
                    + (said.isEmpty ? " (status \(outcome.status))" : "\n  it said: \(said)"))
        }
        try verify(name, target.workingPath)
        try target.commit()
        return result
    }

    /// What was fetched: files of the hub's large-file store against the SHA-256 that the client notes beside them, and
    /// whether there are weights that open.
    private func verify(_ name: Name, _ folder: String) throws {
        let notes = FileSystem.join(folder, ".cache/huggingface/download")
        let checksum = Checksum(searchPath: searchPath)
        let noted = name.file.map { ["\($0).metadata"] } ?? (try? FileSystem.list(notes)) ?? []
        for note in noted where note.hasSuffix(".metadata") && FileSystem.exists(FileSystem.join(notes, note)) {
            let file = String(note.dropLast(".metadata".count))
            // Commit, SHA-256 (or, of small files, the shorter name that git gives them), time.
            let lines = try FileSystem.readText(FileSystem.join(notes, note)).split(separator: "\n")
            guard lines.count >= 2, lines[1].count == 64 else { continue }
            try progress.report("verify \(name)", 0, of: 1, file)
            try checksum.verify(
                FileSystem.join(folder, file), is: String(lines[1]), whileRunning: progress.check)
        }
        try? FileSystem.remove(FileSystem.join(folder, ".cache"))
        let files = try FileSystem.list(folder)
        if let file = name.file {
            guard FileSystem.exists(FileSystem.join(folder, file)) else {
                throw LacunaError.file(path: "\(name)", reason: "hf ended well, but left no such file")
            }
        } else if files.contains(where: { $0.hasSuffix(".safetensors") }) {
            _ = try TensorFiles.open(folder)
        } else {
            let others = files.filter { $0.hasSuffix(".gguf") }
            throw LacunaError.file(
                path: "\(name)",
                reason: others.isEmpty
                    ? "the repository has no safetensors"
                    : "the repository has GGUF files: name one, as in \(name):\(others.sorted()[0])")
        }
    }

    /// The `hf` program: the machine's, or the cache's own.
    private func client() throws -> ChildProcess {
        if let program = ChildProcess.find("hf", in: searchPath) { return ChildProcess(executable: program) }
        let library = FileSystem.join(cache.root, "huggingface_hub")
        let program = FileSystem.join(library, "bin/hf")
        if !FileSystem.exists(program) {
            guard let python = ChildProcess.find("python3", in: searchPath) else {
                throw FetchFailure(
                    "models of the hub come through hf, but neither it nor python3, to install it, is there")
            }
            try progress.report("installing hf", 0, of: 1)
            try FileSystem.createDirectory(cache.root)
            let target = try AtomicDirectory(library, unmarked: true)
            let outcome = try ChildProcess(
                executable: python,
                arguments: [
                    "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--target",
                    target.workingPath, "huggingface_hub",
                ]
            ).run(whileRunning: progress.check)
            guard outcome.status == 0, FileSystem.exists(FileSystem.join(target.workingPath, "bin/hf")) else {
                throw FetchFailure(
                    "hf is not installed, and pip could not install huggingface_hub\n  it said: "
                        + DataFetcher.lastLine(outcome.errorOutput + outcome.output))
            }
            try target.commit()
        }
        return ChildProcess(executable: program, environment: ["PYTHONPATH": library])
    }
}
