import ArgumentParser
import LacunaIO
import LacunaPrune
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
        // The directory of a training run stands for the model in it.
        if let inside = TrainingJob.modelDirectory(of: text) { return inside }
        return try ModelLocation.path(of: text, progress: progress)
    }
}
