import LacunaInfer
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

struct ScoreTests {
    // MARK: Histograms

    @Test func thresholdsLeaveOutTheirShare() {
        var generator = SeededGenerator(seed: 1)
        func silu() -> Float {
            let x = Float(generator.normal())
            return x / (1 + Float(exponential(Double(-x))))
        }
        let (first, second) = ((0..<20_000).map { _ in silu() }, (0..<20_000).map { _ in silu() })
        var histogram = ScoreHistogram()
        histogram.add(first, count: first.count)
        #expect(histogram.count == 20_000 && histogram.undefined == 0)
        let sorted = first.map(abs).sorted()
        for share in [0.1, 0.5, 0.7, 0.9, 0.999] {
            let threshold = histogram.threshold(leavingOut: share)!
            let exact = sorted[Int(share * 20_000) - 1]
            #expect(abs(threshold / exact - 1) < 0.01)
            #expect(abs(Double(second.count { abs($0) <= threshold }) / 20_000 - share) < 0.012)
            #expect(abs(histogram.share(atMost: threshold) - share) < 0.003)
        }
        #expect(histogram.threshold(leavingOut: 0) == nil)
        #expect(histogram.threshold(leavingOut: 1)! >= sorted.last!)
        #expect(histogram.share(atMost: -1) == 0 && histogram.share(atMost: .greatestFiniteMagnitude) == 1)
    }

    /// Nothing is clipped, however large or small; weights multiply; what is no number is counted apart.
    @Test func histogramsReachEverything() {
        var histogram = ScoreHistogram()
        let x: [Float] = [1e-30, -1e30, 3, .nan, -.infinity, 0]
        histogram.add(x, count: 6)
        #expect(histogram.count == 4 && histogram.undefined == 2)
        #expect(histogram.threshold(leavingOut: 0.25)! < 1e-37)
        #expect(abs(histogram.threshold(leavingOut: 0.5)! / 1e-30 - 1) < 0.003)
        #expect(abs(histogram.threshold(leavingOut: 0.75)! / 3 - 1) < 0.003)
        #expect(abs(histogram.threshold(leavingOut: 1)! / 1e30 - 1) < 0.003)
        var weighted = ScoreHistogram()
        weighted.add([1, -2, 3, -4], count: 4, weights: [4, 1, 1, 0])
        #expect(abs(weighted.threshold(leavingOut: 0.75)! / 3 - 1) < 0.003)
        #expect(abs(weighted.threshold(leavingOut: 1)! / 4 - 1) < 0.003)
        weighted.merge(histogram)
        #expect(weighted.count == 8 && weighted.undefined == 2)
        #expect(abs(weighted.threshold(leavingOut: 1)! / 1e30 - 1) < 0.003)
        #expect(ScoreHistogram().threshold(leavingOut: 0.5) == nil)
    }

    // MARK: Rules

    @Test func rules() {
        let x: [Float] = [0.4, -1, 0.9, 2, -0.5, 0]
        typealias Rule = ActivationGate.Rule
        #expect(Rule(.above(0.5)).active(x, count: 6) == [1, 2, 3])
        #expect(Rule(.above(0)).active(x, count: 6) == [0, 1, 2, 3, 4])
        #expect(Rule(.above(0.5), weights: [10, 0.1, 1, 1, 1, 9]).active(x, count: 6) == [0, 2, 3])
        #expect(Rule(.largest(2)).active(x, count: 6) == [1, 3])
        #expect(Rule(.largest(6)).active(x, count: 6) == [0, 1, 2, 3, 4, 5])
        #expect(Rule(.largest(0)).active(x, count: 6) == [])
        #expect(Rule(.largest(2), weights: [10, 0.1, 1, 1, 1, 9]).active(x, count: 6) == [0, 3])
        // Of equals the later ones, and exactly as many as asked for.
        #expect(Rule(.largest(3)).active([1, -1, 1, 1, 2], count: 5) == [2, 3, 4])
        #expect(Rule(.largest(1)).active([1, .nan], count: 2) == nil)
        let many = (0..<500).map { Float(($0 * 37) % 500) }
        let chosen = Set((450..<500).map { Float($0) })
        #expect(Set(Rule(.largest(50)).active(many, count: 500)!.map { many[Int($0)] }) == chosen)
    }

    /// Each group asks once if its matrices choose alike, and each matrix otherwise.
    @Test func gatesByMatrix() {
        typealias Rule = ActivationGate.Rule
        let one = Rule(.above(1))
        let shared = ActivationGate(inputs: [[.query: one, .key: one, .value: one, .down: Rule(.above(0.1))]])
        #expect(!shared.choosesByMatrix && !shared.choosesNeurons(layer: 0))
        let split = ActivationGate(inputs: [[:], [.query: one]])
        #expect(split.choosesByMatrix)
        let x: [Float] = [0.5, 2]
        #expect(split.active(x, count: 2, layer: 0, roles: [.query]) == nil)
        #expect(split.active(x, count: 2, layer: 1, roles: [.query]) == [1])
        #expect(split.active(x, count: 2, layer: 1, roles: [.key]) == nil)
        #expect(split.active(x, count: 2, layer: 5, roles: [.query]) == nil)
        #expect(shared.active(x, count: 2, layer: 0, roles: [.down]) == [0, 1])
        #expect(shared.active(x, count: 2, layer: 0, roles: [.query, .key, .value]) == [1])
        #expect(shared.active(x, count: 2, layer: 0, roles: [.gate, .up]) == nil)
        // Neurons by what the gate gives or by what it gives before the activation; down reads what is not 0.
        for byActivations in [true, false] {
            let gate = ActivationGate(inputs: [[:]], neurons: [one], byActivations: byActivations)
            #expect(gate.choosesNeurons(layer: 0) && !gate.choosesNeurons(layer: 1))
            #expect(
                gate.neurons(preactivations: [3, 0, 0], activations: [0, -2, 0], count: 3, layer: 0)
                    == (byActivations ? [1] : [0]))
            #expect(gate.active([0, -3, 0], count: 3, layer: 0, roles: [.down]) == [1])
        }
    }

    @Test func columnNorms() throws {
        let weight = Skip.gaussian([70, 5], seed: 2)
        let found = try WeightStore.make(weight, layout: .dense, values: .f32).columnNorms
        for c in 0..<5 {
            let expected = (0..<70).reduce(0.0) { $0 + Double(weight[$1, c] * weight[$1, c]) }.squareRoot()
            #expect(abs(Double(found[c]) - expected) < 1e-5 * expected)
        }
    }

    /// With orthogonal columns the inputs with the largest |x| · norm leave the smallest error of all 210 choices of 4 of 10;
    /// with others they do not always.
    @Test func winaIsOptimalForOrthogonalColumns() throws {
        func best(_ weight: Tensor<Float>, _ x: [Float]) -> (chosen: [UInt32], best: Double, error: Double) {
            let norms = (0..<10).map { c in
                Float((0..<16).reduce(0.0) { $0 + Double(weight[$1, c] * weight[$1, c]) }.squareRoot())
            }
            let chosen = ActivationGate.Rule(.largest(4), weights: norms).active(x, count: 10)!
            func error(_ kept: Set<Int>) -> Double {
                (0..<16).reduce(0.0) { sum, r in
                    let rest = (0..<10).reduce(0.0) {
                        kept.contains($1) ? $0 : $0 + Double(weight[r, $1]) * Double(x[$1])
                    }
                    return sum + rest * rest
                }
            }
            var smallest = Double.infinity
            for a in 0..<10 {
                for b in a + 1..<10 {
                    for c in b + 1..<10 { for d in c + 1..<10 { smallest = min(smallest, error([a, b, c, d])) } }
                }
            }
            return (chosen, smallest, error(Set(chosen.map { Int($0) })))
        }
        var misses = 0
        for seed in 0..<12 {
            var generator = SeededGenerator(seed: UInt64(seed), stream: 120)
            let x = (0..<10).map { _ in Float(generator.normal()) }
            let scales = (0..<10).map { _ in Float(exponential(generator.normal())) }
            let gaussian = Tensor<Float>(normal: [16, 10], using: &generator)
            func scaled(_ w: Tensor<Float>) -> Tensor<Float> {
                Tensor(w.scalars.enumerated().map { $1 * scales[$0 % 10] }, shape: w.shape)
            }
            let orthogonal = best(scaled(try gaussian.qr().q), x)
            #expect(orthogonal.error <= orthogonal.best * (1 + 1e-4))
            let general = best(scaled(gaussian), x)
            if general.error > general.best * (1 + 1e-4) { misses += 1 }
        }
        #expect(misses > 0)
    }

    // MARK: Statistical top-k

    @Test func statisticalCounts() throws {
        #expect(abs(try StatisticalTopK(density: 1106.0 / 13824).quantile - 1.40503) < 1e-4)
        #expect(abs(try StatisticalTopK(density: 0.05).quantile - 1.644854) < 1e-6)
        #expect(abs(try StatisticalTopK(density: 0.5).quantile) < 1e-12)
        var generator = SeededGenerator(seed: 5)
        let (d, k) = (13824, 1106)
        func ratio(_ draw: () -> Double) throws -> Double {
            let x = (0..<d).map { _ in Float(draw()) }
            return Double(try StatisticalTopK(density: Double(k) / Double(d)).active(x, count: d).count) / Double(k)
        }
        let normal = try ratio { generator.normal() }
        let laplace = try ratio { -logarithm(1 - generator.uniform()) * (generator.uniform() < 0.5 ? 1 : -1) }
        let student = try ratio {
            let scale = (0..<3).reduce(0.0) { sum, _ in
                let z = generator.normal()
                return sum + z * z
            }
            return generator.normal() / (scale / 3).squareRoot()
        }
        // As exact as the numbers are normal: an exact top-k would show none of these biases.
        #expect(abs(normal - 1) < 0.06)
        #expect(laplace > 0.78 && laplace < 0.94)
        #expect(student > 0.45 && student < 0.75)
    }

    @Test func statisticalIdentities() throws {
        var generator = SeededGenerator(seed: 6)
        let x = (0..<64).map { _ in Float(generator.normal()) }
        let half = try StatisticalTopK(density: 0.5)
        let mean = x.reduce(0, +) / 64
        #expect(abs(half.threshold(x, count: 64) - mean) < 1e-6)
        #expect(try StatisticalTopK(density: 1).soft(x) == x)
        #expect(try StatisticalTopK(density: 1).active(x, count: 64).count == 64)
        let few = try StatisticalTopK(density: 0.1)
        let soft = few.soft(x)
        let theta = few.threshold(x, count: 64)
        // What is kept is moved by θ, and is the minimiser of θ Σ z + ½ ‖x - z‖² over z ≥ 0.
        for i in 0..<64 { #expect(soft[i] == max(x[i] - theta, 0)) }
        #expect(Set(few.active(x, count: 64).map { Int($0) }) == Set((0..<64).filter { soft[$0] > 0 }))
        for i in 0..<64 {
            let slope = theta + soft[i] - x[i]
            #expect(soft[i] > 0 ? abs(slope) < 1e-6 : slope >= 0)
        }
        let moved = few.soft(x.map { $0 + 3 })
        for i in 0..<64 { #expect(abs(moved[i] - soft[i]) < 1e-5) }
        // At least one survives, the largest.
        #expect(try StatisticalTopK(density: 0.001).active([1, 1.5, 1, 1], count: 4) == [1])
        for density in [0, -1, 1.5, Double.nan] {
            #expect(throws: LacunaError.self) { try StatisticalTopK(density: density) }
        }
    }

    /// The share up to a score counts that score.
    @Test func sharesCountTheirOwnScore() {
        var histogram = ScoreHistogram()
        histogram.add([1, -2, 3, 4], count: 4)
        #expect([0.5, 1, 2.5, 3, 4].map { histogram.share(atMost: $0) } == [0, 0.25, 0.5, 0.75, 1])
    }
}
