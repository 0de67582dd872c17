import LacunaTensor

/// Chooses one of finitely many candidates with probability proportional to `exp(-ε loss / 2Δ)`: a randomised argmin.
///
/// It is the inverse-sensitivity mechanism over a finite set when the loss of a candidate is the number of rows that must
/// change to make it the answer (then Δ = 1), and private for any loss that one row moves by at most Δ. Robustness is what
/// bounds Δ: a loss truncated for each row is both.
///
/// Frank McSherry, Kunal Talwar, "Mechanism Design via Differential Privacy", FOCS 2007; Hilal Asi, Jonathan Ullman, Lydia
/// Zakynthinou, "From Robustness to Privacy and Back", arXiv 2302.01855.
public struct ExponentialMechanism: Sendable, Equatable {
    /// The most that one row moves any candidate's loss.
    public let sensitivity: Double
    /// ε of one choice. Above 0.
    public let epsilon: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless both are finite and above 0.
    public init(sensitivity: Double = 1, epsilon: Double) throws {
        guard sensitivity > 0, sensitivity.isFinite else {
            throw LacunaError.invalidArgument(
                "sensitivity", reason: "must be a finite number above 0, but is \(sensitivity)")
        }
        self.sensitivity = sensitivity
        self.epsilon = try PrivacyBudget(epsilon: epsilon).epsilon
    }

    /// The index of the chosen candidate.
    ///
    /// - Parameters:
    ///   - losses: One for each candidate, at least one, none of them NaN. Positive infinity rules a candidate out; it is
    ///     private only if that does not depend on the rows.
    ///   - logMass: Logarithm of how many, or how large, each candidate is; 0 by default.
    public func choose(_ losses: [Double], logMass: [Double]? = nil, using generator: inout SeededGenerator) -> Int {
        require(!losses.isEmpty && losses.count == logMass?.count ?? losses.count)
        var (best, value) = (0, -Double.infinity)
        for (index, loss) in losses.enumerated() {
            // The largest of logits plus Gumbel noise is a draw from their softmax, without overflow.
            let gumbel = -logarithm(-logarithm(max(generator.uniform(), 0x1p-54)))
            let logit = -epsilon * loss / (2 * sensitivity) + (logMass?[index] ?? 0)
            if logit + gumbel > value { (best, value) = (index, logit + gumbel) }
        }
        return best
    }
}
