import Dispatch
import LacunaIO
import LacunaRetrieve
import LacunaTensor

/// An encoder of texts as it is served: one vector a text.
public struct ServedEmbedder: Sendable {
    /// What computes the vectors.
    public let encoder: DenseEncoder
    /// What clients call it.
    public let name: String
    private let created = ServingClock.unixTime
    private let thread = DispatchQueue(label: "lacuna.embeddings", qos: .userInitiated)

    /// Texts of one request, at most.
    static let mostTexts = 256

    /// An encoder that clients call `name`.
    public init(_ encoder: DenseEncoder, name: String) { (self.encoder, self.name) = (encoder, name) }

    /// The model as `/v1/models` lists it.
    var json: JSONValue {
        [
            "id": .string(name), "object": "model", "created": JSONValue(created), "owned_by": "lacuna",
            "lacuna": [
                "dimensions": JSONValue(encoder.model.configuration.hiddenSize),
                "max_tokens": JSONValue(encoder.input.maximumLength),
            ],
        ]
    }

    /// The vectors of texts, and their tokens. One request is computed at a time.
    func encode(_ texts: [String]) async throws -> (vectors: [[Float]], tokens: Int) {
        try await withCheckedThrowingContinuation { continuation in
            thread.async {
                do {
                    let tensor = try encoder.encode(texts)
                    let width = tensor.shape[1]
                    let vectors = tensor.withPointer { pointer in
                        texts.indices.map { Array(UnsafeBufferPointer(start: pointer + $0 * width, count: width)) }
                    }
                    let tokens = texts.reduce(0) { $0 + encoder.input.tokens($1).count }
                    continuation.resume(returning: (vectors: vectors, tokens: tokens))
                } catch {
                    continuation.resume(throwing: error)
                }
            }
        }
    }
}

extension Service {
    func embeddings(_ fields: RequestFields) throws -> ServiceReply {
        guard let embedder else {
            throw APIError(
                status: 404, message: "No model of embeddings is served here.", type: "invalid_request_error",
                code: "model_not_found", parameter: "model")
        }
        try requireModel(fields, named: embedder.name)
        try fields.requireKnown(.embedding)
        _ = try fields.string("user")
        let format = try fields.string("encoding_format") ?? "float"
        guard ["float", "base64"].contains(format) else {
            throw APIError.invalid("encoding_format", "'encoding_format' is neither float nor base64.")
        }
        guard let input = fields["input"] else { throw fields.missing("input") }
        let values = input.arrayValue ?? [input]
        guard !values.isEmpty, values.count <= ServedEmbedder.mostTexts else {
            throw APIError.invalid(
                "input", "'input' has \(values.count) texts; 1 to \(ServedEmbedder.mostTexts) are taken.")
        }
        let texts = try values.map { value in
            if value.intValue != nil || value.arrayValue != nil {
                throw APIError.unsupported("input", "'input' of tokens is not supported; texts are.")
            }
            guard let text = value.stringValue, !text.isEmpty else {
                throw APIError.invalid("input", "'input' has to be a string or an array of strings that are not empty.")
            }
            // The encoder would cut the end off, and nobody would know.
            let (length, most) = (embedder.encoder.input.length(of: text), embedder.encoder.input.maximumLength)
            guard length <= most else {
                throw APIError.invalid(
                    "input", "'input' has a text of \(length) tokens; \(most) are read at most.",
                    code: "context_length_exceeded")
            }
            return text
        }
        return .deferred {
            do {
                let (vectors, tokens) = try await embedder.encode(texts)
                let data = vectors.enumerated().map { index, vector -> JSONValue in
                    let written: JSONValue =
                        format == "base64"
                        ? .string(Base64.encode(floats: vector)) : .array(vector.map { .number(Double($0)) })
                    return ["object": "embedding", "index": JSONValue(index), "embedding": written]
                }
                return .json([
                    "object": "list", "data": .array(data), "model": .string(embedder.name),
                    "usage": ["prompt_tokens": JSONValue(tokens), "total_tokens": JSONValue(tokens)],
                ])
            } catch {
                return ServiceResponse(APIError(error, parameter: "input"))
            }
        }
    }
}

/// Bytes as text (RFC 4648).
enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// Floats as clients unpack them: four bytes each, the lowest first.
    static func encode(floats vector: [Float]) -> String {
        encode(
            vector.flatMap { value in
                (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * UInt32($0))) }
            })
    }

    static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let part = bytes[start..<Swift.min(start + 3, bytes.count)]
            let word = part.enumerated().reduce(0) { $0 | Int($1.element) << (16 - 8 * $1.offset) }
            for i in 0..<4 {
                text.append(i <= part.count ? alphabet[word >> (18 - 6 * i) & 63] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
