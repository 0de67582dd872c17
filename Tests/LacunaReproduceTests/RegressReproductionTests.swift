import Lacuna
import Testing

@testable import LacunaReproduce

/// The claims about sparse regression hold here, and not for one lucky seed only.
@Suite struct RegressReproductionTests {
    @Test(arguments: ["RandomSupports", "fastHDMI", "LinfSketch", "L1-A-MTRL"], [UInt64(0), 5])
    func isReproduced(name: String, seed: UInt64) throws {
        let outcome = try Reproductions.find(name).run(ReproductionContext(seed: seed, quick: true))
        #expect(outcome.verdict == .reproduced, "\(outcome.checks.filter { !$0.holds })")
        #expect(!outcome.measurements.isEmpty && !outcome.notes.isEmpty)
    }
}
