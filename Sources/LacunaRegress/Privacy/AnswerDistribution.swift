import LacunaTensor

/// How a private release of one number is distributed for given rows: what it spends can be read off exactly.
public struct AnswerDistribution: Sendable {
    /// Where an answer is spread evenly.
    public struct Piece: Sendable, Equatable {
        /// From where to where.
        public let interval: ClosedRange<Double>
        /// That the answer is there.
        public let probability: Double
    }

    /// Probability that there is no answer.
    public let refusal: Double
    /// Ascending, without overlap; with ``refusal`` their probabilities sum to 1.
    public let pieces: [Piece]

    /// - Parameter pieces: Intervals of positive length, ascending, with the logarithm of the density on each, up to a constant.
    init(refusal: Double = 0, pieces: [(interval: ClosedRange<Double>, logDensity: Double)]) {
        let logits = pieces.map { $0.logDensity + logarithm($0.interval.upperBound - $0.interval.lowerBound) }
        let largest = logits.max() ?? 0
        let total = logits.reduce(0) { $0 + exponential($1 - largest) }
        self.refusal = refusal
        self.pieces = zip(pieces, logits).map {
            Piece(interval: $0.interval, probability: (1 - refusal) * exponential($1 - largest) / total)
        }
    }

    /// The most by which the probability of a set of answers exceeds `exp(ε)` times that under another distribution: the
    /// smallest δ for which (ε, δ) bounds the one by the other.
    ///
    /// - Complexity: O(pieces of both).
    public func excess(over other: AnswerDistribution, epsilon: Double) -> Double {
        let factor = exponential(epsilon)
        var sum = max(0, refusal - factor * other.refusal)
        var k = 0
        for piece in pieces {
            let width = piece.interval.upperBound - piece.interval.lowerBound
            let density = piece.probability / width
            var covered = 0.0
            // Pieces of the other that end before this one begins are behind all that follow.
            while k < other.pieces.count, other.pieces[k].interval.upperBound <= piece.interval.lowerBound { k += 1 }
            var m = k
            while m < other.pieces.count, other.pieces[m].interval.lowerBound < piece.interval.upperBound {
                let (low, high) = (other.pieces[m].interval.lowerBound, other.pieces[m].interval.upperBound)
                let common = min(high, piece.interval.upperBound) - max(low, piece.interval.lowerBound)
                if common > 0 {
                    sum += max(0, common * (density - factor * other.pieces[m].probability / (high - low)))
                    covered += common
                }
                m += 1
            }
            sum += max(0, width - covered) * density
        }
        return sum
    }
}
