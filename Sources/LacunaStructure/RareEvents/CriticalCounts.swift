import LacunaTensor

/// Strata of scenarios by how many of their variables are critical, found by drawing scenarios without testing anything.
///
/// How many variables are critical follows from what is drawn, so that the mean of a control variate within a stratum is not 1: it
/// is the probability of the stratum under the proposal over that under the mixture. Where scenarios are planned before they are
/// tested, both cost no test: ``init(counts:mixture:most:)`` takes the counts of as many planned scenarios as one likes.
///
/// Jingxuan Yang and others, "Adaptive Safety Evaluation for Connected and Automated Vehicles with Sparse Control Variates", arXiv
/// 2212.00517, stratify by this number; how they come by the probabilities is not known to us.
public struct CriticalCounts: Sendable, Equatable {
    /// The least number of critical variables of each stratum, ascending from 0; the last has no upper end.
    public let bounds: [Int]
    /// What ``SparseControlVariates/Adjustment/stratified(_:)`` needs to know.
    public let strata: SparseControlVariates.Strata

    /// Cuts the counts into strata of about equal probability under the mixture.
    ///
    /// - Parameters:
    ///   - counts: For every proposal of the mixture, the numbers of critical variables of scenarios drawn from it.
    ///   - most: How many strata at most, at least 1.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for another number of proposals, one without scenarios, counts below
    ///   0, and no strata.
    public init(counts: [[Int]], mixture: MixtureProposal, most: Int) throws {
        guard counts.count == mixture.count, counts.allSatisfy({ !$0.isEmpty }) else {
            throw LacunaError.invalidArgument(
                "counts", reason: "\(counts.map(\.count)) scenarios for \(mixture.count) proposals")
        }
        guard counts.allSatisfy({ $0.allSatisfy { $0 >= 0 } }) else {
            throw LacunaError.invalidArgument("counts", reason: "one is negative")
        }
        guard most > 0 else { throw LacunaError.invalidArgument("most", reason: "\(most) strata") }
        let largest = counts.reduce(0) { max($0, $1.max() ?? 0) }
        // Probabilities of each count under each proposal.
        var shares = counts.map { _ in [Double](repeating: 0, count: largest + 1) }
        for (j, own) in counts.enumerated() { for count in own { shares[j][count] += 1 / Double(own.count) } }
        let mixed = (0...largest).map { count in
            zip(mixture.weights, shares).reduce(0) { $0 + $1.0 * $1.1[count] }
        }
        var bounds = [0]
        var (before, sum) = (0.0, 0.0)
        for count in 0..<largest {
            sum += mixed[count]
            // A stratum ends where it has its share of what is left, and something is left.
            let share = (1 - before) / Double(most - bounds.count + 1)
            let rest = mixed[(count + 1)...].reduce(0, +)
            if bounds.count < most, sum - before >= share * (1 - 1e-12), rest > 0 {
                bounds.append(count + 1)
                before = sum
            }
        }
        self.bounds = bounds
        let ends = bounds.dropFirst() + [largest + 1]
        strata = try SparseControlVariates.Strata(
            proposals: shares.map { own in zip(bounds, ends).map { own[$0..<$1].reduce(0, +) } }, mixture: mixture)
    }

    /// The stratum of a scenario with so many critical variables.
    public func stratum(of count: Int) -> Int { (bounds.lastIndex { $0 <= count }) ?? 0 }
}
