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
            "How keys and values are kept: int8, int4, or mustafar:SPARSITY, which leaves out their small entries.",
            valueName: "name"))
    var kv: String?

    @Option(
        help: ArgumentHelp(
            """
            Keys that prompts read of what they may: block-sparse:SHARE chooses blocks, vertical-slash:SHARE keys and distances, \
            flexprefill:MASS as many of both as get this share of the attention; or a file of a gate that 'lacuna calibrate \
            --prefill seer:SHARE' wrote.
            """,
            valueName: "name:number|file"))
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
        try CacheRequest(
            attention: attention, keeping: kv, prompts: prefill, eviction: evict,
            channels: {
                guard let set = try calibrationSet(model) else {
                    throw LacunaError.invalidArgument(
                        "attention", reason: "double needs a text to find its channels on: --calibration")
                }
                return try HeavyChannels(of: model.decoder, on: set, progress: progress)
            }, seer: { try SeerAttention(contentsOf: $0, for: model.decoder) })
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
                    + "\(Quantities.percent(count.byteShare)) of their bytes read; choosing looked at "
                    + "\(Quantities.percent(count.cost, 2)) as many numbers")
        }
        if !cache.isDense {
            var part = "\(cache): \(Quantities.percent(keys.share)) of the keys read, prompts aside, all of them by "
            part += "\(Quantities.percent(keys.wholeShare)) of the queries; choosing read "
            part += "\(Quantities.percent(keys.cost)) as much as all keys and values"
            if meter.prompts.visible > 0 {
                part += "; \(Quantities.percent(meter.prompts.share)) of those of prompts, choosing took "
                part += "\(Quantities.percent(meter.prompts.cost)) of their products"
            }
            parts.append(part)
        }
        return "[\(parts.joined(separator: "; "))]"
    }

    /// A page of what was left out where: the line, layers against roles, and the keys of each layer.
    func page(model: String) -> HTMLReport {
        var report = HTMLReport(
            title: "What \(model) left out",
            lead: String(line.dropFirst().dropLast())
                + ". Of weights the share that met no input, of keys the share that single queries did not read.")
        let (counts, keys) = (meter.counts, meter.keysByLayer)
        let roles = LinearRole.allCases.filter { role in counts.keys.contains { $0.role == role } }
        let layers = Set(counts.keys.map(\.layer)).union(keys.keys).sorted()
        let hasKeys = keys.values.contains { $0.read < $0.visible }
        let names = roles.map(\.rawValue) + (hasKeys ? ["keys", "to choose keys"] : [])
        var table = Table([.left("layer")] + names.map { .right($0) })
        func row(_ name: String, _ count: (LinearRole) -> SkippingMeter.Count, _ keys: SkippingMeter.Keys) {
            let shares = roles.map { Quantities.percent(count($0).sparsity) }
            let read = [Quantities.percent(1 - keys.share), Quantities.percent(keys.cost)]
            table.append([name] + shares + (hasKeys ? read : []))
        }
        for layer in layers {
            row("\(layer)", { counts[.init(layer: layer, role: $0)] ?? .init() }, keys[layer] ?? .init())
        }
        row("all", { meter.total($0) }, meter.keys)
        report.table(table)
        return report
    }

    /// What was left out of each role's weights, role by role and layer by layer.
    private var roles: JSONObject {
        let counts = meter.counts
        var roles = JSONObject()
        for role in LinearRole.allCases where counts.keys.contains(where: { $0.role == role }) {
            let total = meter.total(role)
            let layers = counts.filter { $0.key.role == role }.sorted { $0.key.layer < $1.key.layer }
            roles[role.rawValue] = [
                "sparsity": .number(total.sparsity), "byteShare": .number(total.byteShare),
                "layers": .array(layers.map { .number($0.value.sparsity) }),
            ]
        }
        return roles
    }

    var json: JSONValue {
        let (count, keys) = (meter.total, meter.keys)
        return [
            "activation": request.map { .string("\($0)") } ?? .null, "cache": .string("\(cache)"),
            "sparsity": .number(count.sparsity), "byteShare": .number(count.byteShare),
            "choiceCost": .number(count.cost),
            "vectors": JSONValue(count.vectors), "skippingVectors": JSONValue(count.skipping),
            "keyShare": .number(keys.share), "wholeQueries": .number(keys.wholeShare),
            "keyChoiceCost": .number(keys.cost), "promptShare": .number(meter.prompts.share),
            "promptCost": .number(meter.prompts.cost), "roles": .object(roles),
        ]
    }
}
