import LacunaTensor

/// Where fetched data is kept: `$LACUNA_CACHE`, else `lacuna` in the user's cache directory.
public struct DataCache: Sendable {
    /// The directory that everything is kept in; it need not exist yet.
    public let root: String

    /// A cache in a directory of choice.
    public init(root: String) { self.root = root }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there is no home directory.
    public init(environment: [String: String] = ChildProcess.environment) throws {
        if let chosen = environment["LACUNA_CACHE"], !chosen.isEmpty {
            root = chosen
        } else if let caches = environment["XDG_CACHE_HOME"], !caches.isEmpty {
            root = FileSystem.join(caches, "lacuna")
        } else if let home = environment["HOME"], !home.isEmpty {
            root = FileSystem.join(home, ".cache/lacuna")
        } else {
            throw LacunaError.invalidArgument(
                "LACUNA_CACHE", reason: "must name a directory, because there is no home directory to keep data in")
        }
    }

    /// The directory of an entry, whether it is there or not.
    public func directory(of entry: CatalogueEntry) -> String { FileSystem.join(root, entry.folder) }

    /// What a user would open: the file, or the directory of several.
    public func path(of entry: CatalogueEntry) -> String {
        let directory = directory(of: entry)
        return entry.files.count == 1 ? "\(directory)/\(entry.files[0].name)" : directory
    }

    /// Whether every file is there with its size. Contents were verified before they got their names.
    public func contains(_ entry: CatalogueEntry) -> Bool {
        let directory = directory(of: entry)
        return entry.files.allSatisfy { (try? FileSystem.size("\(directory)/\($0.name)")) == $0.bytes }
    }
}
