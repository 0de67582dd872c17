import LacunaSparse
import LacunaTensor

/// One text being read or written by a decoder: the store of its positions, and the logits after the last of them.
///
///     let session = try DecodingSession(decoder, context: 512)
///     try session.prefill(prompt)
///     let next = session.logits.argmax
///     try session.decode(next)
///
/// It is a ``TokenEngine`` with one sequence. A session belongs to one thread at a time. After the first token, decoding
/// allocates no array of its own.
public final class DecodingSession {
    /// What runs the steps.
    public let engine: TokenEngine
    private let sequence: Int
    private let output: Buffer<Float>

    /// - Parameter context: Positions to make room for.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there are more than the model has.
    public convenience init(_ decoder: Transformer, context: Int) throws {
        try self.init(TokenEngine(decoder), context: context)
    }

    /// A session on an engine of one's own, with sparse attention or gated inputs for instance.
    public init(_ engine: TokenEngine, context: Int) throws {
        self.engine = engine
        sequence = try engine.addSequence(context: context)
        output = Buffer(repeating: 0, count: engine.decoder.configuration.vocabularySize)
        cache = try engine.store(of: sequence)
    }

    deinit { engine.remove(sequence) }

    /// The network that is run.
    public var decoder: Transformer { engine.decoder }
    /// Keys and values of the text so far: its `count` is the number of positions read.
    public let cache: any KeyValueStore

    /// The logits [vocabularySize] after the last position. Undefined before the first; overwritten by the next call.
    public var logits: UnsafeMutableBufferPointer<Float> { output.elements }

    /// Reads tokens, and computes the logits after the last.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there are none, if they do not fit the context, or if one
    ///   is outside the vocabulary. The session is then as before.
    public func prefill(_ tokens: [Int]) throws {
        var batch = TokenBatch()
        batch.append(tokens, sequence: sequence, at: cache.count)
        try engine.step(batch, into: output.pointer)
    }

    /// Reads one token, and computes the logits after it.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the context is full or the token outside the vocabulary.
    public func decode(_ token: Int) throws { try prefill([token]) }

    /// Reads tokens and returns the logits [tokens.count, vocabularySize] after each: what verifies a draft. Those that
    /// turn out wrong are taken back by ``KeyValueStore/truncate(to:)``.
    ///
    /// - Throws: As ``prefill(_:)``.
    public func verify(_ tokens: [Int]) throws -> Tensor<Float> {
        var batch = TokenBatch()
        batch.append(tokens, sequence: sequence, at: cache.count, logits: .all)
        return try engine.step(batch)
    }

    /// Forgets everything.
    public func reset() { cache.truncate(to: 0) }
}
