import ArgumentParser
import LacunaIO
import LacunaSparse
import LacunaTensor

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Lists a model's tensors: shape, type, sparsity, pattern, bytes.",
        discussion: """
            Examples:
              lacuna inspect smollm2
              lacuna inspect sparse-model --filter mlp
              lacuna inspect model.safetensors --totals
              lacuna inspect sparse-model --json > tensors.json
            """)

    @Argument(
        help: ArgumentHelp(
            "A .gguf or .safetensors file, a model's directory, or a catalogue name.",
            valueName: "model"))
    var model: ModelArgument

    @Option(help: ArgumentHelp("Only tensors whose names contain this.", valueName: "text"))
    var filter: String?

    @Flag(help: "The totals by type only.")
    var totals = false

    @OptionGroup var output: JSONOption
    @OptionGroup var options: RunOptions

    func run() throws {
        let progress = options.begin()
        defer { progress.clear() }
        let path = try model.path(progress: progress)
        let inspection = try Inspection(path, filter: filter ?? "", progress: progress)
        progress.clear()
        printResult(json: output.json, inspection.json, text: text(of: inspection))
    }

    private func text(of inspection: Inspection) -> String {
        let parts =
            (totals ? [] : [inspection.table.text(console: .output)]) + [inspection.totals.text(console: .output)]
        return parts.joined(separator: "\n\n")
    }
}
