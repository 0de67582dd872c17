import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// What there is to say about every feature of a dictionary, from a text that a model has read: where it is active,
/// what it does to the model's output, which features are like it.
public struct FeatureAtlas: Sendable {
    /// A stretch of text around a place where a feature is strong.
    public struct Context: Sendable, Hashable {
        /// Tokens, in their order.
        public var tokens: [Int]
        /// The feature's strength at each.
        public var strengths: [Float]
        /// Which of them is the strongest.
        public var peak: Int
    }

    /// What is known about one feature.
    public struct Feature: Sendable, Hashable {
        /// The feature's number in the dictionary.
        public var index: Int
        /// Share of the tokens in which it is active.
        public var density: Double
        /// Its largest strength.
        public var maximum: Float
        /// The strongest places, each of another sequence, the strongest first.
        public var contexts: [Context]
        /// Tokens whose logits its direction raises most, with the inner products, the largest first.
        public var raised: [(token: Int, effect: Float)]
        /// Tokens whose logits it lowers most, with the inner products, which are negative, the smallest first.
        public var lowered: [(token: Int, effect: Float)]
        /// Features with the most similar directions, with cosines.
        public var nearest: [(feature: Int, cosine: Float)]
        /// Tokens at which it is strongest, with the share of its strength that each carries, the largest first.
        public var tokens: [(token: Int, share: Double)]
        /// Stretches of two or three tokens at whose last it is strong, at least twice, with the share of its strength that each carries, the
        /// largest first. A stretch is left out for a longer one that carries three quarters of its share.
        public var phrases: [(tokens: [Int], share: Double)]

        public static func == (a: Feature, b: Feature) -> Bool { a.index == b.index && a.contexts == b.contexts }
        public func hash(into hasher: inout Hasher) { hasher.combine(index) }
    }

    /// The model, as its user calls it.
    public let model: String
    /// Where the dictionary's activations are taken from.
    public let site: ActivationSite
    /// The dictionary's rule.
    public let rule: SelectionRule
    /// Tokens of the text.
    public let tokens: Int
    /// Features that are active somewhere in it, by index.
    public let features: [Feature]
    /// Features of the dictionary.
    public let width: Int

    /// - Parameters:
    ///   - model: As its user calls it.
    ///   - tokens: A text; is cut into sequences of `context`, and held with its codes in memory.
    ///   - contexts: Places shown of each feature.
    ///   - radius: Tokens shown on both sides of the strongest.
    ///   - effects: Tokens listed of those whose logits change most, each way.
    /// - Throws: `LacunaError.invalidArgument` for a site that is not the dictionary's or a text shorter than a
    ///   sequence; `.cancelled`.
    public init(
        of dictionary: SparseAutoencoder, in decoder: Transformer, model: String, at site: ActivationSite,
        tokens: [Int],
        context: Int = 128, skipping: Int = 1, contexts: Int = 8, radius: Int = 12, effects: Int = 8,
        progress: (any ProgressReporter)? = nil
    ) throws {
        try dictionary.requireSite(site, of: decoder)
        guard context >= 2, (0..<context).contains(skipping), tokens.count >= context else {
            throw LacunaError.invalidArgument(
                "text", reason: "\(tokens.count) tokens for sequences of \(context), of which \(skipping) are skipped")
        }
        let sequences = tokens.count / context
        let kept = context - skipping
        var codes: [SparseMatrix<Float>] = []
        let piece = max(1, 2048 / context)
        for first in stride(from: 0, to: sequences, by: piece) {
            try progress.report("codes", first, of: sequences)
            let count = min(piece, sequences - first)
            _ = try decoder.hiddenStates(
                Array(tokens[first * context..<(first + count) * context]), sequenceLength: context, sites: [site],
                upTo: site.layer + 1
            ) { _, values in
                let rows = (0..<count).flatMap { s in (skipping..<context).map { s * context + $0 } }
                codes.append(try dictionary.encode(values.selectingRows(rows)))
                return false
            }
        }
        try progress.report("features", 0, of: 1)
        // Features as rows: where each is active, in the order of the text.
        let byFeature = try SparseMatrix.stackedVertically(codes).transposed()
        let starts = byFeature.pattern.rowStarts
        let effects = try Self.effects(dictionary, decoder, site, count: effects)
        let nearest = Self.nearest(dictionary, count: 5)
        var features: [Feature] = []
        let rows = sequences * kept
        byFeature.withValues { values in
            byFeature.pattern.withCompressedRows { _, columns in
                for j in 0..<dictionary.width where starts[j + 1] > starts[j] {
                    features.append(
                        Self.feature(
                            j, places: columns[starts[j]..<starts[j + 1]], strengths: values[starts[j]..<starts[j + 1]],
                            tokens: tokens, context: context, skipping: skipping, contexts: contexts, radius: radius,
                            rows: rows, raised: effects.raised[j], lowered: effects.lowered[j], nearest: nearest[j]))
                }
            }
        }
        (self.model, self.site, self.features) = (model, site, features)
        (rule, width) = (dictionary.rule, dictionary.width)
        self.tokens = rows
        try progress.report("features", 1, of: 1)
    }

    private static func feature(
        _ index: Int, places: Slice<UnsafeBufferPointer<UInt32>>, strengths: Slice<UnsafeBufferPointer<Float>>,
        tokens: [Int], context: Int, skipping: Int, contexts: Int, radius: Int, rows: Int,
        raised: [(token: Int, effect: Float)], lowered: [(token: Int, effect: Float)],
        nearest: [(feature: Int, cosine: Float)]
    ) -> Feature {
        let kept = context - skipping
        let entries = zip(places, strengths).map { (row: Int($0), strength: $1) }
        func place(_ row: Int) -> Int { row / kept * context + skipping + row % kept }
        // Both tails of signed codes count.
        let sorted = entries.sorted {
            abs($0.strength) != abs($1.strength) ? abs($0.strength) > abs($1.strength) : $0.row < $1.row
        }
        var seen: Set<Int> = []
        var chosen: [Context] = []
        let byRow = Dictionary(uniqueKeysWithValues: entries.map { ($0.row, $0.strength) })
        for entry in sorted where chosen.count < contexts {
            let sequence = entry.row / kept
            guard seen.insert(sequence).inserted else { continue }
            let peak = place(entry.row)
            let from = max(sequence * context, peak - radius)
            let to = min((sequence + 1) * context, peak + radius + 1)
            let strengths = (from..<to).map { position -> Float in
                let inside = position % context - skipping
                return inside < 0 ? 0 : byRow[sequence * kept + inside] ?? 0
            }
            chosen.append(Context(tokens: Array(tokens[from..<to]), strengths: strengths, peak: peak - from))
        }
        var shares: [Int: Double] = [:]
        var stretches: [[Int]: (strength: Double, count: Int)] = [:]
        var total = 0.0
        for entry in entries {
            let (end, strength) = (place(entry.row), Double(abs(entry.strength)))
            shares[tokens[end], default: 0] += strength
            for length in 2...3 where end % context + 1 >= length {
                let found = stretches[Array(tokens[end + 1 - length...end]), default: (0, 0)]
                stretches[Array(tokens[end + 1 - length...end])] = (found.strength + strength, found.count + 1)
            }
            total += strength
        }
        let repeated = stretches.filter { $0.value.count > 1 }
        var longer: [[Int]: Double] = [:]
        for (stretch, found) in repeated where stretch.count == 3 {
            longer[Array(stretch[1...])] = max(longer[Array(stretch[1...])] ?? 0, found.strength)
        }
        let phrases = repeated.filter { stretch, found in (longer[stretch] ?? 0) < 0.75 * found.strength }.sorted {
            $0.value.strength != $1.value.strength
                ? $0.value.strength > $1.value.strength : $0.key.lexicographicallyPrecedes($1.key)
        }.prefix(5)
        let tops = shares.sorted { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }.prefix(8)
        return Feature(
            index: index, density: Double(entries.count) / Double(max(rows, 1)), maximum: sorted[0].strength,
            contexts: chosen, raised: raised, lowered: lowered, nearest: nearest,
            tokens: tops.map { ($0.key, $0.value / max(total, 1e-30)) },
            phrases: phrases.map { ($0.key, $0.value.strength / max(total, 1e-30)) })
    }

    /// Inner products of directions with the output head, through the output projection where the site is before it,
    /// and the gains of the last norm.
    private static func effects(
        _ dictionary: SparseAutoencoder, _ decoder: Transformer, _ site: ActivationSite, count: Int
    ) throws -> (raised: [[(token: Int, effect: Float)]], lowered: [[(token: Int, effect: Float)]]) {
        var directions = dictionary.decoderWeight.value
        if site.part == .attention {
            let output = decoder.blocks[site.layer].attention.output.weight.densified()
            directions = directions.multiplied(by: output, otherTransposed: true)
        }
        let (n, d) = (directions.rows, directions.columns)
        let norm = decoder.finalNorm
        let gains = norm.weight.scalars
        directions.withMutablePointer { p in
            for j in 0..<n {
                // A layer norm takes the mean off.
                let mean = norm.bias == nil ? 0 : (0..<d).reduce(Float(0)) { $0 + p[j * d + $1] } / Float(d)
                for i in 0..<d { p[j * d + i] = (p[j * d + i] - mean) * gains[i] }
            }
        }
        let head = decoder.head.densified()
        let zeros = [Float](repeating: 0, count: head.rows)
        func best(_ directions: Tensor<Float>, sign: Float) -> [[(token: Int, effect: Float)]] {
            let kept = head.withPointer {
                PreActivations(inputs: directions, weight: $0, bias: zeros).selected(.token(count), signed: false)
            }
            return rows(kept).map { row in row.map { ($0.0, sign * $0.1) } }
        }
        return (best(directions, sign: 1), best(directions.multiplied(byNumber: -1), sign: -1))
    }

    private static func nearest(_ dictionary: SparseAutoencoder, count: Int) -> [[(feature: Int, cosine: Float)]] {
        var directions = dictionary.decoderWeight.value
        let (n, d) = (directions.rows, directions.columns)
        directions.withMutablePointer { Directions.normalize($0, rows: n, columns: d) }
        let kept = directions.withPointer {
            PreActivations(inputs: directions, weight: $0, bias: [Float](repeating: 0, count: n)).selected(
                .token(min(count + 1, n)), signed: false)
        }
        return rows(kept).enumerated().map { j, row in
            row.filter { $0.0 != j }.prefix(count).map { ($0.0, $0.1) }
        }
    }

    /// The entries of every row, the largest first.
    private static func rows(_ matrix: SparseMatrix<Float>) -> [[(Int, Float)]] {
        var result = [[(Int, Float)]](repeating: [], count: matrix.rows)
        matrix.forEachEntry { r, c, value in result[r].append((c, value)) }
        return result.map { $0.sorted { $0.1 != $1.1 ? $0.1 > $1.1 : $0.0 < $1.0 } }
    }
}
