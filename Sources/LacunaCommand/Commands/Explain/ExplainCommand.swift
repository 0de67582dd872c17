import ArgumentParser
import LacunaDictionary

struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract:
            "Shows what a model has learned: trains dictionaries of its activations, measures them, makes pages of features.",
        discussion: """
            Examples:
              lacuna explain train smollm2 --layer 12 --rule topk --k 32 --width 8192 --text corpus.txt --output sae
              lacuna explain eval sae/topk --model smollm2 --text test.txt
              lacuna explain probe sae/topk --model smollm2 --text test.txt
              lacuna explain page sae/topk --model smollm2 --text test.txt --output features.html
              lacuna explain compare sparse-model smollm2 --layer 12 --text corpus.txt --output compared
              lacuna explain code patches.npy --atoms 256

            Dictionaries are directories in the layout of SAELens (cfg.json, sae_weights.safetensors), and are read from there.
            """,
        subcommands: [
            ExplainTrainCommand.self, ExplainEvalCommand.self, ExplainProbeCommand.self, ExplainPageCommand.self,
            ExplainCompareCommand.self, ExplainCodeCommand.self,
        ])
}

extension ActivationSite.Part: ExpressibleByArgument {}

/// Where in a model activations are read.
struct SiteOptions: ParsableArguments {
    @Option(in: 0...4095, help: ArgumentHelp("The layer, from 0.", valueName: "n"))
    var layer: Int

    @Option(
        help: ArgumentHelp(
            "residual: the stream after the layer; mlp; attention: the heads before they are mixed.", valueName: "site")
    )
    var site: ActivationSite.Part = .residual

    var value: ActivationSite { ActivationSite(layer: layer, site) }
}

/// The text that activations are of.
struct ActivationTextOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The text, UTF-8; - is the input.", valueName: "file"))
    var text: InputFile

    @Option(in: 2...Int(Int32.max), help: ArgumentHelp("Only so many tokens from its beginning.", valueName: "n"))
    var tokens: Int?

    @Option(in: 2...1_000_000, help: ArgumentHelp("Tokens of a sequence.", valueName: "n"))
    var context = 128

    @Option(
        in: 0...999_999,
        help: ArgumentHelp("Positions at the beginning of each sequence that are left out.", valueName: "n"))
    var skip = 1
}

/// A dictionary that a command reads, and where it is from.
struct DictionaryFile {
    let name: String
    let dictionary: SparseAutoencoder
    let site: ActivationSite

    /// - Parameters:
    ///   - layer: In the place of what the dictionary says of itself, and `part` likewise.
    ///   - option: What the site is given by.
    init(_ path: String, layer: Int?, part: ActivationSite.Part?, option: String = "--layer and --site") throws {
        dictionary = try SparseAutoencoder.load(path)
        name = FileSystem.name(of: path)
        let own = dictionary.origin.site.flatMap { ActivationSite($0) }
        guard let layer = layer ?? own?.layer, let part = part ?? own?.part else {
            throw LacunaError.invalidArgument(
                option, reason: "must be given, as \(path) does not say where its activations are from")
        }
        site = ActivationSite(layer: layer, part)
    }
}
