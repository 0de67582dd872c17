import Lacuna
import Testing

@testable import LacunaReproduce

/// The claims hold here, and not for one lucky seed only.
@Suite struct ReproductionTests {
    @Test(arguments: ["DSnoT", "EssentialSparsity", "CFSP", "CoLiDE", "BCD"], [UInt64(0), 7])
    func isReproduced(name: String, seed: UInt64) throws {
        let outcome = try Reproductions.find(name).run(ReproductionContext(seed: seed, quick: true))
        #expect(outcome.verdict == .reproduced, "\(outcome.checks.filter { !$0.holds })")
        #expect(!outcome.measurements.isEmpty && !outcome.setting.isEmpty)
    }

    /// What does not depend on how busy the machine is: the checks that are not about speed.
    @Test func sparseProductsAreRight() throws {
        let outcome = try Reproductions.find("SMASH").run(ReproductionContext(seed: 3, quick: true))
        #expect(outcome.checks.filter { !$0.holds && !$0.statement.contains("as fast") }.isEmpty)
        #expect(outcome.checks.count > 3)
    }

    @Test func aSeedDecidesEverything() throws {
        func run(_ seed: UInt64) throws -> Outcome {
            try CFSPReproduction().run(ReproductionContext(seed: seed, quick: true))
        }
        #expect(try run(1) == run(1))
        #expect(try run(1) != run(2))
    }
}
