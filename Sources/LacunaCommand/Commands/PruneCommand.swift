import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaLearn
import LacunaModels
import LacunaPrune
import LacunaSparse
import LacunaTensor

struct PruneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Removes weights from a model and writes the smaller, faster one.",
        discussion: """
            Examples:
              lacuna prune smollm2 --calibration text.txt --output sparse
              lacuna prune smollm2 --method sparsegpt --pattern 2:4 \\
                --calibration text.txt --output sparse-24
              lacuna prune smollm2 --method magnitude --sparsity 0.3 \\
                --weights int8 --head int8 --output small
              lacuna prune smollm2 --method cfsp --sparsity 0.3 \\
                --calibration text.txt --output narrow
              lacuna prune smollm2 --calibration text.txt \\
                --format gguf --output pruned.gguf
              lacuna prune smollm2 --budget owl --ignore 'model.layers.0.*' \\
                --layer-sparsity '*.mlp.down_proj.weight=0.3' \\
                --calibration text.txt --output uneven
              lacuna prune smollm2 --method armor --calibration text.txt --output wrapped
              lacuna prune smollm2 --method gqsa --calibration text.txt --output sparse-4bit

            Methods that factor a matrix (lowrank, welore, cospadi, armor) have a form of their own: armor an n:m core \
            between block-diagonal wrappers, the others no pattern. gqsa keeps whole groups of 16 inputs in 4 bits and \
            trains what it keeps on the calibration text, which takes longer than the others.

            Patterns: unstructured[:row|:layer|:global], n:m such as 2:4, block:RxC, rows, columns. 'lacuna methods' \
            lists the methods. Embedding, norms and head are never pruned; --head can round embedding and head.

            Unless --weights and --head say otherwise, numbers keep the type that they have in the source, so that the new \
            model is no larger: a 4-bit model stays one. --weights bf16 loses less, and takes more bytes.
            """)

    @Argument(help: "A model file or directory, or a catalogue name.")
    var model: ModelArgument

    @Option(help: ArgumentHelp("How weights are chosen.", valueName: "name"), completion: NameCompletion.methods)
    var method = "wanda"

    @Option(
        help: ArgumentHelp("Which weights may go together; the method's own by default.", valueName: "pattern"),
        completion: NameCompletion.patterns)
    var pattern: String?

    @Option(
        within: .from(0, below: 1),
        help: ArgumentHelp("Fraction removed; 0.5, or what the pattern fixes, by default.", valueName: "fraction"))
    var sparsity: Double?

    @Option(help: "How the sparsity is shared out among layers: uniform, erk, global or owl.")
    var budget = PruningPlan.Budget.uniform

    @Option(
        help: ArgumentHelp(
            "Layers with a sparsity of their own: a name, * for any characters, = and the fraction. Once for each.",
            valueName: "name=fraction"))
    var layerSparsity: [LayerSparsity] = []

    @Option(help: ArgumentHelp("Layers that stay as they are, * for any characters. Once for each.", valueName: "name"))
    var ignore: [String] = []

    @OptionGroup var calibration: CalibrationOptions

    @Option(help: ArgumentHelp("Where the new model goes.", valueName: "path"))
    var output: OutputDirectory

    @Option(
        help: ArgumentHelp(
            "lacuna, a directory that keeps sparse weights sparse, or gguf, a file for other programs in which weights "
                + "that were removed are zeros and take the room of all others.", valueName: "form"))
    var format = ModelForm.lacuna

    @Option(
        help: ArgumentHelp(
            "With --format gguf: F32, F16, BF16, Q8_0 or Q4_0 for all matrices; each the nearest to its own by default.",
            valueName: "type"))
    var ggufType: GGUFWeights?

    @Flag(help: "Replace what is there: a model that Lacuna wrote, or a GGUF file.")
    var force = false

    @Option(
        help: ArgumentHelp(
            "Values of the pruned weights: f32, bf16, f16, int8 or int4; as in the source by default.",
            valueName: "type"))
    var weights: ValueType?

    @Option(
        help: ArgumentHelp(
            "Embedding and output head: stored, f32, bf16, f16, int8 or int4; as in the source by default.",
            valueName: "type"))
    var head: WeightPrecision?

    @Option(
        help: ArgumentHelp(
            "Storage of the pruned weights: dense, bitmask, csr, bsr4x4, 2:4 …; what suits the pattern by default.",
            valueName: "layout"))
    var layout: LayoutArgument?

    @Flag(help: "Show every matrix.")
    var details = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        if ggufType != nil && format != .gguf { throw ValidationError("--gguf-type needs --format gguf") }
        if calibration.specialTokens && calibration.calibration == nil {
            throw ValidationError("--special-tokens is about --calibration")
        }
    }

    func run() throws {
        var plan = PruningPlan(
            method: method, pattern: pattern, sparsity: sparsity, budget: budget, layout: layout?.layout,
            seed: calibration.seed)
        plan.layerSparsities = layerSparsity.map { ($0.pattern, $0.sparsity) }
        plan.ignored = ignore.map { NamePattern($0) }
        // What can be wrong with the command line is found out before minutes of work.
        let kind = try plan.pruner().method
        let (requirement, fixed) = (kind.requirement, (kind as? any MatrixCompression)?.fixedValues)
        if let weights, let fixed, weights != fixed {
            throw LacunaError.invalidArgument("--weights", reason: "\(method) stores \(fixed), not \(weights)")
        }
        if requirement != .none && calibration.calibration == nil {
            throw LacunaError.invalidArgument(
                "--calibration", reason: "the method \(method) looks at activations and needs a text")
        }
        var lock: DirectoryLock?
        if format == .gguf {
            try OutputFile.check([OutputFile(path: output.path)], overwriting: force)
        } else {
            lock = try output.claim(overwriting: force)
        }
        defer { lock?.release() }
        let progress = options.begin()
        defer { progress.clear() }
        let source = try SourcePrecision(LanguageModel.tensors(model.path(progress: progress)))
        let (values, head) = try (
            weights ?? fixed ?? source.values(sparsity: plan.removed()), self.head ?? source.head
        )
        plan.values = values
        let loaded = try LanguageModel(model, head: head, progress: progress)
        let (pruner, set) = (try plan.pruner(), try calibration.set(loaded.tokenizer))
        try requireRoom(pruner, loaded.decoder, calibrationTokens: set?.tokens.count ?? 0)
        let (decoder, report) = try pruner.prune(loaded.decoder, calibration: set, progress: progress)
        try Interruption.check()
        if format == .gguf {
            try decoder.saveGGUF(
                to: output.path, weights: ggufType, tokenizer: loaded.tokenizer,
                source: FileSystem.isDirectory(loaded.path) ? nil : GGUFFile(loaded.path), name: loaded.name,
                progress: progress)
        } else {
            try decoder.save(to: output.path, tokenizer: loaded.tokenizer, overwrite: force)
        }
        progress.clear()
        let result = PruningResult(
            report: report, values: values, source: loaded, size: ModelSize(decoder), output: output.path,
            diskBytes: try FileSystem.size(output.path), chosen: chosen(source, values, head, isFixed: fixed != nil))
        printResult(json: form.json, result.json, text: result.text(details: details))
    }

    /// Says no to a disk or a machine that cannot hold the result before the work, not after it.
    private func requireRoom(_ pruner: Pruner, _ decoder: Transformer, calibrationTokens: Int) throws {
        let bytes = pruner.leastFileBytes(decoder)
        if let available = FileSystem.availableSpace(output.path), available < bytes {
            throw LacunaError.resource("\(output): room on the disk", needed: bytes, available: available)
        }
        let estimate = pruner.memoryEstimate(decoder, calibrationTokens: calibrationTokens)
        try MachineMemory.require(estimate.total - estimate.model, for: "pruning by \(method)")
    }

    /// What the defaults chose, in words; nil if they chose nothing.
    private func chosen(
        _ source: SourcePrecision, _ values: ValueType, _ head: WeightPrecision, isFixed: Bool
    ) -> String? {
        var parts: [String] = []
        if weights == nil, !isFixed {
            parts.append("values \(values)\(source.weightType.map { " after the source's \($0)" } ?? "")")
        }
        if self.head == nil {
            parts.append(
                head == .stored
                    ? "embedding and head as they are\(source.headType.map { " (\($0))" } ?? "")"
                    : "embedding and head \(head) after the source's \(source.headType ?? "types")")
        }
        return parts.isEmpty ? nil : parts.joined(separator: "; ") + " (--weights, --head)"
    }
}

extension ValueType: ExpressibleByArgument {}
extension ProductPrecision: ExpressibleByArgument {}
extension GGUFWeights: ExpressibleByArgument {}

/// How a model is written.
enum ModelForm: String, ExpressibleByArgument, CaseIterable { case lacuna, gguf }
extension PruningPlan.Budget: ExpressibleByArgument {}

/// A name pattern and the sparsity of the layers that it names.
struct LayerSparsity: ExpressibleByArgument {
    let pattern: NamePattern
    let sparsity: Double

    init?(argument: String) {
        guard let sign = argument.lastIndex(of: "="), let value = Double(argument[argument.index(after: sign)...]),
            value >= 0, value <= 1, sign != argument.startIndex
        else { return nil }
        (pattern, sparsity) = (NamePattern(String(argument[..<sign])), value)
    }
}

/// A storage layout by the name that `lacuna inspect` gives it.
struct LayoutArgument: ExpressibleByArgument {
    let layout: StorageLayout

    static var defaultCompletionKind: CompletionKind { .list(NameCompletion.layoutNames) }

    init?(argument: String) {
        guard let layout = StorageLayout(argument) else { return nil }
        self.layout = layout
    }
}

/// What a pruning run has to say.
struct PruningResult {
    let report: PruningReport
    let values: ValueType
    let source: LanguageModel
    let size: ModelSize
    let output: String
    let diskBytes: Int
    /// What the defaults chose.
    let chosen: String?

    /// What the same matrices would take unpruned in the same type: the fair comparison if the source is quantised.
    private var denseBytes: Int {
        report.layers.reduce(0) {
            $0 + values.byteCount(stored: $1.rows * $1.columns, rows: $1.rows, columns: $1.columns)
        }
    }

    private var before: ModelSize { ModelSize(source.decoder) }

    func text(details: Bool) -> String {
        let total = report.layers.reduce(0) { $0 + $1.rows * $1.columns }
        var facts = Table([.left("pruned"), .left(source.name)])
        facts.append(["method", report.method])
        if let pattern = report.pattern { facts.append(["pattern", pattern.description]) }
        if let chosen { facts.append(["chosen by default", chosen]) }
        facts.append([
            "removed",
            "\(Quantities.percent(report.sparsity, 2)) of \(Quantities.grouped(total)) weights "
                + "in \(report.layers.count) matrices",
        ])
        facts.append([
            "those matrices",
            "\(Quantities.bytes(denseBytes)) dense in \(values), \(Quantities.bytes(report.bytes.after)) now "
                + "(\(Quantities.bytes(report.bytes.before)) in \(source.name))",
        ])
        facts.append([
            "bytes a token",
            "\(Quantities.bytes(before.bytesPerToken)) before, \(Quantities.bytes(size.bytesPerToken)) now, "
                + "\(Quantities.bytes(size.headBytes)) of it the output head",
        ])
        facts.append([
            "on disk", "\(Quantities.bytes(source.diskBytes)) before, \(Quantities.bytes(diskBytes)) now",
        ])
        if report.calibrationTokens > 0 {
            facts.append(["calibration", "\(Quantities.grouped(report.calibrationTokens)) tokens"])
        }
        facts.append([
            "took",
            "\(Quantities.duration(report.seconds)), \(Quantities.bytes(report.peakBytes)) of memory at the most",
        ])
        facts.append(["written to", output])
        return (details ? [layers.text(console: .output)] : []).appending(facts.text(console: .output))
            .joined(separator: "\n\n")
    }

    private var layers: Table {
        Table(
            [
                .left("matrix"), .left("shape"), .right("sparsity"), .left("stored as"), .right("bytes before"),
                .right("bytes now"), .right("output error"),
            ],
            rows: report.layers.map { layer in
                [
                    layer.name, "\(layer.rows) × \(layer.columns)", Quantities.percent(layer.sparsity),
                    layer.format.description, Quantities.grouped(layer.bytesBefore),
                    Quantities.grouped(layer.bytesAfter), layer.outputError.map { Quantities.percent($0, 2) } ?? "",
                ]
            })
    }

    var json: JSONValue {
        [
            "model": .string(source.name), "output": .string(output), "method": .string(report.method),
            "pattern": report.pattern.map { .string($0.description) } ?? .null, "sparsity": .number(report.sparsity),
            "values": .string(values.rawValue), "calibrationTokens": JSONValue(report.calibrationTokens),
            "seconds": .number(report.seconds),
            "estimatedBytes": JSONValue(report.estimatedBytes), "peakBytes": JSONValue(report.peakBytes),
            "diskBytes": ["before": JSONValue(source.diskBytes), "after": JSONValue(diskBytes)],
            "bytesPerToken": [
                "before": JSONValue(before.bytesPerToken), "after": JSONValue(size.bytesPerToken),
                "head": JSONValue(size.headBytes),
            ],
            "layers": .array(
                report.layers.map { layer in
                    [
                        "name": .string(layer.name), "rows": JSONValue(layer.rows), "columns": JSONValue(layer.columns),
                        "sparsity": .number(layer.sparsity), "format": .string(layer.format.description),
                        "bytesBefore": JSONValue(layer.bytesBefore), "bytesAfter": JSONValue(layer.bytesAfter),
                        "outputError": layer.outputError.map { .number($0) } ?? .null,
                    ]
                }),
        ]
    }
}

extension Array {
    fileprivate func appending(_ element: Element) -> Array { self + [element] }
}
