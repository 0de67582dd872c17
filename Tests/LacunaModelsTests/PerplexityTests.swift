import LacunaModels
import LacunaTensor
import Testing

@testable import LacunaModels

struct PerplexityTests {
    private func window(_ start: Int, _ length: Int, _ first: Int) -> Perplexity.Window {
        .init(start: start, length: length, firstScored: first)
    }

    @Test func windowsWithoutOverlapSkipTheirFirstToken() {
        #expect(Perplexity.windows(count: 8, window: 4, stride: 4) == [window(0, 4, 1), window(4, 4, 1)])
        // A last window of one token has nothing to score.
        #expect(Perplexity.windows(count: 9, window: 4, stride: 4) == [window(0, 4, 1), window(4, 4, 1)])
        #expect(Perplexity.windows(count: 3, window: 4, stride: 4) == [window(0, 3, 1)])
    }

    @Test func overlappingWindowsScoreEveryTokenOnce() {
        for (count, size, stride) in [(20, 6, 2), (21, 6, 4), (7, 3, 1), (50, 16, 5)] {
            var scored = [Int](repeating: 0, count: count)
            for w in Perplexity.windows(count: count, window: size, stride: stride) {
                for i in w.firstScored..<w.length { scored[w.start + i] += 1 }
            }
            #expect(scored == [0] + [Int](repeating: 1, count: count - 1))
        }
    }

    @Test(arguments: [(12, 12), (5, 5), (5, 2), (2, 1)])
    func equalsTheSumOfLogProbabilities(_ size: Int, _ stride: Int) throws {
        let decoder = try makeDecoder(seed: 1)
        let tokens = (0..<31).map { ($0 * $0 + 3) % 50 }
        var loss = 0.0
        var count = 0
        for w in Perplexity.windows(count: tokens.count, window: size, stride: stride) {
            let text = Array(tokens[w.start..<w.start + w.length])
            let logits = try decoder.logits(text)
            for i in w.firstScored..<w.length {
                let row = (0..<50).map { Double(logits[i - 1, $0]) }
                loss += logarithm(row.map { exponential($0) }.reduce(0, +)) - row[text[i]]
                count += 1
            }
        }
        let measured = try Perplexity.measure(decoder, tokens: tokens, window: size, stride: stride)
        #expect(measured.tokens == count)
        #expect(abs(measured.negativeLogLikelihood - loss) < 1e-4 * loss)
        #expect(abs(measured.value - exponential(loss / Double(count))) < 1e-4 * measured.value)
    }

    @Test func argumentsOutOfRangeAreRefused() throws {
        let decoder = try makeDecoder(seed: 2)
        let tokens = Array(0..<20)
        #expect(throws: LacunaError.self) { try Perplexity.measure(decoder, tokens: tokens, window: 1) }
        #expect(throws: LacunaError.self) { try Perplexity.measure(decoder, tokens: tokens, window: 65) }
        #expect(throws: LacunaError.self) { try Perplexity.measure(decoder, tokens: tokens, window: 8, stride: 0) }
        #expect(throws: LacunaError.self) { try Perplexity.measure(decoder, tokens: tokens, window: 8, stride: 9) }
        #expect(throws: LacunaError.self) { try Perplexity.measure(decoder, tokens: [1], window: 8) }
        #expect(throws: LacunaError.self) { try Perplexity.measure(decoder, tokens: [1, 99], window: 8) }
    }

    @Test func logitsThatAreNoNumbersAreReported() throws {
        var decoder = try makeDecoder(seed: 3)
        decoder.finalNorm.weight = Tensor(repeating: .nan, shape: [24])
        #expect(throws: LacunaError.self) { try Perplexity.measure(decoder, tokens: [1, 2, 3], window: 3) }
    }

    @Test func progressIsReportedAndCancels() throws {
        final class Stop: ProgressReporter, @unchecked Sendable {
            var updates = 0
            func update(task: String, completed: Int, total: Int, detail: String) { updates += 1 }
            var isCancelled: Bool { true }
        }
        let decoder = try makeDecoder(seed: 4)
        let stop = Stop()
        #expect(throws: LacunaError.cancelled) {
            try Perplexity.measure(decoder, tokens: Array(0..<40), window: 8, progress: stop)
        }
        #expect(stop.updates == 1)
    }
}
