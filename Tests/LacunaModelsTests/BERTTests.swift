import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

/// A small random BERT against what transformers computes from it (`Scripts/fixtures_encoder.py`).
struct BERTTests {
    private let path = Fixture.directory + "/bert"

    private func expected() throws -> (file: SafetensorsFile, tokens: [[Int]], segments: [[Int]], lengths: [Int]) {
        let file = try SafetensorsFile(path + "/expected.safetensors")
        func rows(_ name: String) throws -> [[Int]] {
            let all = try file.integers(name)
            return [Array(all[..<20]), Array(all[20...])]
        }
        return (file, try rows("tokens"), try rows("segments"), try file.integers("lengths"))
    }

    /// Rows of texts that are there, without padding.
    private func unpadded(_ x: Tensor<Float>, _ lengths: [Int]) -> Tensor<Float> {
        let width = x.shape[2]
        let kept = lengths.enumerated().flatMap { text, length in (0..<length).map { text * 20 + $0 } }
        return x.reshaped([40, width]).selectingRows(kept)
    }

    @Test func runsAsTransformersDoes() throws {
        let model = try BERT.load(path)
        let (file, tokens, segments, lengths) = try expected()
        let texts = zip(tokens, lengths).map { Array($0[..<$1]) }
        let hidden = try model.hiddenStates(texts, segments: zip(segments, lengths).map { Array($0[..<$1]) })
        #expect(relativeError(hidden, unpadded(try file.float("hidden"), lengths)) < 1e-5)
        #expect(relativeError(try model.maskedLogits(hidden), unpadded(try file.float("logits"), lengths)) < 1e-5)
        // Texts do not see each other.
        let alone = try model.hiddenStates([texts[1]], segments: [Array(segments[1][..<13])])
        #expect(relativeError(alone, hidden.rows(20..<33)) < 1e-5)
        // Without segments all tokens are of the first.
        let first = try model.hiddenStates([texts[1]])
        #expect(
            relativeError(first, try model.hiddenStates([texts[1]], segments: [Array(repeating: 0, count: 13)])) == 0)
        #expect(relativeError(first, alone) > 1e-3)
    }

    @Test func gradientsEqualPyTorch() throws {
        let model = try TrainableBERT(BERT.load(path))
        let (file, tokens, segments, lengths) = try expected()
        let visible = lengths.flatMap { length in (0..<20).map { UInt8($0 < length ? 1 : 0) } }
        let labels = try file.integers("labels").map { Int32($0 < 0 ? -1 : $0) }
        let tape = Tape<Float>()
        let hidden = model(
            tokens.joined().map { Int32($0) }, batch: 2, visible: visible,
            segments: segments.joined().map { Int32($0) }, on: tape)
        let loss = try model.maskedLoss(hidden, labels: labels, rows: 16)
        #expect(abs(loss.item - (try file.float("loss")[0])) < 1e-5 * loss.item)
        tape.backward(from: loss)
        let slopes = try SafetensorsFile(path + "/gradients.safetensors")
        #expect(Set(model.namedParameters.map(\.name)) == Set(slopes.names))
        for (name, parameter) in model.namedParameters {
            let slope = try slopes.float(name, shape: parameter.shape)
            let gradient = try #require(parameter.gradient, "\(name)")
            // A bias of keys moves all scores of a query alike: its gradient is 0 but for rounding.
            let scale = max(slope.scalars.map(abs).max()!, 1e-3)
            let error = zip(gradient.scalars, slope.scalars).map { abs($0 - $1) }.max()! / scale
            #expect(error < 1e-3, "\(name): \(error)")
        }
    }

    @Test func whatIsLearnedRuns() throws {
        let model = try TrainableBERT(BERT.load(path), weight: TrainableTransformer.masked)
        let (_, tokens, _, _) = try expected()
        let tape = Tape<Float>()
        let hidden = tape.evaluating { model(tokens[0].map { Int32($0) }, batch: 1, on: tape) }
        let logits = try tape.evaluating { try model.maskedLogits(hidden) }
        let stored = try model.stored()
        let run = try stored.hiddenStates([tokens[0]])
        #expect(relativeError(run, hidden.value) < 1e-5)
        #expect(relativeError(try stored.maskedLogits(run), logits.value) < 1e-5)
    }

    @Test func sentenceVectors() throws {
        let model = try BERT.load(path)
        let texts = [[3, 1, 4], [1, 5, 9, 2, 6]]
        let vectors = try model.sentenceVectors(texts)
        let hidden = try model.hiddenStates(texts)
        let means = try model.sentenceVectors(texts, isNormalized: false)
        for j in 0..<32 {
            let mean = (3..<8).reduce(Float(0)) { $0 + hidden[$1, j] } / 5
            #expect(abs(means[1, j] - mean) < 1e-5)
        }
        for i in 0..<2 {
            let length = (0..<32).reduce(Float(0)) { $0 + vectors[i, $1] * vectors[i, $1] }
            #expect(abs(length - 1) < 1e-5)
        }
    }

    @Test func badInputsAreRefused() throws {
        let model = try BERT.load(path)
        for texts in [[[]], [[1], []], [[96]], [[-1]], [Array(repeating: 1, count: 33)]] as [[[Int]]] {
            #expect(throws: LacunaError.self, "\(texts)") { try model.hiddenStates(texts) }
        }
        #expect(throws: LacunaError.self) { try model.hiddenStates([[1, 2]], segments: [[0]]) }
        #expect(throws: LacunaError.self) { try model.hiddenStates([[1, 2]], segments: [[0, 2]]) }
        #expect(try model.hiddenStates([]).shape == [0, 32])
        let fields = try JSONFields(contentsOf: path + "/config.json")
        let changes: [(String, JSONValue)] = [
            ("model_type", "roberta"), ("position_embedding_type", "relative_key"), ("hidden_act", "mish"),
            ("num_attention_heads", 5), ("num_hidden_layers", 0), ("vocab_size", JSONValue(Int.max)),
            ("is_decoder", true), ("layer_norm_eps", -1), ("embedding_size", 8),
        ]
        for (key, value) in changes {
            var object = fields.object
            object[key] = value
            #expect(throws: LacunaError.self, "\(key)") {
                try BERTConfiguration(JSONFields(.object(object), file: "config.json"))
            }
        }
    }
}
