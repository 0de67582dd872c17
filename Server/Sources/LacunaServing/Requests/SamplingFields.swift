import LacunaIO
import LacunaInfer

/// What completions and chats have in common: how tokens are chosen, when to stop, and how the answer is sent.
public struct SamplingFields: Sendable {
    /// How tokens are chosen. The seed is the request's, or a random one.
    public var sampling: Sampler.Options
    /// What is changed about logits first.
    public var edits: LogitEdits
    /// Texts that end an answer, which they are no part of.
    public var stops: [String]
    /// Answers to a prompt.
    public var choices: Int
    /// Whether a token that would end the text ends it.
    public var ignoresEnd: Bool
    /// Whether the answer is sent piece by piece.
    public var streams: Bool
    /// Whether a stream ends with a chunk that has the usage.
    public var includesUsage: Bool

    /// Texts that may end an answer, at most.
    static let mostStops = 16
    /// Entries of a `logit_bias`, at most.
    static let mostBiases = 1024

    /// - Parameters:
    ///   - recommended: What the model's authors say, for what the request does not.
    ///   - vocabulary: Tokens of the model.
    ///   - mostChoices: Answers to one prompt, at most.
    init(_ fields: RequestFields, recommended: Sampler.Options?, vocabulary: Int, mostChoices: Int) throws {
        var sampling = recommended ?? Sampler.Options(temperature: 1)
        if let temperature = try fields.number("temperature", in: 0...2) { sampling.temperature = temperature }
        if let topP = try fields.number("top_p", in: 0...1) {
            if topP == 0 { throw APIError.invalid("top_p", "'top_p' has to be above 0 and at most 1.") }
            sampling.topP = topP
        }
        if let topK = try fields.integer("top_k", in: -1...Int.max) { sampling.topK = topK < 1 ? nil : topK }
        let seed = try fields.integer("seed", in: Int.min...Int.max)
        sampling.seed = seed.map { UInt64(bitPattern: Int64($0)) } ?? UInt64.random(in: 0 ... .max)
        self.sampling = sampling

        edits = LogitEdits(
            bias: try Self.bias(fields, vocabulary: vocabulary),
            frequencyPenalty: Float(try fields.number("frequency_penalty", in: -2...2) ?? 0),
            presencePenalty: Float(try fields.number("presence_penalty", in: -2...2) ?? 0))
        stops = try Self.stops(fields)
        choices = try fields.integer("n", in: 1...mostChoices) ?? 1
        ignoresEnd = try fields.bool("ignore_eos") ?? false
        streams = try fields.bool("stream") ?? false
        // Who asks changes nothing about an answer.
        _ = try fields.string("user")
        includesUsage = false
        if let options = try fields.fields("stream_options") {
            guard streams else {
                throw APIError.invalid("stream_options", "'stream_options' is for requests with 'stream': true.")
            }
            try options.requireKnown(.streamOptions)
            includesUsage = try options.bool("include_usage") ?? false
            if try options.bool("include_obfuscation") == true {
                throw APIError.unsupported("stream_options.include_obfuscation")
            }
        }
    }

    private static func stops(_ fields: RequestFields) throws -> [String] {
        guard let value = fields["stop"] else { return [] }
        let values = value.arrayValue ?? [value]
        let stops = try values.map { value in
            guard let text = value.stringValue else {
                throw APIError.invalid(
                    "stop", "'stop' has to be a string or an array of strings.", code: "invalid_type")
            }
            if text.isEmpty { throw APIError.invalid("stop", "'stop' has an empty string.") }
            return text
        }
        if stops.count > mostStops {
            throw APIError.invalid("stop", "'stop' has \(stops.count) strings; at most \(mostStops) are taken.")
        }
        return stops
    }

    private static func bias(_ fields: RequestFields, vocabulary: Int) throws -> [Int: Float] {
        guard let object = try fields.fields("logit_bias")?.object else { return [:] }
        if object.count > mostBiases {
            throw APIError.invalid("logit_bias", "'logit_bias' has more than \(mostBiases) tokens.")
        }
        var result: [Int: Float] = [:]
        for member in object {
            // In one spelling, so that no token has two biases.
            guard let token = Int(member.key), String(token) == member.key, (0..<vocabulary).contains(token) else {
                throw APIError.invalid(
                    "logit_bias", "'\(member.key)' in 'logit_bias' is no token of the model's 0 to \(vocabulary - 1).")
            }
            guard let value = member.value.doubleValue, (-100...100).contains(value) else {
                throw APIError.invalid("logit_bias", "The values of 'logit_bias' have to be numbers from -100 to 100.")
            }
            result[token] = Float(value)
        }
        return result
    }
}
