import LacunaModels
import LacunaSparse
import LacunaTensor

/// A transformer of two layers that is built rather than trained, and looks up what followed a word the last time: the circuit by
/// which trained models copy from their context. Every method of leaving out keys can be tried on it, at any length, in
/// milliseconds, with the right answers known.
///
/// A head of the first layer finds the token before (queries and keys are constants that rotation turns by one position); one of the
/// second compares the current word with what stood before every position, and gives the word there. A second head of that layer
/// averages everything, so that after the ``question`` token, which is like no word, the most frequent words come out. Words are
/// random directions, so that keys have noise as a model's have. The first position of a text counts as preceded by itself.
///
/// Catherine Olsson and others, "In-context Learning and Induction Heads", arXiv 2209.11895.
public struct InductionModel: Sendable {
    /// The network: two layers of two heads each, feed-forward parts that add nothing.
    public let decoder: Transformer
    /// Tokens `0..<words` are words.
    public let words: Int
    /// A token that ends a pair of words and is never an answer.
    public var separator: Int { words }
    /// A token that is like no word.
    public var question: Int { words + 1 }

    /// How sharply the first layer finds the position before, and the second one what stood there.
    private static let (localSharpness, matchSharpness) = (Float(40), Float(30))
    /// What averaging everything counts for beside a match.
    private static let averageWeight: Float = 0.2

    /// - Parameters:
    ///   - words: In the vocabulary, at least 1.
    ///   - size: Entries of a head, and of a word's direction. Even.
    ///   - positions: Of the longest text.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for sizes that no model has.
    public init(words: Int = 400, size: Int = 128, positions: Int = 8192, seed: UInt64) throws {
        // The stream: a word, the word before, the answer, a constant, and what the question is instead of a word.
        let width = 3 * size + 2
        var configuration = TransformerConfiguration(
            vocabularySize: words + 2, hiddenSize: width, intermediateSizes: [1, 1], headCount: 2, keyValueHeadCount: 2,
            headSize: size, maximumPositions: positions, normEpsilon: 0)
        configuration.rotatedLayers = [true, false]
        configuration.attentionScale = 1
        try configuration.validate(file: "induction model")
        var generator = SeededGenerator(seed: seed, stream: 21)
        var directions = Tensor<Float>(normal: [words + 1, size], using: &generator)
        directions.withMutablePointer { rows in
            for word in 0...words {
                let row = rows + word * size
                let length = (0..<size).reduce(Float(0)) { $0 + row[$1] * row[$1] }.squareRoot()
                for e in 0..<size { row[e] /= length }
            }
        }
        let (previous, answer, constant) = (size, 2 * size, 3 * size)
        func matrix(_ rows: Int, _ columns: Int, _ fill: (UnsafeMutablePointer<Float>) -> Void) throws
            -> any StoredMatrix
        {
            var weight = Tensor<Float>(zeros: [rows, columns])
            weight.withMutablePointer(fill)
            return try WeightStore.make(weight, layout: .dense, values: .f32)
        }
        func linear(_ rows: Int, _ columns: Int, _ fill: (UnsafeMutablePointer<Float>) -> Void = { _ in }) throws
            -> LinearLayer
        {
            LinearLayer(try matrix(rows, columns, fill))
        }
        let embedding = try matrix(words + 2, width) { rows in
            for word in 0...words {
                for e in 0..<size { rows[word * width + e] = directions[word, e] }
                rows[word * width + constant] = 1
            }
            rows[(words + 1) * width + constant] = 1
            rows[(words + 1) * width + constant + 1] = 1
        }
        let head = try matrix(words + 2, width) { rows in
            for word in 0..<words { for e in 0..<size { rows[word * width + answer + e] = directions[word, e] } }
        }
        func block(_ layer: Int, query: LinearLayer, key: LinearLayer, value: LinearLayer, output: LinearLayer) throws
            -> TransformerBlock
        {
            let ones = Tensor<Float>(repeating: 1, shape: [width])
            return TransformerBlock(
                attentionNorm: ones,
                attention: Attention(
                    query: query, key: key, value: value, output: output,
                    geometry: AttentionGeometry(configuration, layer: layer)),
                feedForwardNorm: ones,
                feedForward: FeedForward(
                    gate: try linear(1, width), up: try linear(1, width), down: try linear(width, 1)), normEpsilon: 0)
        }
        // Norms make the stream √width long: what was 1 in it is 1 / √2 of that in the first layer, 1 / √3 in the second.
        let first = Float(width).squareRoot() / Float(2).squareRoot()
        let second = Float(width).squareRoot() / Float(3).squareRoot()
        let (local, match) = (Self.localSharpness.squareRoot() / first, Self.matchSharpness.squareRoot() / second)
        let frequencies = RotaryEmbedding(configuration.rotary, headSize: size).frequencies
        let blocks = try [
            block(
                0,
                query: linear(2 * size, width) { w in
                    for i in 0..<size / 2 { w[i * width + constant] = local }
                },
                // Turned by one position already, so that it meets the query of the next one.
                key: linear(2 * size, width) { w in
                    for i in 0..<size / 2 {
                        w[i * width + constant] = local * Float(cosine(frequencies[i]))
                        w[(size / 2 + i) * width + constant] = local * Float(sine(frequencies[i]))
                    }
                },
                value: linear(2 * size, width) { w in for e in 0..<size { w[e * width + e] = 1 / first } },
                output: linear(width, 2 * size) { w in for e in 0..<size { w[(previous + e) * 2 * size + e] = 1 } }),
            block(
                1,
                query: linear(2 * size, width) { w in for e in 0..<size { w[e * width + e] = match } },
                key: linear(2 * size, width) { w in for e in 0..<size { w[e * width + previous + e] = match } },
                // The word there, but for what it has of a separator.
                value: linear(2 * size, width) { w in
                    for e in 0..<size {
                        for f in 0..<size {
                            let kept = (e == f ? 1 : 0) - directions[words, e] * directions[words, f]
                            w[e * width + f] = kept / second
                            w[(size + e) * width + f] = kept / second
                        }
                    }
                },
                output: linear(width, 2 * size) { w in
                    for e in 0..<size {
                        w[(answer + e) * 2 * size + e] = 1
                        w[(answer + e) * 2 * size + size + e] = Self.averageWeight
                    }
                }),
        ]
        self.words = words
        decoder = try Transformer(
            configuration: configuration, embedding: embedding, blocks: blocks,
            finalNorm: Normalization(weight: Tensor(repeating: 1, shape: [width]), bias: nil, epsilon: 0),
            untiedHead: head, file: "induction model")
    }
}
