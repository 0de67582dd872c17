import Lacuna
import Testing

@testable import LacunaReproduce

/// The claims hold here, and not for one lucky seed only.
@Suite struct ReproductionTests {
    @Test(arguments: ["DSnoT", "EssentialSparsity", "CFSP", "BCD", "SparseBandits"], [UInt64(0), 7])
    func isReproduced(name: String, seed: UInt64) throws {
        let outcome = try Reproductions.find(name).run(ReproductionContext(seed: seed, quick: true))
        #expect(outcome.verdict == .reproduced, "\(outcome.checks.filter { !$0.holds })")
        #expect(!outcome.measurements.isEmpty && !outcome.setting.isEmpty)
    }

    /// With one noise level for all the claim holds; where levels differ it does not at this size.
    @Test(arguments: [UInt64(0), 7]) func graphsOfOneNoiseLevel(seed: UInt64) throws {
        let outcome = try Reproductions.find("CoLiDE").run(ReproductionContext(seed: seed, quick: true))
        let missed = outcome.checks.filter { !$0.holds }
        #expect(missed.allSatisfy { $0.statement.contains("levels differ") }, "\(missed)")
        #expect(outcome.checks.count == 9)
    }

    /// All that is claimed of strata but how much they gain in traffic, which the outcome says.
    @Test(arguments: [UInt64(0), 7]) func strataOfScenarios(seed: UInt64) throws {
        let outcome = try Reproductions.find("SCV").run(ReproductionContext(seed: seed, quick: true))
        let missed = outcome.checks.filter { !$0.holds }
        #expect(missed.allSatisfy { $0.statement.contains("ten times fewer") }, "\(missed)")
        #expect(outcome.checks.count == 10)
    }

    /// What does not depend on how busy the machine is: the checks that are not about speed.
    @Test func sparseProductsAreRight() throws {
        let outcome = try Reproductions.find("SMASH").run(ReproductionContext(seed: 3, quick: true))
        let speeds = ["as fast", "the time of", "equally many multiplications"]
        let wrong = outcome.checks.filter { check in !check.holds && !speeds.contains { check.statement.contains($0) } }
        #expect(wrong.isEmpty, "\(wrong)")
        #expect(outcome.checks.count > 3)
    }

    /// Mean of p/q under the mixture: 1, or the ratios are wrong.
    @Test func scenarioWeightsAverageToOne() throws {
        var random = SeededGenerator(seed: 1)
        let tail = try RareTail(spacing: 0.5)
        let following = try FollowingScenario(surrogates: [
            .init(headway: 1, braking: 2), .init(headway: 1, braking: 3),
        ])
        let vehicle = FollowingScenario.Driver(headway: 0.9, braking: 2.4, inertia: 0.2)
        let beds = [
            (tail.mixture, tail.tests(4000, thresholds: [2.5], fuzz: 0.1, using: &random)),
            (tail.mixture, tail.tests(4000, thresholds: [2.5], fuzz: 0.1, shift: 0.2, using: &random)),
            (following.mixture, following.tests(4000, of: vehicle, using: &random)),
        ]
        for (mixture, tests) in beds {
            #expect(tests.contains { $0.outcome == 1 } && tests.contains { $0.outcome == 0 })
            let certain = tests.map { ScenarioTest(outcome: 1, logRatios: $0.logRatios) }
            let found = try SparseControlVariates(mixture, adjustment: .none).estimate(certain)
            #expect(abs(found.rate - 1) < 4 * found.standardError && found.standardError < 0.1)
        }
    }

    @Test func aSeedDecidesEverything() throws {
        func run(_ seed: UInt64) throws -> Outcome {
            try CFSPReproduction().run(ReproductionContext(seed: seed, quick: true))
        }
        #expect(try run(1) == run(1))
        #expect(try run(1) != run(2))
    }
}
