import LacunaModels
import LacunaTensor

/// Something that is true of some tokens of a text and not of others, by the token alone.
public struct TokenConcept: Sendable {
    /// What tables call it.
    public var name: String
    /// Whether a token, as text, has it; nil for tokens of which it cannot be asked.
    public var holds: @Sendable (_ token: String) -> Bool?

    /// A concept of one's own.
    public init(_ name: String, holds: @escaping @Sendable (_ token: String) -> Bool?) {
        (self.name, self.holds) = (name, holds)
    }

    /// For each letter of the alphabet, of tokens that begin a word (a space and two letters or more): whether it is the first, large
    /// or small.
    public static let letters: [TokenConcept] = "abcdefghijklmnopqrstuvwxyz".map { letter in
        TokenConcept("begins with \(letter)") { token in
            guard token.first == " ", token.count >= 3, token.dropFirst().allSatisfy({ $0.isASCII && $0.isLetter })
            else {
                return nil
            }
            return token.dropFirst().first!.lowercased() == String(letter)
        }
    }

    /// Whether a token begins a word, begins with a capital, is a number, is punctuation.
    public static let kinds: [TokenConcept] = [
        TokenConcept("begins a word") { $0.first == " " },
        TokenConcept("capital") { token in token.first { $0.isLetter }?.isUppercase },
        TokenConcept("number") { token in token.contains { $0.isNumber } },
        TokenConcept("punctuation") { token in
            token.contains { $0.isPunctuation } && !token.contains { $0.isLetter || $0.isNumber }
        },
    ]
}

/// How a dictionary of a model's activations holds concepts of tokens, on a text.
public struct ConceptReport: Sendable {
    /// A concept, and how it is held.
    public struct Row: Sendable {
        /// What it is called.
        public var name: String
        /// How it is held.
        public var probe: ConceptProbe
    }

    /// One for each concept of which there are enough examples.
    public let rows: [Row]
    /// Concepts of which there are too few.
    public let skipped: [String]

    /// - Parameters:
    ///   - text: A token as text.
    ///   - tokens: Are cut into sequences of `context`; probes are fitted to the even sequences and judged on the odd ones.
    ///   - skipping: Positions at the beginning of each sequence that are left out.
    ///   - examples: Most examples of each kind, with the concept and without it, to fit and to judge by; they are drawn, and
    ///     as many of both kinds.
    ///   - fewest: Concepts with fewer examples are left out.
    ///   - seed: Of what is drawn.
    /// - Throws: `LacunaError.invalidArgument` for a site that is not the dictionary's or a text shorter than two sequences; `.cancelled`.
    public init(
        of dictionary: SparseAutoencoder, in decoder: Transformer, at site: ActivationSite, concepts: [TokenConcept],
        tokens: [Int], text: (Int) -> String, context: Int = 128, skipping: Int = 1, examples: Int = 500,
        fewest: Int = 40,
        seed: UInt64 = 0, progress: (any ProgressReporter)? = nil
    ) throws {
        try dictionary.requireSite(site, of: decoder)
        guard context >= 2, (0..<context).contains(skipping), tokens.count >= 2 * context else {
            throw LacunaError.invalidArgument(
                "text", reason: "\(tokens.count) tokens for sequences of \(context), of which \(skipping) are skipped")
        }
        guard examples >= fewest, fewest >= 2 else {
            throw LacunaError.invalidArgument("examples", reason: "\(examples), and no fewer than \(fewest)")
        }
        let sequences = tokens.count / context
        var words: [Int: String] = [:]
        for token in Set(tokens) { words[token] = text(token) }
        // Which tokens of the text are examples, before the model has read it: only their activations are kept.
        let places = (0..<sequences).flatMap { s in (skipping..<context).map { s * context + $0 } }
        func draw(_ number: Int, _ concept: TokenConcept) -> [[(place: Int, label: Bool)]]? {
            var generator = SeededGenerator(seed: seed, stream: 0xC0CE &+ UInt64(number))
            var halves: [[(place: Int, label: Bool)]] = []
            for half in 0..<2 {
                var kinds: [[Int]] = [[], []]
                for place in places where place / context % 2 == half {
                    if let holds = concept.holds(words[tokens[place]]!) { kinds[holds ? 1 : 0].append(place) }
                }
                let count = min(examples, kinds[0].count, kinds[1].count)
                if count < fewest { return nil }
                let drawn = kinds.map { Array($0.shuffled(using: &generator).prefix(count)) }
                halves.append(drawn[1].map { ($0, true) } + drawn[0].map { ($0, false) })
            }
            return halves
        }
        let drawn = concepts.enumerated().map { draw($0, $1) }
        skipped = zip(concepts, drawn).filter { $1 == nil }.map(\.0.name)
        let wanted = Set(drawn.compactMap(\.self).flatMap { $0.flatMap { $0.map(\.place) } }).sorted()
        let rank = Dictionary(uniqueKeysWithValues: wanted.enumerated().map { ($1, $0) })
        let d = site.dimensions(of: decoder.configuration)
        var activations = try Tensor<Float>(
            checking: [wanted.count, d], for: "activations of \(wanted.count) examples")
        let piece = max(1, 2048 / context)
        var next = 0
        for first in stride(from: 0, to: sequences, by: piece) {
            try progress.report("activations", first, of: sequences)
            let range = first * context..<min(first + piece, sequences) * context
            _ = try decoder.hiddenStates(
                Array(tokens[range]), sequenceLength: context, sites: [site], upTo: site.layer + 1
            ) { _, values in
                while next < wanted.count && range.contains(wanted[next]) {
                    for i in 0..<d { activations[next, i] = values[wanted[next] - range.lowerBound, i] }
                    next += 1
                }
                return false
            }
        }
        var rows: [Row] = []
        for (number, (concept, halves)) in zip(concepts, drawn).enumerated() {
            guard let halves else { continue }
            try progress.report("concepts", number, of: concepts.count)
            let sets = halves.map { half in
                ConceptProbe.Examples(
                    activations: activations.selectingRows(half.map { rank[$0.place]! }), labels: half.map(\.label))
            }
            rows.append(Row(name: concept.name, probe: try ConceptProbe(of: dictionary, fit: sets[0], judge: sets[1])))
        }
        self.rows = rows
    }
}
