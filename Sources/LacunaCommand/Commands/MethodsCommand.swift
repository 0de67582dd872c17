import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaPrune

struct MethodsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "methods",
        abstract: "Lists every method, of pruning, sparse training and skipping: name, family, composition, paper.",
        discussion: """
            Examples:
              lacuna methods
              lacuna methods --json

            Of methods of training the list says what of their paper is here ('has') and what is not, or otherwise ('leaves').

            NAME+dsnot refines the masks of another method, for example magnitude+dsnot. \
            Methods of the family 'sparse training' are for 'lacuna train', but \(swiftOnly), which are used from Swift; \
            those of 'activation sparsity' for --activation of \
            'lacuna run', 'eval' and 'calibrate', where NAME+top takes the largest scores instead of those above a threshold; \
            'sparse attention' is for --attention, or for --prefill if it is about prompts, 'key/value sparsity' for --kv, or for \
            --evict if it forgets positions.
            """)

    /// Names of the methods that no configuration of `lacuna train` reaches.
    private static let swiftOnly = TrainingMethods.libraryCards.map(\.name).joined(separator: ", ")

    @OptionGroup var output: JSONOption

    func run() {
        let cards =
            PruningMethods.all.map(\.card) + TrainingMethods.cards + TrainingMethods.libraryCards
            + ActivationMethod.all.map(\.card) + CacheRequest.cards
        printResult(
            json: output.json, .array(cards.map(Self.json)), text: cards.map(Self.paragraph).joined(separator: "\n\n"))
    }

    /// A paragraph each: the lines of a table would be wider than any terminal.
    private static func paragraph(_ card: MethodCard) -> String {
        var lines = ["\(Console.output.styled(card.name, .bold)): \(card.family.rawValue)"]
        lines.append("    composes  \(card.composition.joined(separator: " + "))")
        if !card.implements.isEmpty {
            lines.append("    has       \(card.implements.joined(separator: "; "))")
            let missing = card.leavesOut.isEmpty ? "nothing" : card.leavesOut.joined(separator: "; ")
            lines.append("    leaves    \(missing)")
        }
        if let paper = card.paper {
            lines += ["    paper     \(paper.title)", "              \(paper.authors), arXiv:\(paper.arXiv)"]
        }
        return lines.joined(separator: "\n")
    }

    private static func json(_ card: MethodCard) -> JSONValue {
        [
            "name": .string(card.name), "family": .string(card.family.rawValue),
            "composes": .array(card.composition.map { .string($0) }),
            "implements": .array(card.implements.map { .string($0) }),
            "leaves_out": .array(card.leavesOut.map { .string($0) }),
            "paper": card.paper.map {
                ["authors": .string($0.authors), "title": .string($0.title), "arXiv": .string($0.arXiv)]
            } ?? .null,
        ]
    }
}
