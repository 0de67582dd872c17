import LacunaSparse
import LacunaTensor

/// Chooses the next token from logits.
///
/// With temperature 0 it is the largest logit, of equals the one with the lowest id. Otherwise, in this order: logits are
/// divided by the temperature; the `topK` largest stay; of these the fewest whose probabilities, renormalised, reach
/// `topP` stay; one of the rest is drawn in proportion to its probability. Of equal logits at either cut those with lower
/// ids stay. Top-p is due to Holtzman et al., "The Curious Case of Neural Text Degeneration", arXiv:1904.09751.
public struct Sampler: Sendable {
    /// How tokens are chosen.
    public struct Options: Sendable, Equatable {
        /// 0 for the most probable token; 1 for the model's own distribution.
        public var temperature: Double
        /// How many tokens may be drawn; nil for all.
        public var topK: Int?
        /// The share of probability that may be drawn from, in `0 < topP <= 1`.
        public var topP: Double
        /// Decides every random choice.
        public var seed: UInt64

        /// Greedy unless a temperature is given; ``validate()`` says whether the numbers are in range.
        public init(temperature: Double = 0, topK: Int? = nil, topP: Double = 1, seed: UInt64 = 0) {
            self.temperature = temperature
            self.topK = topK
            self.topP = topP
            self.seed = seed
        }

        /// The most probable token each time.
        public static let greedy = Options()

        func validate() throws {
            guard temperature >= 0 && temperature.isFinite else {
                throw LacunaError.invalidArgument("temperature", reason: "\(temperature) is negative or not finite")
            }
            if let topK, topK < 1 { throw LacunaError.invalidArgument("top-k", reason: "\(topK) is not positive") }
            guard topP > 0 && topP <= 1 else {
                throw LacunaError.invalidArgument("top-p", reason: "\(topP) is not above 0 and at most 1")
            }
        }
    }

    /// What it was made with.
    public let options: Options
    private var generator: SeededGenerator

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for options out of range.
    public init(_ options: Options = .greedy) throws {
        try options.validate()
        self.options = options
        generator = SeededGenerator(seed: options.seed)
    }

    /// The chosen token.
    ///
    /// - Parameter logits: One for each token of the vocabulary.
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if a logit is NaN or the largest is not finite.
    public mutating func sample(_ logits: UnsafeBufferPointer<Float>) throws -> Int {
        let largest = try Self.largest(logits)
        if options.temperature == 0 { return largest }
        let limit = min(options.topK ?? logits.count, logits.count)
        let weights = Weights(logits, largest: logits[largest], temperature: options.temperature)
        let candidates = nucleus(logits, weights: weights, limit: limit)
        let total = candidates.reduce(0) { $0 + weights[$1] }
        var rest = generator.uniform() * total
        for id in candidates {
            rest -= weights[id]
            if rest < 0 { return id }
        }
        // Rounding may leave a last sliver beyond the sum.
        return candidates.last!
    }

    /// Probabilities before they are divided by their sum.
    private struct Weights {
        let logits: UnsafeBufferPointer<Float>
        let largest: Double
        let temperature: Double

        init(_ logits: UnsafeBufferPointer<Float>, largest: Float, temperature: Double) {
            self.logits = logits
            self.largest = Double(largest)
            self.temperature = temperature
        }

        subscript(id: Int) -> Double { exponential((Double(logits[id]) - largest) / temperature) }
    }

    private static func largest(_ logits: UnsafeBufferPointer<Float>) throws -> Int {
        var best = 0
        var sawNaN = logits.isEmpty
        for (id, value) in logits.enumerated() {
            sawNaN = sawNaN || value.isNaN
            if value > logits[best] { best = id }
        }
        guard !sawNaN && logits[best].isFinite else {
            throw LacunaError.numerical(operation: "sampling", reason: "the model's logits are not finite")
        }
        return best
    }

    /// The tokens that may be drawn: all, or in descending order of their logits as far as `topK` and `topP` allow.
    private func nucleus(_ logits: UnsafeBufferPointer<Float>, weights: Weights, limit: Int) -> [Int] {
        if options.topP == 1 {
            return Largest.indices(limit, of: logits, ties: .first)
        }
        // What top-p keeps is nearly always a small part of the vocabulary: sort a few of the largest, and more of them
        // only if they do not reach the share.
        let all = Largest.indices(limit, of: logits, ties: .first)
        let needed = options.topP * all.reduce(0) { $0 + weights[$1] }
        var size = min(256, limit)
        while true {
            let sorted = Largest.indices(size, of: logits, ties: .first).sorted {
                logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1
            }
            var sum = 0.0
            for (index, id) in sorted.enumerated() {
                sum += weights[id]
                if sum >= needed { return Array(sorted[...index]) }
            }
            if size == limit { return sorted }
            size = min(size * 8, limit)
        }
    }
}
