import LacunaTensor

/// A robust estimator out of a private one, the way back: many private answers from the same rows, and the one that most of the
/// others are near.
///
/// If a mechanism is ε-differentially private and misses by more than `α` with probability `β`, then with `k` rows replaced it does so
/// with probability `exp(kε) β` at most. While that is below one half, most answers are within `α` of what the uncorrupted rows
/// say; an answer whose median distance to the others is least then has one of them within `2α` of it, and is within `3α` itself.
/// So the estimate withstands `log(1/2β)/ε` corruptions.
///
/// The answers are drawn for one's own use; to publish them would spend ε for each.
///
/// Hilal Asi, Jonathan Ullman, Lydia Zakynthinou, "From Robustness to Privacy and Back", arXiv 2302.01855; that accurate private
/// mechanisms are robust: Cynthia Dwork, Jing Lei, "Differential Privacy and Robust Statistics", STOC 2009; Kristian Georgiev, Samuel
/// Hopkins, "Privacy Induces Robustness: Information-Computation Gaps and Sparse Mean Estimation", arXiv 2211.00724.
public struct RobustFromPrivate: Sendable {
    /// Answers that are drawn, at least 1.
    public var answers: Int

    /// - Parameter answers: More make it surer that the majority is that of the distribution; 101 err by 0.05 in its share.
    public init(answers: Int = 101) {
        require(answers > 0)
        self.answers = answers
    }

    /// How many rows may be replaced so that more than half of the answers of an ε-private mechanism are still as good as those that
    /// miss with this probability `β`: the largest `k` with `exp(kε) β < 1/2`; none for a half or more.
    public static func tolerated(failure: Double, epsilon: Double) -> Int {
        require(failure >= 0 && epsilon > 0)
        guard failure < 0.5 else { return 0 }
        guard failure > 0 else { return .max }
        let most = -logarithm(2 * failure) / epsilon
        return most >= 0x1p62 ? .max : max(0, Int(most.rounded(.up)) - 1)
    }

    /// The answer whose median distance to the others is least; the first of several.
    ///
    /// - Parameter mechanism: Draws one private answer; numbers of equal counts.
    /// - Throws: What the mechanism throws.
    /// - Complexity: O(answers²) distances.
    public func callAsFunction(_ mechanism: () throws -> [Double]) rethrows -> [Double] {
        let drawn = try (0..<answers).map { _ in try mechanism() }
        var (best, least) = (0, Double.infinity)
        for i in drawn.indices {
            var distances = drawn.map { other in
                zip(drawn[i], other).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
            }
            distances.sort()
            if distances[answers / 2] < least { (best, least) = (i, distances[answers / 2]) }
        }
        return drawn[best]
    }
}
