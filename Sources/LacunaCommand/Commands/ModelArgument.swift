import ArgumentParser
import LacunaIO
import LacunaTensor

/// What the user calls a model: a path, a name of the data catalogue, or one of the hub.
struct ModelArgument: ExpressibleByArgument, Sendable {
    let text: String

    init?(argument: String) {
        if argument.isEmpty { return nil }
        text = argument
    }

    init(path: String) { text = path }

    static var defaultCompletionKind: CompletionKind { NameCompletion.models }

    /// Where the model is; one of the catalogue or of the hub is fetched if it is not in the cache.
    func path(progress: (any ProgressReporter)?) throws -> String {
        try ModelLocation.path(of: text, progress: progress)
    }
}
