import ArgumentParser
import LacunaIO
import LacunaPrune
import LacunaReproduce

/// Words that a shell offers where a name is expected.
enum NameCompletion {
    static var methods: CompletionKind {
        let refinable = PruningMethods.all.filter { $0 is any ScoredPruning }
        return .list(PruningMethods.all.map(\.card.name) + refinable.map { "\($0.card.name)+dsnot" })
    }

    static var patterns: CompletionKind { .list(PruningPlan.patternNames) }

    static let layoutNames = ["dense", "bitmask", "csr", "bsr4x4", "bsr16x16", "2:4", "4:8"]

    static var examples: CompletionKind { .list(TrainCommand.examples.map(\.name)) }
    static var reproductions: CompletionKind { .list(Reproductions.all.map(\.shortName)) }
    static var catalogue: CompletionKind { .list(Catalogue.entries.map(\.name)) }

    /// Files and directories that begin as typed, and the names of models in the catalogue.
    static var models: CompletionKind {
        .custom { _, _, prefix in
            Catalogue.entries.map(\.name).filter { $0.hasPrefix(prefix) } + paths(beginning: prefix)
        }
    }

    private static func paths(beginning prefix: String) -> [String] {
        let directory = prefix.hasSuffix("/") ? prefix : FileSystem.directory(of: prefix)
        let names = (try? FileSystem.list(directory.isEmpty ? "." : directory)) ?? []
        return names.compactMap { name in
            let path = FileSystem.join(directory, name)
            guard path.hasPrefix(prefix), !name.hasPrefix(".") else { return nil }
            return FileSystem.isDirectory(path) ? path + "/" : path
        }
    }
}
