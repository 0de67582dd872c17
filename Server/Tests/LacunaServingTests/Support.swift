import LacunaIO
import LacunaModels
import LacunaTensor
import ServingFixtures
import Testing

@testable import LacunaServing

/// What a reply comes to.
struct Outcome {
    var status: Int
    var text: String
    /// Events of a stream.
    var events: [JSONValue] = []
    var isDone = false

    var json: JSONValue { (try? JSONValue(parsing: text)) ?? .null }
    var errorParameter: String? { json["error"]?["param"]?.stringValue }
    var errorCode: String? { json["error"]?["code"]?.stringValue }
}

extension WebService {
    func outcome(_ request: ServiceRequest) async throws -> Outcome {
        switch reply(to: request) {
        case .response(let response): return Outcome(status: response.status, text: response.body)
        case .deferred(let work):
            let response = await work()
            return Outcome(status: response.status, text: response.body)
        case .stream(let work):
            let pieces = Locked<[String]>([])
            try await work { piece in pieces.withLock { $0.append(piece) } }
            let text = pieces.withLock { $0.joined() }
            var outcome = Outcome(status: 200, text: text)
            for event in text.split(separator: "\n\n") {
                let data = String(event.dropFirst("data: ".count))
                if data == "[DONE]" {
                    outcome.isDone = true
                } else {
                    outcome.events.append(try JSONValue(parsing: data))
                }
            }
            return outcome
        }
    }

    func post(_ path: String, _ body: JSONValue, key: String? = nil) async throws -> Outcome {
        try await outcome(
            ServiceRequest(
                "POST", path, authorization: key.map { "Bearer \($0)" }, body: Array(body.serialized().utf8)))
    }

    func get(_ path: String, key: String? = nil) async throws -> Outcome {
        try await outcome(ServiceRequest("GET", path, authorization: key.map { "Bearer \($0)" }))
    }
}

extension JSONValue {
    subscript(index: Int) -> JSONValue { (arrayValue?.indices.contains(index) ?? false) ? arrayValue![index] : .null }
}

extension Scheduler {
    /// What becomes of one request.
    struct Result: Sendable {
        var tokens: [[Int]]
        var scores: [TokenScore] = []
        var promptScores: [TokenScore] = []
        var reasons: [FinishReason?]
        var usage: Usage?
        var error: APIError?
    }

    /// Runs requests that are entered together to their end.
    func results(of requests: [GenerationRequest], within seconds: Double = .infinity) async throws -> [Result] {
        let (stream, output) = AsyncStream<(Int, GenerationEvent)>.makeStream()
        _ = try submit(requests, within: seconds) { index, event in
            output.yield((index, event))
            return true
        }
        var results = requests.map {
            Result(
                tokens: .init(repeating: [], count: $0.choices), reasons: .init(repeating: nil, count: $0.choices))
        }
        var running = requests.count
        for await (index, event) in stream {
            switch event {
            case .promptScores(let more): results[index].promptScores += more
            case .token(let choice, let token, let score):
                results[index].tokens[choice].append(token)
                if let score { results[index].scores.append(score) }
            case .finished(let choice, let reason): results[index].reasons[choice] = reason
            case .done(let usage):
                results[index].usage = usage
                running -= 1
            case .failed(let error):
                results[index].error = error
                running -= 1
            }
            if running == 0 { break }
        }
        return results
    }
}

/// Greedy text by whole forward passes.
func reference(_ decoder: Transformer, _ prompt: [Int], count: Int, ends: Set<Int> = []) throws -> [Int] {
    var tokens = prompt
    for _ in 0..<count {
        let logits = try decoder.logits(tokens)
        let vocabulary = decoder.configuration.vocabularySize
        let last = logits.withPointer {
            Array(UnsafeBufferPointer(start: $0 + (tokens.count - 1) * vocabulary, count: vocabulary))
        }
        let next = last.indices.max { last[$0] < last[$1] }!
        if ends.contains(next) { break }
        tokens.append(next)
    }
    return Array(tokens[prompt.count...])
}

/// Log-probabilities of each token after the first by whole forward passes.
func referenceScores(_ decoder: Transformer, _ tokens: [Int]) throws -> [[Double]] {
    let logits = try decoder.logits(tokens)
    let vocabulary = decoder.configuration.vocabularySize
    return (0..<tokens.count).map { row in
        let values = logits.withPointer { pointer in (0..<vocabulary).map { Double(pointer[row * vocabulary + $0]) } }
        let largest = values.max()!
        let sum = values.reduce(0) { $0 + exponential($1 - largest) }
        return values.map { $0 - largest - naturalLogarithm(sum) }
    }
}
