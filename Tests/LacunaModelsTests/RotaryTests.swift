import LacunaIO
import LacunaModels
import LacunaTensor
import Testing

/// Frequencies beside those of transformers (`Scripts/fixtures_learning.py`).
@Suite struct RotaryTests {
    @Test(arguments: [
        ("default", RotaryEmbedding.Scaling.none), ("linear", .linear(factor: 4)),
        ("llama3", .llama3(factor: 8, lowFactor: 1, highFactor: 4, originalContext: 8192)),
    ])
    func frequencies(name: String, scaling: RotaryEmbedding.Scaling) throws {
        let fields = try JSONFields(contentsOf: Fixture.directory + "/rotary.json")
        let rotary = RotaryEmbedding(.init(base: 500_000, scaling: scaling), headSize: 16)
        let stored = try fields.array(name).map { $0.doubleValue ?? .nan }
        #expect(rotary.frequencies.count == stored.count)
        for (own, other) in zip(rotary.frequencies, stored) { #expect(abs(own - other) < 2e-6 * other) }
    }
}
