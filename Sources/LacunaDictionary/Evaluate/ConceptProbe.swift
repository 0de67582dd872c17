import LacunaSparse
import LacunaTensor

/// How a dictionary holds a concept that is known, such as "begins with an s": in one feature, split among several, or with
/// exceptions that other features have absorbed.
///
/// - A linear probe of the activations says how well the concept can be read at all.
/// - The features whose strengths differ most between examples with the concept and without it are probed: the first alone, and
///   more as long as each raises F₁ by ``splitGain``. Wes Gurnee and others, "Finding Neurons in a Haystack: Case Studies with Sparse Probing",
///   arXiv 2305.01610.
/// - An example that has the concept, as the probe of the activations finds too, is *absorbed* if none of these features is active and
///   another, of a cosine of at least 0.025 with the probe's direction, makes up 0.4 or more of the example's projection onto it: a feature for
///   "short" that fires instead of the one for "begins with an s". David Chanin and others, "A is for Absorption: Studying Feature
///   Splitting and Absorption in Sparse Autoencoders", arXiv 2409.14507; thresholds of Adam Karvonen and others, "SAEBench", arXiv 2503.09532.
public struct ConceptProbe: Sendable {
    /// Examples of the concept that were judged, and as many without it.
    public let positives: Int
    /// F₁ of the probe of the activations.
    public let activations: Double
    /// F₁ of the best feature alone.
    public let single: Double
    /// The features that the concept is split among, the first the most telling.
    public let features: [Int]
    /// F₁ of these together.
    public let together: Double
    /// Share of the examples found by the probe of the activations that other features have absorbed.
    public let absorbed: Double
    /// The features that have absorbed some, with how many, the most first.
    public let absorbers: [(feature: Int, examples: Int)]

    /// What another feature has to add to F₁ to be one of those that a concept is split among.
    public static let splitGain = 0.03

    /// Activations [examples, dimensions], and which of them have the concept.
    public struct Examples: Sendable {
        /// [examples, dimensions].
        public var activations: Tensor<Float>
        /// Whether each has the concept.
        public var labels: [Bool]

        /// Examples of both kinds.
        public init(activations: Tensor<Float>, labels: [Bool]) {
            (self.activations, self.labels) = (activations, labels)
        }
    }

    /// - Parameters:
    ///   - fit: What probes are fitted to and features chosen by.
    ///   - judge: Other examples, of which all figures are.
    ///   - limit: Most features that a concept is split among.
    /// - Throws: As ``LogisticProbe/init(_:labels:ridge:)`` and ``SparseAutoencoder/encode(_:gradients:scope:)``.
    public init(of dictionary: SparseAutoencoder, fit: Examples, judge: Examples, limit: Int = 8) throws {
        guard limit >= 1 else { throw LacunaError.invalidArgument("limit", reason: "\(limit) features") }
        guard judge.labels.count == judge.activations.rows else {
            throw LacunaError.invalidArgument(
                "labels", reason: "\(judge.labels.count) for \(judge.activations.shape)")
        }
        let probe = try LogisticProbe(fit.activations, labels: fit.labels)
        let seen = probe.predictions(judge.activations)
        (positives, activations) = (judge.labels.count { $0 }, LogisticProbe.f1(seen, judge.labels))
        let (known, codes) = (try dictionary.encode(fit.activations), try dictionary.encode(judge.activations))
        let order = Self.telling(known, fit.labels, count: limit)
        var chosen: [Int] = []
        var (best, single, together) = (0.0, 0.0, 0.0)
        for feature in order {
            let features = chosen + [feature]
            let (x, y) = (Self.columns(known, features), Self.columns(codes, features))
            let reader = try LogisticProbe(x, labels: fit.labels)
            let own = LogisticProbe.f1(reader.predictions(x), fit.labels)
            if !chosen.isEmpty && own < best + Self.splitGain { break }
            (chosen, best) = (features, own)
            together = LogisticProbe.f1(reader.predictions(y), judge.labels)
            if features.count == 1 { single = together }
        }
        (features, self.single, self.together) = (chosen, single, together)

        // Rows of codes, as what takes the place of the chosen features is asked of each by itself.
        let d = dictionary.configuration.outputDimensions
        let length = probe.direction.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let (directions, bias) = (dictionary.decoderWeight.buffer, dictionary.decoderBias.buffer)
        var projections: [Int: (value: Double, cosine: Double)] = [:]
        func projection(_ feature: Int) -> (value: Double, cosine: Double) {
            if let found = projections[feature] { return found }
            var (dot, square) = (0.0, 0.0)
            for i in 0..<d {
                let e = Double(directions.pointer[feature * d + i])
                dot += e * probe.direction[i]
                square += e * e
            }
            let found = (dot, square > 0 && length > 0 ? dot / (square.squareRoot() * length) : 0)
            projections[feature] = found
            return found
        }
        var rows = [[(feature: Int, strength: Double)]](repeating: [], count: judge.activations.rows)
        codes.forEachEntry { row, feature, value in if value != 0 { rows[row].append((feature, Double(value))) } }
        var (found, absorbers) = (0, [Int: Int]())
        for (row, label) in judge.labels.enumerated() where label && seen[row] {
            found += 1
            if rows[row].contains(where: { chosen.contains($0.feature) }) { continue }
            let whole = (0..<d).reduce(0.0) {
                $0 + (Double(judge.activations[row, $1]) - Double(bias.pointer[$1])) * probe.direction[$1]
            }
            let parts = rows[row].map { (feature: $0.feature, part: $0.strength * projection($0.feature).value) }
            guard let largest = parts.max(by: { ($0.part, $1.feature) < ($1.part, $0.feature) }) else { continue }
            if projection(largest.feature).cosine >= 0.025, whole > 0, largest.part >= 0.4 * whole {
                absorbers[largest.feature, default: 0] += 1
            }
        }
        absorbed = found > 0 ? Double(absorbers.values.reduce(0, +)) / Double(found) : 0
        self.absorbers = absorbers.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { ($0.key, $0.value) }
    }

    /// Features whose mean strength is larger with the concept than without it, by how much; the largest first.
    private static func telling(_ code: SparseMatrix<Float>, _ labels: [Bool], count: Int) -> [Int] {
        let with = Double(labels.count { $0 })
        let without = Double(labels.count) - with
        var difference = [Double](repeating: 0, count: code.columns)
        code.forEachEntry { row, feature, value in
            difference[feature] += labels[row] ? Double(value) / with : -Double(value) / without
        }
        let order = difference.indices.sorted {
            difference[$0] != difference[$1] ? difference[$0] > difference[$1] : $0 < $1
        }
        return order.prefix(count).filter { difference[$0] > 0 }
    }

    /// Some columns of a code, [rows, features.count].
    private static func columns(_ code: SparseMatrix<Float>, _ features: [Int]) -> Tensor<Float> {
        var result = Tensor<Float>(zeros: [code.rows, features.count])
        let places = Dictionary(uniqueKeysWithValues: features.enumerated().map { ($1, $0) })
        code.forEachEntry { row, feature, value in if let place = places[feature] { result[row, place] = value } }
        return result
    }
}
