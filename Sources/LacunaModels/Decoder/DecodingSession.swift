import LacunaSparse
import LacunaTensor

/// One text being read or written by a decoder: the cache of its positions, and the logits after the last of them.
///
///     let session = try DecodingSession(decoder, context: 512)
///     try session.prefill(prompt)
///     let next = session.logits.argmax
///     try session.decode(next)
///
/// A session belongs to one thread at a time. After the first token, decoding allocates nothing of its own.
public final class DecodingSession {
    public let decoder: Decoder
    public let cache: KeyValueCache
    private let workspace: DecodingWorkspace
    /// Prompt tokens that go through the blocks at once: enough for the matrix kernels, few enough for small buffers.
    private static let chunk = 512

    /// - Parameter context: Positions to make room for.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there are more than the model has.
    public init(_ decoder: Decoder, context: Int) throws {
        self.decoder = decoder
        cache = try KeyValueCache(decoder.configuration, capacity: context)
        workspace = DecodingWorkspace(decoder, context: context)
    }

    /// The logits [vocabularySize] after the last position. Undefined before the first; overwritten by the next call.
    public var logits: UnsafeMutableBufferPointer<Float> { workspace.logits.elements }

    /// Reads tokens with the matrix kernels, and computes the logits after the last.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there are none, if they do not fit the context, or if one
    ///   is outside the vocabulary. The session is then as before.
    public func prefill(_ tokens: [Int]) throws {
        guard !tokens.isEmpty else { throw LacunaError.invalidArgument("tokens", reason: "there are none") }
        try cache.requireRoom(for: tokens.count)
        if tokens.count == 1 { return try decode(tokens[0]) }
        var embedded = try decoder.embed(tokens)
        let width = decoder.configuration.hiddenSize
        let start = cache.count
        do {
            try embedded.withMutablePointer { hidden in
                for first in stride(from: 0, to: tokens.count, by: Self.chunk) {
                    let count = min(Self.chunk, tokens.count - first)
                    var run = BlockRun(decoder.rotary, sequenceLength: count, firstPosition: cache.count)
                    for (layer, block) in decoder.blocks.enumerated() {
                        run.cache = (cache, layer)
                        try block.forward(hidden + first * width, count: count, run: run, observe: nil)
                    }
                    cache.advance(by: count)
                }
                decoder.logits(hidden + (tokens.count - 1) * width, count: 1, into: workspace.logits.pointer)
            }
        } catch {
            cache.truncate(to: start)
            throw error
        }
    }

    /// Reads one token with the vector kernels, and computes the logits after it.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the context is full or the token outside the vocabulary.
    public func decode(_ token: Int) throws {
        try cache.requireRoom(for: 1)
        guard token >= 0 && token < decoder.configuration.vocabularySize else {
            throw LacunaError.invalidArgument(
                "tokens", reason: "\(token) is outside the vocabulary of \(decoder.configuration.vocabularySize)")
        }
        decoder.embedding.decode(rows: token..<token + 1, into: workspace.hidden.pointer)
        decoder.rotary.angles(position: cache.count, into: workspace.angles.pointer)
        for layer in decoder.blocks.indices {
            decoder.blocks[layer].decode(workspace, rotary: decoder.rotary, cache: cache, layer: layer)
        }
        cache.advance(by: 1)
        VectorMath.rmsNorm(
            workspace.hidden.pointer, weight: decoder.finalNorm, epsilon: decoder.configuration.normEpsilon,
            into: workspace.normalized.pointer)
        Product.gemv([(decoder.head, workspace.logits.pointer)], x: workspace.normalized.pointer)
    }

    /// Forgets everything.
    public func reset() { cache.truncate() }
}

/// The vectors that decoding one token writes, allocated once.
final class DecodingWorkspace {
    let hidden, normalized, projected: Buffer<Float>
    let query, key, value, mixed: Buffer<Float>
    let gate, up: Buffer<Float>
    /// Cosines and sines of the position.
    let angles: Buffer<Float>
    /// [keyValueHeadCount, context]
    let scores: Buffer<Float>
    let logits: Buffer<Float>

    init(_ decoder: Decoder, context: Int) {
        let configuration = decoder.configuration
        func vector(_ count: Int) -> Buffer<Float> { Buffer(repeating: 0, count: (count + 63) / 64 * 64) }
        hidden = vector(configuration.hiddenSize)
        normalized = vector(configuration.hiddenSize)
        projected = vector(configuration.hiddenSize)
        query = vector(configuration.queryWidth)
        key = vector(configuration.keyValueWidth)
        value = vector(configuration.keyValueWidth)
        mixed = vector(configuration.queryWidth)
        let widest = decoder.blocks.map(\.feedForward.intermediateSize).max() ?? 0
        gate = vector(widest)
        up = vector(widest)
        angles = vector(configuration.headSize)
        scores = Buffer(uninitialized: configuration.keyValueHeadCount * context)
        logits = Buffer(repeating: 0, count: configuration.vocabularySize)
    }
}
