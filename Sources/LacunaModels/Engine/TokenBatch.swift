import LacunaTensor

/// Tokens that go through a model in one step: a prompt, one token each of many sequences, a draft to be verified, or all
/// of these together.
public struct TokenBatch: Sendable {
    /// One token of a sequence.
    public struct Row: Sendable, Hashable {
        /// Its number in the vocabulary.
        public var token: Int
        /// The sequence it continues, as ``TokenEngine`` numbers them.
        public var sequence: Int
        /// Its place in the sequence, from 0. The rows of a sequence continue it without a gap.
        public var position: Int
        /// Whether the logits after this token are needed.
        public var wantsLogits: Bool

        /// A token at a place of a sequence.
        public init(token: Int, sequence: Int, position: Int, wantsLogits: Bool) {
            (self.token, self.sequence, self.position) = (token, sequence, position)
            self.wantsLogits = wantsLogits
        }
    }

    /// More rows of a sequence in one step than this are a prompt to selectors and stores that treat prompts apart; fewer are a
    /// token, or a draft to be verified.
    public static let draftRows = 16

    /// Rows of one sequence stand one after the other, by ascending position.
    public var rows: [Row] = []

    /// Rows in their order; none by default.
    public init(_ rows: [Row] = []) { self.rows = rows }

    /// Which of some tokens' logits are wanted.
    public enum Wanted: Sendable {
        /// None: more of the text follows.
        case none
        /// Those after the last of the tokens.
        case last
        /// Those after each: of a draft to be verified, for instance.
        case all
    }

    /// Adds tokens of a sequence whose next position is `position`.
    public mutating func append(_ tokens: some Collection<Int>, sequence: Int, at position: Int, logits: Wanted = .last)
    {
        for (i, token) in tokens.enumerated() {
            let wants = logits == .all || (logits == .last && i + 1 == tokens.count)
            rows.append(Row(token: token, sequence: sequence, position: position + i, wantsLogits: wants))
        }
    }
}

/// Runs steps of a model over any number of sequences.
///
///     let engine = TokenEngine(model)
///     let text = try engine.addSequence(context: 512)
///     var batch = TokenBatch()
///     batch.append(prompt, sequence: text, at: 0)
///     let logits = try engine.step(batch)          // [1, vocabulary]
///
/// There is one step for everything. What is sparse about attention and about the inputs of products is decided by a
/// ``KeySelector`` and an ``InputGate``; where keys and values lie by the ``KeyValueStore`` of each sequence. An engine
/// belongs to one thread at a time.
public final class TokenEngine {
    /// The network that is run.
    public let decoder: Transformer
    /// Which keys queries read.
    public let selector: any KeySelector
    /// Which inputs products read; nil for all.
    public let gate: (any InputGate)?
    /// Counts what the gate leaves out; nil for no counting.
    public let meter: SkippingMeter?
    /// What looks at activations, and may replace them; nil for nothing.
    public let watch: ActivationWatch?
    private let makeStore: (KeyValueShape) -> any KeyValueStore
    private var sequences: [Int: any KeyValueStore] = [:]
    private var next = 0
    private let workspace = StepWorkspace()

    /// - Parameters:
    ///   - watch: Of sites that the model has: those that it does not have are never reached.
    ///   - store: Makes the store of each sequence.
    public init(
        _ decoder: Transformer, selector: any KeySelector = AllKeys(), gate: (any InputGate)? = nil,
        meter: SkippingMeter? = nil, watch: ActivationWatch? = nil,
        store: @escaping (KeyValueShape) -> any KeyValueStore = { KeyValueCache($0) }
    ) {
        self.watch = watch
        self.decoder = decoder
        self.selector = selector
        self.gate = gate
        self.meter = meter
        makeStore = store
    }

    // MARK: Sequences

    /// An empty sequence.
    ///
    /// - Parameter context: Positions to make room for.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there are more than the model has.
    public func addSequence(context: Int) throws -> Int {
        add(makeStore(try KeyValueShape(decoder.configuration, capacity: context)))
    }

    private func add(_ store: any KeyValueStore) -> Int {
        defer { next += 1 }
        sequences[next] = store
        return next
    }

    /// Another sequence with the same positions: a second continuation of one prompt.
    public func fork(_ sequence: Int) throws -> Int { add(try store(of: sequence).fork()) }

    /// Forgets a sequence.
    public func remove(_ sequence: Int) { sequences[sequence] = nil }

    /// Keys and values of a sequence.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there is no such sequence.
    public func store(of sequence: Int) throws -> any KeyValueStore {
        guard let store = sequences[sequence] else {
            throw LacunaError.invalidArgument("sequence", reason: "there is no sequence \(sequence)")
        }
        return store
    }

    // MARK: Steps

    /// Reads the tokens of a batch and returns the logits [rows that want them, vocabularySize], in the order of the rows.
    ///
    /// - Parameter apart: Whether each row, of which a sequence has one then, gets the bits that it gets in a step of its own,
    ///   whoever else is in the batch; otherwise rows go through the fastest products for their number, which add in another
    ///   order (``Product/apart(_:)``).
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for an empty batch, a token outside the vocabulary, an unknown
    ///   sequence, rows that do not continue theirs, or too many for its context, or several rows of a sequence where rows
    ///   are to be kept apart. All sequences are then as before.
    public func step(_ batch: TokenBatch, apart: Bool = false) throws -> Tensor<Float> {
        if apart {
            if let (row, _) = zip(batch.rows, batch.rows.dropFirst()).first(where: { $0.sequence == $1.sequence }) {
                throw LacunaError.invalidArgument(
                    "apart", reason: "sequence \(row.sequence) has more than one row, which are read together")
            }
            return try Product.apart { try step(batch) }
        }
        let wanted = batch.rows.count(where: \.wantsLogits)
        var logits = Tensor<Float>(uninitialized: [wanted, decoder.configuration.vocabularySize])
        try logits.withMutablePointer { try step(batch, into: $0) }
        return logits
    }

    func step(_ batch: TokenBatch, into logits: UnsafeMutablePointer<Float>) throws {
        let spans = try checked(batch)
        let (rows, width) = (batch.rows, decoder.configuration.hiddenSize)
        var done = 0
        for part in Self.parts(spans, of: max(1, selector.promptRows)) {
            let count = part.reduce(0) { $0 + $1.rows.count }
            let first = part[0].rows.lowerBound
            let hidden = workspace.pointer(.hidden, count * width)
            for i in 0..<count {
                let row = rows[first + i]
                decoder.embed(row.token, at: row.position, into: hidden + i * width)
            }
            let shifted = part.map { span in
                Span(
                    rows: span.rows.lowerBound - first..<span.rows.upperBound - first,
                    firstPosition: span.firstPosition, store: span.store)
            }
            let context = StepContext(
                rotations: decoder.rotations, headSize: decoder.configuration.headSize, spans: shifted, count: count,
                selector: selector, gate: gate, meter: meter, workspace: workspace)
            if let watch {
                let positions = shifted.flatMap { $0.firstPosition..<$0.firstPosition + $0.rows.count }
                try decoder.step(hidden, context: context, sites: watch.sites) {
                    try watch.visit($0, positions, &$1)
                }
            } else {
                try decoder.step(hidden, context: context)
            }
            for span in shifted { span.store?.advance(by: span.rows.count) }
            // Rows that want logits are brought together, in place: each moves towards the front.
            var kept = 0
            for i in 0..<count where rows[first + i].wantsLogits {
                if kept != i { (hidden + kept * width).update(from: hidden + i * width, count: width) }
                kept += 1
            }
            if kept > 0 {
                decoder.logits(
                    hidden, count: kept, into: logits + done * decoder.configuration.vocabularySize,
                    normalized: workspace.pointer(.normalized, kept * width))
            }
            done += kept
        }
        for span in spans { span.store?.finishStep(rows: span.rows.count) }
    }

    /// The rows of each sequence, after checking everything that can be wrong with a batch.
    private func checked(_ batch: TokenBatch) throws -> [Span] {
        if batch.rows.isEmpty { throw LacunaError.invalidArgument("tokens", reason: "there are none") }
        var spans: [Span] = []
        var seen = Set<Int>()
        var start = 0
        while start < batch.rows.count {
            let sequence = batch.rows[start].sequence
            let end = batch.rows[start...].firstIndex { $0.sequence != sequence } ?? batch.rows.count
            let store = try store(of: sequence)
            guard seen.insert(sequence).inserted else {
                throw LacunaError.invalidArgument(
                    "sequence", reason: "the rows of sequence \(sequence) are not together")
            }
            try store.requireRoom(for: end - start)
            for (i, row) in batch.rows[start..<end].enumerated() {
                try decoder.requireToken(row.token)
                guard row.position == store.count + i else {
                    throw LacunaError.invalidArgument(
                        "position",
                        reason: "\(row.position) does not continue sequence \(sequence), which has \(store.count + i)")
                }
            }
            spans.append(Span(rows: start..<end, firstPosition: store.count, store: store))
            start = end
        }
        return spans
    }

    /// Spans in groups of at most `limit` rows; a longer one is cut.
    static func parts(_ spans: [Span], of limit: Int) -> [[Span]] {
        var parts: [[Span]] = []
        var part: [Span] = []
        var room = limit
        for span in spans {
            var rows = span.rows
            while !rows.isEmpty {
                let count = min(rows.count, room)
                part.append(
                    Span(
                        rows: rows.lowerBound..<rows.lowerBound + count,
                        firstPosition: span.firstPosition + rows.lowerBound - span.rows.lowerBound, store: span.store))
                rows = rows.lowerBound + count..<rows.upperBound
                room -= count
                if room == 0 {
                    parts.append(part)
                    (part, room) = ([], limit)
                }
            }
        }
        if !part.isEmpty { parts.append(part) }
        return parts
    }
}
