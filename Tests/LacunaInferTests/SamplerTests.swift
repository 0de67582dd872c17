import LacunaInfer
import LacunaTensor
import Testing

struct SamplerTests {
    private func draw(_ logits: [Float], _ options: Sampler.Options, count: Int) throws -> [Int] {
        var sampler = try Sampler(options)
        return try (0..<count).map { _ in try logits.withUnsafeBufferPointer { try sampler.sample($0) } }
    }

    private func frequencies(_ draws: [Int], _ n: Int) -> [Double] {
        var counts = [Double](repeating: 0, count: n)
        for draw in draws { counts[draw] += 1 / Double(draws.count) }
        return counts
    }

    /// The distribution by definition: everything sorted, everything summed.
    private func reference(_ logits: [Float], _ options: Sampler.Options) -> [Double] {
        let order = logits.indices.sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
        var kept = Array(order.prefix(options.topK ?? logits.count))
        var weights = kept.map { exponential((Double(logits[$0]) - Double(logits[order[0]])) / options.temperature) }
        let total = weights.reduce(0, +)
        var sum = 0.0
        for i in kept.indices {
            sum += weights[i] / total
            if sum >= options.topP {
                kept = Array(kept[...i])
                weights = Array(weights[...i])
                break
            }
        }
        let rest = weights.reduce(0, +)
        var result = [Double](repeating: 0, count: logits.count)
        for (id, weight) in zip(kept, weights) { result[id] = weight / rest }
        return result
    }

    @Test func greedyTakesTheFirstLargest() throws {
        #expect(try draw([1, 5, 5, -2], .greedy, count: 3) == [1, 1, 1])
        #expect(try draw([-.infinity, -3], .greedy, count: 1) == [1])
    }

    @Test(arguments: [
        Sampler.Options(temperature: 1, seed: 1), .init(temperature: 0.5, seed: 2),
        .init(temperature: 1, topK: 3, seed: 3),
        .init(temperature: 1, topP: 0.6, seed: 4), .init(temperature: 2, topK: 4, topP: 0.7, seed: 5),
    ])
    func frequenciesAreThoseOfTheDefinition(_ options: Sampler.Options) throws {
        let logits: [Float] = [0.3, 2, -1, 1.5, 1.5, 0, 1.5, -4]
        let draws = 20_000
        let found = frequencies(try draw(logits, options, count: draws), logits.count)
        for (f, p) in zip(found, reference(logits, options)) {
            #expect(p == 0 ? f == 0 : abs(f - p) < 5 * (p * (1 - p) / Double(draws)).squareRoot() + 1e-9)
        }
    }

    @Test func aNucleusOfMoreThanTheFirstGuessIsFound() throws {
        // 4,000 nearly equal tokens: 90 % of the probability are 3,600 of them, the lowest ids among equals.
        let logits = [Float](repeating: 1, count: 4000)
        let draws = try draw(logits, .init(temperature: 1, topP: 0.9, seed: 6), count: 2000)
        #expect(draws.max()! < 3601 && draws.max()! > 3400)
    }

    @Test func aSeedRepeats() throws {
        let logits = (0..<100).map { Float($0 % 7) }
        let options = Sampler.Options(temperature: 1, seed: 7)
        #expect(try draw(logits, options, count: 50) == draw(logits, options, count: 50))
        #expect(try draw(logits, options, count: 50) != draw(logits, .init(temperature: 1, seed: 8), count: 50))
    }

    @Test func badOptionsAndLogitsAreRefused() throws {
        for options in [
            Sampler.Options(temperature: -1), .init(temperature: .nan), .init(temperature: .infinity),
            .init(temperature: 1, topK: 0), .init(temperature: 1, topP: 0), .init(temperature: 1, topP: 1.1),
        ] {
            #expect(throws: LacunaError.self) { try Sampler(options) }
        }
        for logits: [Float] in [[1, .nan], [.infinity, 1], [-.infinity, -.infinity], []] {
            #expect(throws: LacunaError.self) { try draw(logits, .greedy, count: 1) }
            #expect(throws: LacunaError.self) { try draw(logits, .init(temperature: 1), count: 1) }
        }
    }
}
