import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

/// What a model is to leave out while it runs.
struct SkippingOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Leave out inputs of products: METHOD:RATIO, the share of the linear layers' weights not to read, such as \
            wina:0.4 ('lacuna methods' lists them), or a file that 'lacuna calibrate' wrote.
            """,
            valueName: "method:ratio|file"))
    var activation: [String] = []

    @Option(
        help: ArgumentHelp(
            "With --activation METHOD:RATIO, or --attention double: a text to calibrate on, UTF-8; - is the input.",
            valueName: "file"))
    var calibration: InputFile?

    @Flag(help: "What looks like a special token in a text, such as <|im_end|>, is that token.")
    var specialTokens = false

    @Option(
        help: ArgumentHelp(
            "With --activation METHOD:RATIO: how the ratio is spread over a block's matrices, uniform or greedy.",
            valueName: "name"))
    var allocation: RatioAllocation?

    @Option(
        help: ArgumentHelp(
            """
            Keys that attention reads of what was said: quest:SHARE chooses pages for every token, double:SHARE keys, \
            alisa:SHARE the keys that were paid most of late, \
            window:POSITIONS the last ones.
            """,
            valueName: "name:number"))
    var attention: String?

    @Option(
        help: ArgumentHelp(
            "How keys and values are kept: int8, or mustafar:SPARSITY, which leaves out their small entries.",
            valueName: "name"))
    var kv: String?

    @Option(
        help: ArgumentHelp(
            """
            Keys that prompts read of what they may: block-sparse:SHARE chooses blocks, vertical-slash:SHARE keys and distances, \
            flexprefill:MASS as many of both as get this share of the attention.
            """,
            valueName: "name:number"))
    var prefill: String?

    @Option(
        help: ArgumentHelp(
            """
            What is kept of a prompt once it has been read, the rest being forgotten: snapkv:SHARE of every head's positions, \
            ada-snapkv:SHARE of all heads' together.
            """,
            valueName: "name:share"))
    var evict: String?

    /// Whether keys or values are left out, or kept in another form.
    var concernsKeys: Bool { attention != nil || kv != nil || prefill != nil || evict != nil }

    /// How keys and values are read and kept.
    func cacheRequest(_ model: LanguageModel, progress: (any ProgressReporter)?) throws -> CacheRequest {
        try CacheRequest(attention: attention, keeping: kv, prompts: prefill, eviction: evict) {
            guard let set = try calibrationSet(model) else {
                throw LacunaError.invalidArgument(
                    "attention", reason: "double needs a text to find its channels on: --calibration")
            }
            return try HeavyChannels(of: model.decoder, on: set, progress: progress)
        }
    }

    private var findsChannels: Bool { attention?.hasPrefix("double") ?? false }

    func validate() throws {
        if activation.isEmpty && allocation != nil { throw ValidationError("--allocation needs --activation") }
        if findsChannels { return }
        if activation.isEmpty && calibration != nil {
            throw ValidationError("--calibration needs --activation, or --attention double:SHARE")
        }
        if calibration != nil || allocation != nil, activation.allSatisfy({ FileSystem.isPlainFile($0) }) {
            throw ValidationError(
                "a file of --activation was calibrated already; leave --calibration and --allocation out")
        }
    }

    /// What is calibrated on, unless a file has it: 16 sequences of 256 tokens, or of what the model can take; fewer of a shorter
    /// text.
    func calibrationSet(_ model: LanguageModel) throws -> CalibrationSet? {
        try calibration.map {
            let text = model.tokenizer.encode(
                try FileSystem.readText($0.path), recognizesSpecials: specialTokens, addsBeginning: false)
            let length = min(256, model.decoder.configuration.maximumPositions)
            return try CalibrationSet(text: text, sequences: max(1, min(16, text.count / length)), length: length)
        }
    }

    /// The plan of one of the words given.
    func plan(
        _ words: String, _ model: LanguageModel, progress: (any ProgressReporter)?
    ) throws -> ActivationPlan {
        let isFile = FileSystem.isPlainFile(words)
        return try model.activationPlan(
            words, calibration: isFile ? nil : try calibrationSet(model), allocation: isFile ? nil : allocation,
            progress: progress)
    }
}

extension RatioAllocation: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

/// What was left out, for people and for programs.
struct SkippingSummary {
    let request: ActivationRequest?
    let cache: CacheRequest
    let meter: SkippingMeter

    var line: String {
        var parts: [String] = []
        let (count, keys) = (meter.total, meter.keys)
        if let request {
            parts.append(
                "\(request): \(Quantities.percent(count.sparsity)) of the linear layers' weights left out; token by token "
                    + "\(Quantities.percent(count.byteShare)) of their bytes read")
        }
        if cache.attention != .all || cache.keeping != .floats || cache.prompts != .unplanned || cache.eviction != nil {
            var part = "\(cache): \(Quantities.percent(keys.share)) of the keys read, prompts aside"
            if meter.prompts.visible > 0 {
                part += "; \(Quantities.percent(meter.prompts.share)) of those of prompts, choosing took "
                part += "\(Quantities.percent(meter.prompts.cost)) of their products"
            }
            parts.append(part)
        }
        return "[\(parts.joined(separator: "; "))]"
    }

    var json: JSONValue {
        let (count, keys) = (meter.total, meter.keys)
        return [
            "activation": request.map { .string("\($0)") } ?? .null, "cache": .string("\(cache)"),
            "sparsity": .number(count.sparsity), "byteShare": .number(count.byteShare),
            "vectors": JSONValue(count.vectors), "skippingVectors": JSONValue(count.skipping),
            "keyShare": .number(keys.share), "promptShare": .number(meter.prompts.share),
            "promptCost": .number(meter.prompts.cost),
        ]
    }
}
