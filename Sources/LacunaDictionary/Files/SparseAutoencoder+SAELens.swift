import LacunaIO
import LacunaLearn
import LacunaTensor

/// Dictionaries as the SAELens package keeps them, from its version 6 on: a directory with `cfg.json` and
/// `sae_weights.safetensors`, `W_enc` [inputs, width], `W_dec` [width, outputs].
extension SparseAutoencoder {
    private static let configurationName = "cfg.json"
    private static let weightsName = "sae_weights.safetensors"
    /// The version whose layout is written.
    private static let layoutVersion = "6.54.12"

    /// Whether a directory holds a dictionary in this layout.
    public static func isDictionary(_ path: String) -> Bool {
        FileSystem.exists(FileSystem.join(path, configurationName))
            && FileSystem.exists(FileSystem.join(path, weightsName))
    }

    // MARK: Writing

    /// Writes the dictionary; the directory appears whole or not at all.
    ///
    /// Rules that look at whole batches are written with their thresholds, as JumpReLU; what they were is kept in the
    /// metadata, so that ``load(_:)`` gives them back.
    ///
    /// - Parameter type: Of the weights: f32, bf16 or f16.
    /// - Throws: `LacunaError.unsupported` for a rule that the layout has no name for (signed thresholds), `.file`.
    public func save(to path: String, type: ElementType = .f32, overwrite: Bool = false) throws {
        let architecture = try architecture()
        let directory = try AtomicDirectory(path, overwrite: overwrite)
        var metadata = JSONObject()
        metadata["sae_lens_version"] = .string(Self.layoutVersion)
        metadata["sae_lens_training_version"] = .null
        metadata["model_name"] = origin.model.map { .string($0) } ?? .null
        metadata["hook_name"] = origin.site.map { .string(Self.hook($0)) } ?? .null
        metadata["context_size"] = origin.contextLength.map { JSONValue($0) } ?? .null
        metadata["lacuna_site"] = origin.site.map { .string($0) } ?? .null
        metadata["lacuna_rule"] = rule.json
        var configuration = JSONObject()
        configuration["architecture"] = .string(architecture)
        configuration["d_in"] = JSONValue(self.configuration.inputDimensions)
        configuration["d_sae"] = JSONValue(width)
        if architecture.hasSuffix("transcoder") {
            configuration["d_out"] = JSONValue(self.configuration.outputDimensions)
        }
        configuration["dtype"] = .string(type == .bf16 ? "bfloat16" : type == .f16 ? "float16" : "float32")
        configuration["device"] = "cpu"
        configuration["apply_b_dec_to_input"] = .bool(self.configuration.centersInputs)
        configuration["normalize_activations"] = "none"
        configuration["reshape_activations"] = "none"
        switch rule {
        case .topK(let k), .absTopK(let k), .gradientAware(let k, _):
            configuration["k"] = JSONValue(k)
            configuration["rescale_acts_by_decoder_norm"] = false
        case .matchingPursuit(let k):
            configuration["max_iterations"] = JSONValue(k)
            configuration["residual_threshold"] = 0
            configuration["stop_on_duplicate_support"] = false
        default: break
        }
        configuration["metadata"] = .object(metadata)
        try AtomicFile.write(
            JSONValue.object(configuration).serialized(.pretty), to: directory.file(Self.configurationName))
        let writer = try SafetensorsWriter(directory.file(Self.weightsName))
        try writer.write("W_dec", decoderWeight.value, as: type)
        try writer.write("b_dec", decoderBias.value, as: type)
        if let encoderWeight { try writer.write("W_enc", encoderWeight.value.transposed(), as: type) }
        if rule == .gated {
            try writer.write("b_gate", encoderBias!.value, as: type)
            try writer.write("r_mag", magnitudeScale!.value, as: type)
            try writer.write("b_mag", magnitudeBias!.value, as: type)
        } else if let encoderBias {
            try writer.write("b_enc", encoderBias.value, as: type)
        }
        if let thresholds {
            let all = thresholds.count == 1 ? [Float](repeating: thresholds[0], count: width) : thresholds
            try writer.write("threshold", Tensor(all), as: type)
        }
        try writer.finish()
        try directory.commit()
    }

    private var isTranscoder: Bool { !configuration.centersInputs }

    private func architecture() throws -> String {
        let plain =
            switch rule {
            case .relu: "standard"
            case .topK, .gradientAware: "topk"
            case .absTopK: "abstopk"
            case .batchTopK, .featureChoice, .jumpReLU: "jumprelu"
            case .gated: "gated"
            case .matchingPursuit: "matching_pursuit"
            case .batchAbsTopK:
                throw LacunaError.unsupported(file: nil, what: "thresholds of signed codes in the layout of SAELens")
            }
        guard isTranscoder else { return plain }
        switch plain {
        case "standard": return "transcoder"
        case "jumprelu": return "jumprelu_transcoder"
        // The same computation, as an autoencoder that leaves its input where it is.
        case _ where configuration.inputDimensions == configuration.outputDimensions: return plain
        default:
            throw LacunaError.unsupported(
                file: nil, what: "a transcoder of the kind '\(plain)' in the layout of SAELens")
        }
    }

    /// The name of a site among the hooks of TransformerLens.
    private static func hook(_ site: String) -> String {
        guard let known = ActivationSite(site) else { return site }
        let part =
            switch known.part {
            case .residual: "hook_resid_post"
            case .mlp: "hook_mlp_out"
            case .attention: "attn.hook_z"
            }
        return "blocks.\(known.layer).\(part)"
    }

    // MARK: Reading

    /// Reads a dictionary.
    ///
    /// - Throws: `LacunaError.file` if there is none; `.malformed`, `.missingTensor` and `.tensorMismatch` naming
    ///   what is wrong; `.unsupported` for an architecture, a version or a treatment of activations that is not this
    ///   library's.
    public static func load(_ path: String) throws -> SparseAutoencoder {
        try AtomicDirectory.settle(path)
        let fields = try JSONFields(contentsOf: FileSystem.join(path, configurationName))
        func unsupported(_ what: String) -> LacunaError { .unsupported(file: fields.file, what: what) }
        let metadata = try fields.optionalFields("metadata")
        let version = try metadata?.optionalString("sae_lens_version")
        guard let major = version.flatMap({ Int($0.prefix { $0 != "." }) }), major >= 6 else {
            throw unsupported("the layout of version \(version ?? "unknown"); it is read from version 6 on")
        }
        let normalization = try fields.optionalString("normalize_activations") ?? "none"
        if normalization != "none" { throw unsupported("activations normalised by '\(normalization)'") }
        let architecture = try fields.string("architecture")
        let (d, width) = (try fields.integer("d_in"), try fields.integer("d_sae"))
        let transcodes = architecture.hasSuffix("transcoder")
        let out = transcodes ? try fields.integer("d_out") : d
        let written = try metadata?.optionalFields("lacuna_rule").map { try SelectionRule($0) }
        let rule: SelectionRule
        switch architecture {
        case "standard", "transcoder": rule = .relu
        case "topk": rule = try fits(written) ?? .topK(fields.integer("k"))
        case "abstopk": rule = .absTopK(try fields.integer("k"))
        case "gated": rule = .gated
        case "jumprelu", "jumprelu_transcoder": rule = fits(written) ?? .jumpReLU(1, bandwidth: 0.05)
        case "matching_pursuit":
            let threshold = try fields.number("residual_threshold", default: 0.01)
            guard threshold <= 0, !(try fields.bool("stop_on_duplicate_support", default: true)) else {
                throw unsupported("matching pursuit that stops by its residual or its support")
            }
            rule = .matchingPursuit(try fields.integer("max_iterations", default: d))
        default: throw unsupported("the architecture '\(architecture)'")
        }
        func fits(_ rule: SelectionRule?) -> SelectionRule? {
            switch (architecture, rule) {
            case ("topk", .gradientAware?), ("jumprelu", .batchTopK?), ("jumprelu", .featureChoice?),
                ("jumprelu", .jumpReLU?), ("jumprelu_transcoder", .batchTopK?), ("jumprelu_transcoder", .jumpReLU?),
                ("jumprelu_transcoder", .featureChoice?):
                rule
            default: nil
            }
        }
        var configuration = DictionaryConfiguration(
            inputDimensions: d, outputDimensions: transcodes ? out : nil, width: width, rule: rule)
        // Transcoders subtract no bias of another space, whatever the file says of it.
        if !transcodes { configuration.centersInputs = try fields.bool("apply_b_dec_to_input", default: true) }
        do {
            try configuration.validate()
        } catch LacunaError.invalidArgument(let name, let reason) {
            throw fields.failure(name, reason)
        }
        let file = try SafetensorsFile(FileSystem.join(path, weightsName))
        // Shapes before memory is asked for.
        try file.info("W_dec").require(shape: [width, out])
        let result = try SparseAutoencoder(configuration, seed: 0)
        try result.take(file, rescaled: fields.bool("rescale_acts_by_decoder_norm", default: false))
        result.origin = DictionaryOrigin(
            model: try metadata?.optionalString("model_name"),
            site: try metadata?.optionalString("lacuna_site") ?? metadata?.optionalString("hook_name"),
            contextLength: try metadata?.optionalInteger("context_size"))
        return result
    }

    /// - Parameter rescaled: Whether pre-activations are multiplied by the norms of their directions before they
    ///   compete, and strengths divided by them: the same as directions of norm 1 with an encoder that has taken the
    ///   norms up.
    private func take(_ file: SafetensorsFile, rescaled: Bool) throws {
        let (d, out) = (configuration.inputDimensions, configuration.outputDimensions)
        func read(_ name: String, _ shape: [Int]) throws -> Tensor<Float> {
            let value = try file.float(name, shape: shape)
            guard value.isFinite else {
                throw LacunaError.malformed(
                    file: file.path, location: "tensor '\(name)'", reason: "has entries that are not finite")
            }
            return value
        }
        var expected: Set<String> = ["W_dec", "b_dec"]
        func take(_ parameter: Parameter<Float>?, _ name: String) throws {
            guard let parameter else { return }
            expected.insert(name)
            parameter.value = try read(name, [width])
        }
        decoderWeight.value = try read("W_dec", [width, out])
        decoderBias.value = try read("b_dec", [out])
        if let encoderWeight {
            expected.insert("W_enc")
            encoderWeight.value = try read("W_enc", [d, width]).transposed()
        }
        try take(encoderBias, rule == .gated ? "b_gate" : "b_enc")
        try take(magnitudeScale, "r_mag")
        try take(magnitudeBias, "b_mag")
        if logThreshold != nil || threshold != nil {
            expected.insert("threshold")
            let values = try read("threshold", [width]).scalars
            // A threshold below 0 is one of 0: strengths are positive.
            logThreshold?.value = Tensor(values.map { Float(logarithm(max(Double($0), 1e-30))) })
            if let threshold {
                if threshold.count == 1, let other = values.first(where: { $0 != values[0] }) {
                    throw LacunaError.malformed(
                        file: file.path, location: "tensor 'threshold'",
                        reason: "\(values[0]) and \(other) differ, the rule has one for all features")
                }
                threshold.value = Tensor(threshold.count == 1 ? [values[0]] : values)
            }
        }
        if let unknown = file.names.first(where: { !expected.contains($0) }) {
            throw LacunaError.malformed(
                file: file.path, location: "tensor '\(unknown)'", reason: "is not part of this kind of dictionary")
        }
        if rescaled, let encoderWeight, let encoderBias {
            let norms = Directions.norms(decoderWeight.buffer.pointer, rows: width, columns: out)
            for j in 0..<width where norms[j] > 0 {
                for i in 0..<d { encoderWeight.buffer.pointer[j * d + i] *= norms[j] }
                for i in 0..<out { decoderWeight.buffer.pointer[j * out + i] /= norms[j] }
                encoderBias.buffer.pointer[j] *= norms[j]
            }
        }
    }
}

/// Rules as members of JSON files.
extension SelectionRule {
    /// An object with the rule's `name`, as in ``names``, and its numbers.
    public var json: JSONValue {
        switch self {
        case .relu: ["name": "relu"]
        case .topK(let k): ["name": "topk", "k": JSONValue(k)]
        case .absTopK(let k): ["name": "abstopk", "k": JSONValue(k)]
        case .batchTopK(let k): ["name": "batchtopk", "k": JSONValue(k)]
        case .batchAbsTopK(let k): ["name": "batchabstopk", "k": JSONValue(k)]
        case .featureChoice(let k, .uniform): ["name": "feature-choice", "k": JSONValue(k)]
        case .featureChoice(let k, .zipf(let exponent, let shift)):
            ["name": "feature-choice", "k": JSONValue(k), "exponent": .number(exponent), "shift": .number(shift)]
        case .jumpReLU(let k, let bandwidth):
            ["name": "jumprelu", "k": JSONValue(k), "bandwidth": .number(bandwidth)]
        case .gated: ["name": "gated"]
        case .gradientAware(let k, let strength):
            ["name": "gradient-aware", "k": JSONValue(k), "strength": .number(strength)]
        case .matchingPursuit(let k): ["name": "matching-pursuit", "k": JSONValue(k)]
        }
    }

    /// - Throws: `LacunaError.malformed` for anything but what ``json`` gives.
    public init(_ fields: JSONFields) throws {
        func k() throws -> Int { try fields.integer("k") }
        switch try fields.string("name") {
        case "relu": self = .relu
        case "topk": self = .topK(try k())
        case "abstopk": self = .absTopK(try k())
        case "batchtopk": self = .batchTopK(try k())
        case "batchabstopk": self = .batchAbsTopK(try k())
        case "feature-choice":
            let exponent = try fields.optionalNumber("exponent")
            self = .featureChoice(
                try k(),
                profile: try exponent.map { .zipf(exponent: $0, shift: try fields.number("shift")) } ?? .uniform)
        case "jumprelu": self = .jumpReLU(try k(), bandwidth: try fields.number("bandwidth"))
        case "gated": self = .gated
        case "gradient-aware": self = .gradientAware(try k(), strength: try fields.number("strength"))
        case "matching-pursuit": self = .matchingPursuit(try k())
        case let name: throw fields.failure("name", "'\(name)' is no selection rule")
        }
    }
}
