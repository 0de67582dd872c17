import ArgumentParser
import LacunaDictionary
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

/// What is done with the features of a dictionary while a model writes.
struct FeatureOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A dictionary of the model (lacuna explain train): after the text come the features that wrote each token of it.",
            valueName: "directory"), completion: .directory)
    var features: String?

    @Option(
        help: ArgumentHelp(
            "With --features: hold a feature at a strength while the model writes; may be given several times.",
            valueName: "feature=strength"))
    var steer: [String] = []

    @Option(
        help: ArgumentHelp(
            "With --features: where the dictionary belongs, such as 12.residual, if it does not say.", valueName: "site"
        ))
    var featureSite: String?

    /// Mistakes that can be said before anything is read.
    ///
    /// - Parameters:
    ///   - hasPrompt: Whether there is a prompt.
    ///   - corrects: Whether drafts are corrected.
    func validate(hasPrompt: Bool, corrects: Bool) throws {
        if features == nil && (!steer.isEmpty || featureSite != nil) {
            throw ValidationError("--steer and --feature-site are about a dictionary: give --features")
        }
        if features != nil && corrects { throw ValidationError("--correct has no --features") }
        if features != nil && steer.isEmpty && !hasPrompt {
            throw ValidationError(
                "the features that wrote a text are shown after a --prompt; a conversation can be steered")
        }
        _ = try strengths
        if let featureSite, ActivationSite(featureSite) == nil {
            throw ValidationError(
                "--feature-site: '\(featureSite)' is not LAYER.residual, LAYER.mlp or LAYER.attention")
        }
    }

    /// What features are to be held at.
    var strengths: [Int: Float] {
        get throws {
            var result: [Int: Float] = [:]
            for text in steer {
                let pieces = text.split(separator: "=", omittingEmptySubsequences: false)
                guard pieces.count == 2, let feature = Int(pieces[0]), feature >= 0, let strength = Float(pieces[1]),
                    strength.isFinite
                else { throw ValidationError("--steer: '\(text)' is not FEATURE=STRENGTH, such as 300=40") }
                if result.updateValue(strength, forKey: feature) != nil {
                    throw ValidationError("--steer: feature \(feature) is given twice")
                }
            }
            return result
        }
    }

    /// The dictionary; nil if none is named.
    func file() throws -> DictionaryFile? {
        let site = featureSite.flatMap { ActivationSite($0) }
        return try features.map {
            try DictionaryFile($0, layer: site?.layer, part: site?.part, option: "--feature-site")
        }
    }
}

extension RunCommand {
    /// Has the model write with features held, if some are to be.
    func steer(_ model: inout LanguageModel, by file: DictionaryFile?) throws {
        let strengths = try dictionary.strengths
        guard let file, !strengths.isEmpty else { return }
        model.watch = try FeatureSteering(file.dictionary, of: model.decoder, at: file.site, strengths: strengths).watch
    }

    /// The features that wrote each token of a text; nil if nobody asks.
    func written(
        _ model: LanguageModel, prompt: [Int], text: [Int], by file: DictionaryFile?, progress: any ProgressReporter
    ) throws -> [FeatureAttribution.Written]? {
        guard let file, dictionary.steer.isEmpty else { return nil }
        let attribution = try FeatureAttribution(file.dictionary, of: model.decoder, at: file.site)
        return try attribution.explain(prompt + text, from: prompt.count, progress: progress)
    }

    /// A line for each token: feature, what it did, and at which token.
    func table(_ written: [FeatureAttribution.Written], tokens: [Int], _ model: LanguageModel) -> String {
        func name(_ token: Int) -> String {
            let text = model.tokenizer.decode([token])
            return Printable.name(text.isEmpty ? "·" : text)
        }
        func signed(_ value: Double) -> String { (value >= 0 ? "+" : "") + Quantities.fixed(value, 2) }
        var table = Table([.left("token"), .right("logit"), .right("explained"), .left("features: effect at token")])
        for place in written {
            let effects = place.effects.map { effect in
                "\(effect.feature): \(signed(effect.effect)) at \(name(tokens[effect.position]))"
            }
            table.append([
                name(place.token), Quantities.fixed(place.logit, 2), signed(place.explained),
                effects.joined(separator: "  "),
            ])
        }
        return table.text(console: .output)
    }

    func json(_ written: [FeatureAttribution.Written]) -> JSONValue {
        .array(
            written.map { place in
                [
                    "position": JSONValue(place.position), "token": JSONValue(place.token),
                    "logit": .number(place.logit),
                    "explained": .number(place.explained), "missed": .number(place.missed),
                    "features": .array(
                        place.effects.map { effect in
                            [
                                "feature": JSONValue(effect.feature), "position": JSONValue(effect.position),
                                "strength": .number(Double(effect.strength)), "effect": .number(effect.effect),
                            ]
                        }),
                ]
            })
    }
}
