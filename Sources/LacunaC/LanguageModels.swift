import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaPrune
import LacunaSparse
import LacunaTensor

/// A language model that a caller holds.
final class LanguageModelObject: @unchecked Sendable {
    let model: LanguageModel

    init(_ model: LanguageModel) { self.model = model }

    static func get(_ handle: OpaquePointer?) throws -> LanguageModel {
        try Objects.get(handle, LanguageModelObject.self, "model").model
    }
}

/// See lacuna.h.
@_cdecl("lacuna_language_model_load")
public func lacunaLanguageModelLoad(
    _ path: UnsafePointer<CChar>?, _ weights: UnsafePointer<CChar>?,
    _ progress: ProgressCallback?,
    _ context: UnsafeMutableRawPointer?, _ model: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        var precision = WeightPrecision.stored
        if weights != nil {
            let name = try Arguments.text(weights, "weights")
            guard let known = WeightPrecision(rawValue: name) else {
                let all = WeightPrecision.allCases.map(\.rawValue).joined(separator: ", ")
                throw refused("weights", "'\(name)' is none of \(all)")
            }
            precision = known
        }
        try give(
            LanguageModelObject(
                LanguageModel.load(
                    Arguments.text(path, "path"), weights: precision, progress: CallbackProgress(progress, context))),
            model, "model")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_language_model_number")
public func lacunaLanguageModelNumber(
    _ model: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ number: UnsafeMutablePointer<Double>?
) -> Int32 {
    guarded {
        let model = try LanguageModelObject.get(model)
        let name = try Arguments.text(name, "name")
        guard let number else { throw refused("number", "is NULL") }
        switch name {
        case "vocabulary": number.pointee = Double(model.decoder.configuration.vocabularySize)
        case "positions": number.pointee = Double(model.decoder.configuration.maximumPositions)
        case "parameters": number.pointee = Double(model.decoder.parameterCount)
        case "disk_bytes": number.pointee = Double(model.diskBytes)
        case "bytes_per_token": number.pointee = Double(model.decoder.bytesTouchedPerToken(position: 0))
        case "sparsity": number.pointee = model.decoder.linearSparsity
        default: throw refused("name", "'\(name)' is no number of a language model")
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_language_model_encode")
public func lacunaLanguageModelEncode(
    _ model: OpaquePointer?, _ text: UnsafePointer<CChar>?, _ specials: Int32,
    _ tokens: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let found = try LanguageModelObject.get(model).tokenizer.encode(
            Arguments.text(text, "text"), recognizesSpecials: specials != 0)
        try give(NumberArray(found), tokens, "tokens")
    }
}

/// Tokens of the model's vocabulary.
private func known(_ tokens: UnsafePointer<Int64>?, _ count: Int64, _ model: LanguageModel) throws -> [Int] {
    let tokens = try Arguments.tokens(tokens, count)
    let size = model.decoder.configuration.vocabularySize
    if let bad = tokens.first(where: { !(0..<size).contains($0) }) {
        throw refused("tokens", "\(bad) is not in a vocabulary of \(size)")
    }
    return tokens
}

/// See lacuna.h.
@_cdecl("lacuna_language_model_decode")
public func lacunaLanguageModelDecode(
    _ model: OpaquePointer?, _ tokens: UnsafePointer<Int64>?, _ count: Int64,
    _ text: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    guarded {
        let model = try LanguageModelObject.get(model)
        try Arguments.give(model.tokenizer.decode(known(tokens, count, model)), text)
    }
}

/// See lacuna.h.
@_cdecl("lacuna_language_model_generate")
public func lacunaLanguageModelGenerate(
    _ model: OpaquePointer?, _ prompt: UnsafePointer<CChar>?, _ chat: Int32, _ maximumTokens: Int64,
    _ temperature: Double, _ topK: Int64, _ topP: Double, _ seed: UInt64,
    _ receive: ReceiveCallback?,
    _ context: UnsafeMutableRawPointer?, _ text: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    guarded {
        let model = try LanguageModelObject.get(model)
        let prompt = try Arguments.text(prompt, "prompt")
        let plain = Generator.Options(
            maximumTokens: try Arguments.count(maximumTokens, "maximum_tokens"),
            sampling: .init(
                temperature: temperature, topK: topK == 0 ? nil : Int(topK), topP: topP, seed: seed))
        let (tokens, options) =
            chat != 0
            ? try model.turn([.init(.user, prompt)], plain) : (model.tokenizer.encode(prompt), plain)
        var decoder = StreamingDecoder(model.tokenizer)
        var written = ""
        func hand(_ piece: String) -> Bool {
            written += piece
            guard let receive else { return true }
            return Arguments.endingAtItsEnd(piece).withCString { receive(context, $0) } == 0
        }
        _ = try model.generator.generate(tokens, options) { hand(decoder.append($0)) }
        let rest = decoder.finish()
        if !rest.isEmpty { _ = hand(rest) }
        if text != nil { try Arguments.give(written, text) }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_language_model_logits")
public func lacunaLanguageModelLogits(
    _ model: OpaquePointer?, _ tokens: UnsafePointer<Int64>?, _ count: Int64, _ last: Int32,
    _ logits: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let model = try LanguageModelObject.get(model)
        let tokens = try known(tokens, count, model)
        guard !tokens.isEmpty else { throw refused("tokens", "are none") }
        if last != 0 {
            let session = try model.generator.session(context: tokens.count)
            try session.prefill(tokens)
            try give(NumberArray(session.logits), logits, "logits")
        } else {
            try MachineMemory.require(
                shape: [tokens.count, model.decoder.configuration.vocabularySize, 2], of: Float.self, for: "logits")
            try give(NumberArray(model.logits(tokens).scalars), logits, "logits")
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_language_model_perplexity")
public func lacunaLanguageModelPerplexity(
    _ model: OpaquePointer?, _ text: UnsafePointer<CChar>?, _ window: Int64, _ stride: Int64,
    _ progress: ProgressCallback?,
    _ context: UnsafeMutableRawPointer?, _ perplexity: UnsafeMutablePointer<Double>?,
    _ tokens: UnsafeMutablePointer<Int64>?
) -> Int32 {
    guarded {
        let model = try LanguageModelObject.get(model)
        guard let perplexity else { throw refused("perplexity", "is NULL") }
        let found = try model.perplexity(
            of: Arguments.text(text, "text"), window: window == 0 ? nil : Int(window),
            stride: stride == 0 ? nil : Int(stride), progress: CallbackProgress(progress, context))
        perplexity.pointee = found.value
        tokens?.pointee = Int64(found.tokens)
    }
}

/// See lacuna.h.
@_cdecl("lacuna_language_model_prune")
public func lacunaLanguageModelPrune(
    _ model: OpaquePointer?, _ method: UnsafePointer<CChar>?, _ pattern: UnsafePointer<CChar>?, _ sparsity: Double,
    _ values: UnsafePointer<CChar>?, _ calibration: UnsafePointer<CChar>?, _ sequences: Int64,
    _ sequenceLength: Int64, _ seed: UInt64,
    _ progress: ProgressCallback?,
    _ context: UnsafeMutableRawPointer?, _ pruned: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        var model = try LanguageModelObject.get(model)
        var plan = PruningPlan(sparsity: sparsity.isNaN ? nil : sparsity, seed: seed)
        if method != nil { plan.method = try Arguments.text(method, "method") }
        if pattern != nil { plan.pattern = try Arguments.text(pattern, "pattern") }
        let kind = try PruningMethods.named(plan.method, seed: seed)
        let fixed = (kind as? any MatrixCompression)?.fixedValues
        if let fixed { plan.values = fixed }
        if values != nil {
            let name = try Arguments.text(values, "values")
            guard let known = ValueType(rawValue: name) else {
                let all = ValueType.allCases.map(\.rawValue).joined(separator: ", ")
                throw refused("values", "'\(name)' is none of \(all)")
            }
            if let fixed, known != fixed { throw refused("values", "\(plan.method) stores \(fixed), not \(known)") }
            plan.values = known
        }
        var set: CalibrationSet?
        if calibration != nil {
            let text = try Arguments.text(calibration, "calibration")
            let count = try Arguments.count(sequences, "sequences")
            let length = try Arguments.count(sequenceLength, "sequence_length")
            set = try CalibrationSet(
                text: model.tokenizer.encode(text, recognizesSpecials: false, addsBeginning: false),
                sequences: count == 0 ? CalibrationSet.defaultSequences : count,
                length: length == 0 ? CalibrationSet.defaultLength : length, seed: seed)
        } else if kind.requirement != .none {
            throw refused("calibration", "is NULL; \(plan.method) looks at activations and needs a text")
        }
        let progress = CallbackProgress(progress, context)
        (model.decoder, _) = try plan.pruner().prune(model.decoder, calibration: set, progress: progress)
        try give(LanguageModelObject(model), pruned, "pruned")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_language_model_save")
public func lacunaLanguageModelSave(
    _ model: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ overwrite: Int32,
    _ progress: ProgressCallback?,
    _ context: UnsafeMutableRawPointer?
) -> Int32 {
    guarded {
        let model = try LanguageModelObject.get(model)
        try model.decoder.save(
            to: Arguments.text(path, "path"), tokenizer: model.tokenizer, overwrite: overwrite != 0,
            progress: CallbackProgress(progress, context))
    }
}
