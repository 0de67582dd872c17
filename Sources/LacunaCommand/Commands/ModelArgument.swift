import ArgumentParser
import LacunaIO
import LacunaPrune
import LacunaTensor

/// What the user calls a model: a path, or a name of the data catalogue.
struct ModelArgument: ExpressibleByArgument, Sendable {
    let text: String

    init?(argument: String) {
        if argument.isEmpty { return nil }
        text = argument
    }

    init(path: String) { text = path }

    static var defaultCompletionKind: CompletionKind { NameCompletion.models }

    /// Where the model is; one of the catalogue is fetched if it is not in the cache.
    func path(progress: (any ProgressReporter)?) throws -> String {
        // The directory of a training run stands for the model in it.
        if let inside = TrainingJob.modelDirectory(of: text) { return inside }
        if FileSystem.exists(text) { return text }
        guard Catalogue.entries.contains(where: { $0.name == text }) else {
            throw LacunaError.file(
                path: text,
                reason: "there is no such file or directory, and 'lacuna data --list' has no such name"
                    + Suggestion.phrase(text, among: Catalogue.entries.map(\.name)))
        }
        return try DataFetcher(cache: try DataCache(), progress: progress).path(of: Catalogue.entry(named: text))
    }
}
