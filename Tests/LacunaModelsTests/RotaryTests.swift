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

    /// Pairs turn by position times frequency, 1 and 0.1 here: halves of a head with each other, or neighbours.
    @Test(arguments: [RotaryEmbedding.Layout.halves, .interleaved]) func rotations(layout: RotaryEmbedding.Layout) {
        let rotary = RotaryEmbedding(.init(base: 100, layout: layout), headSize: 4)
        let start: [Float] = [1, -2, 3, 0.5]
        var x = start
        rotary.rotate(&x, position: 7)
        let pairs = layout == .halves ? [(0, 2), (1, 3)] : [(0, 1), (2, 3)]
        for (k, (a, b)) in pairs.enumerated() {
            let angle = 7 * (k == 0 ? 1 : 0.1)
            let (c, s) = (Float(cosine(angle)), Float(sine(angle)))
            #expect(abs(x[a] - (start[a] * c - start[b] * s)) < 1e-6)
            #expect(abs(x[b] - (start[b] * c + start[a] * s)) < 1e-6)
        }
        rotary.rotate(&x, position: -7)
        for i in 0..<4 { #expect(abs(x[i] - start[i]) < 1e-6) }
    }
}
