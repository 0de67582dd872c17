import LacunaTensor

/// What people call a model: a path, a name of the ``Catalogue``, or `hf:ORG/NAME` on the Hugging Face hub.
public enum ModelLocation {
    /// Where a model is. One of the catalogue or of the hub is fetched if it is not in the cache.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)`` if there is nothing of that name, with one that is close; what
    ///   ``DataFetcher/fetch(_:)`` and ``HubFetcher/path(of:)`` throw.
    public static func path(of name: String, progress: (any ProgressReporter)? = nil) throws -> String {
        if FileSystem.exists(name) { return name }
        if let hub = try HubFetcher.Name(name) {
            return try HubFetcher(cache: try DataCache(), progress: progress).path(of: hub)
        }
        let known = Catalogue.entries.map(\.name)
        guard known.contains(name) else {
            throw LacunaError.file(
                path: name,
                reason: "there is no such file or directory, and 'lacuna data --list' has no such name"
                    + Suggestion.phrase(name, among: known))
        }
        return try DataFetcher(cache: try DataCache(), progress: progress).path(of: Catalogue.entry(named: name))
    }
}
