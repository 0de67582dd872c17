import ArgumentParser
import LacunaIO
import LacunaRetrieve
import LacunaTensor

struct EncodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "encode", abstract: "Turns texts into sparse vectors over a vocabulary.",
        discussion: """
            Examples:
              lacuna encode corpus.jsonl --model splade --output vectors.jsonl
              lacuna encode queries.jsonl --model splade --queries
              cat corpus.jsonl | lacuna encode - --model splade --max-active-dims 128 > vectors.jsonl

            MODEL is a SparseEncoder folder of sentence-transformers (SPLADE, or inference-free), or a BERT with a \
            head for \
            masked tokens. FILE has one JSON object a line: _id or id, and text or contents; title is put before the \
            text. The \
            result has a line {"id", "contents", "vector": {term: weight}} for each, as Anserini and Seismic read them.
            """)

    @Argument(help: "JSON lines of texts; - is standard input.")
    var file: InputFile

    @Option(help: ArgumentHelp("The folder of a sparse encoder.", valueName: "directory"), completion: .directory)
    var model: String

    @Flag(help: "Encode as queries, not as documents.")
    var queries = false

    @Option(
        in: 1...1_000_000, help: ArgumentHelp("Keep only so many of a text's largest weights.", valueName: "n"))
    var maxActiveDims: Int?

    @Option(help: ArgumentHelp("Where the vectors go; - is standard output.", valueName: "file"))
    var output = OutputFile(path: "-")

    @Flag(help: "Leave the texts out of the result.")
    var noContents = false

    @Flag(help: "Leave out lines with something wrong, and count them.")
    var skipBad = false

    @Flag(help: "Replace the output file.")
    var force = false

    @OptionGroup var options: RunOptions

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        let progress = options.begin()
        defer { progress.clear() }
        var encoder = try SparseEncoder.load(model)
        if let maxActiveDims { encoder.maximumTerms = maxActiveDims }
        let stream = EncodingStream(encoder, asQueries: queries, keepsTexts: !noContents)
        let lines = try JSONLines(file.path, skipsBad: skipBad)
        let target = try AtomicFile(output.isStandardOutput ? "/dev/stdout" : output.path)
        let count = try stream.run(lines, progress: progress) { try target.write($0) }
        try target.commit()
        progress.clear()
        if lines.skipped > 0 {
            Console.error.print(
                "left out \(Quantities.grouped(lines.skipped)) lines, the first: "
                    + (lines.firstSkipped?.description ?? ""))
        }
        if !output.isStandardOutput {
            Console.output.print(
                "\(output): \(Quantities.grouped(count)) vectors of "
                    + "\(Quantities.grouped(encoder.termNames.count)) terms"
            )
        }
    }
}
