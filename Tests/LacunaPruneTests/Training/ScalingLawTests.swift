import LacunaPrune
import LacunaTensor
import Testing

@Suite struct ScalingLawTests {
    private let law = ScalingLaw(
        irreducible: 1.7, sizeFactor: 400, sizeExponent: 0.34, dataFactor: 410, dataExponent: 0.28)

    /// Forty runs of 10⁷ to 10⁹ weights and 10⁹ to 10¹¹ tokens.
    private func runs(noise: Double, seed: UInt64) -> [ScalingLaw.Point] {
        var generator = SeededGenerator(seed: seed)
        return (0..<40).map { _ in
            let (n, d) = (power(10, 7 + 2 * generator.uniform()), power(10, 9 + 2 * generator.uniform()))
            let loss = law.loss(parameters: n, tokens: d) * (1 + noise * generator.normal())
            return .init(parameters: n, tokens: d, loss: loss)
        }
    }

    @Test func exactRunsGiveTheLaw() throws {
        let fit = try ScalingLaw.fit(runs(noise: 0, seed: 1))
        #expect(abs(fit.law.irreducible - 1.7) < 1e-3)
        #expect(abs(fit.law.sizeExponent - 0.34) < 1e-3 && abs(fit.law.dataExponent - 0.28) < 1e-3)
        #expect(fit.hasConverged && fit.objective < 1e-10)
    }

    /// Factors are ill determined; exponents, the irreducible loss and extrapolations are not.
    @Test(arguments: 0..<3) func noisyRuns(seed: Int) throws {
        var points = runs(noise: 0.002, seed: UInt64(seed))
        // One run went wrong.
        points[3].loss *= 1.5
        let found = try ScalingLaw.fit(points).law
        #expect(abs(found.sizeExponent - 0.34) < 0.025 && abs(found.dataExponent - 0.28) < 0.025)
        #expect(abs(found.irreducible - 1.7) < 0.1)
        let (expected, there) = (law.loss(parameters: 1e9, tokens: 1e11), found.loss(parameters: 1e9, tokens: 1e11))
        #expect(abs(there / expected - 1) < 0.005)
    }

    @Test func refusesWhatIsNoFit() {
        let points = runs(noise: 0, seed: 1)
        #expect(throws: LacunaError.self) { try ScalingLaw.fit(Array(points.prefix(4))) }
        var bad = points
        bad[0].loss = .nan
        #expect(throws: LacunaError.self) { try ScalingLaw.fit(bad) }
        #expect(throws: LacunaError.self) { try ScalingLaw.fit(points, delta: 0) }
    }
}
