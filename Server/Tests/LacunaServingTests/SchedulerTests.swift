import Dispatch
import LacunaInfer
import LacunaModels
import LacunaSparse
import LacunaTensor
import ServingFixtures
import Testing

@testable import LacunaServing

struct SchedulerTests {
    private let tiny = try! TinyModel()
    private var decoder: Transformer { tiny.model.decoder }

    private func prompt(_ count: Int, seed: Int) -> [Int] { (0..<count).map { ($0 * 37 + seed * 11 + $0 * $0) % 256 } }

    private func scheduler(
        slots: Int = 8, queue: Int = 64, promptRows: Int = 7, metrics: ServerMetrics = .init(), shares: Bool = true
    ) throws -> Scheduler {
        try Scheduler(
            decoder, limits: .init(slots: slots, queue: queue, context: 256, promptRows: promptRows),
            sharesPrefixes: shares, metrics: metrics)
    }

    /// Eight at once say token for token what each says alone, and what whole forward passes say: prompts shorter and longer than
    /// a step takes, more of them than there are places, of different lengths.
    @Test(arguments: [3, 8], [false, true])
    func companyChangesNothing(slots: Int, shares: Bool) async throws {
        let scheduler = try scheduler(slots: slots, shares: shares)
        let requests = (0..<8).map { i in
            GenerationRequest(prompt: prompt([1, 3, 9, 40, 7, 20, 64, 14][i], seed: i), maximumTokens: 12 + i)
        }
        let together = try await scheduler.results(of: requests)
        for (request, found) in zip(requests, together) {
            #expect(
                found.tokens[0] == (try reference(decoder, request.prompt, count: request.maximumTokens)),
                "\(request.prompt.count)")
            #expect(found.reasons == [.length])
            let alone = try await self.scheduler(slots: 1).results(of: [request])
            #expect(alone[0].tokens == found.tokens)
        }
        #expect(!scheduler.isBusy)
    }

    /// To the last bit, also of weights whose products with one row and with several are different ones.
    @Test(arguments: [ValueType.int8, .bf16])
    func exactTexts(values: ValueType) async throws {
        let stored = try decoder.sparsified { _, matrix in
            try WeightStore.make(matrix.densified(), layout: .dense, values: values)
        }
        let requests = (0..<8).map { i in
            GenerationRequest(prompt: prompt(20, seed: 1) + [i], maximumTokens: 10, alternatives: 1)
        }
        func results(_ requests: [GenerationRequest]) async throws -> [Scheduler.Result] {
            try await Scheduler(stored, limits: .init(slots: 8, context: 256, promptRows: 7, isExact: true))
                .results(of: requests)
        }
        let together = try await results(requests)
        for (request, found) in zip(requests, together) {
            let alone = try await results([request])[0]
            #expect(alone.tokens == found.tokens && alone.scores == found.scores)
            #expect(found.usage?.cachedTokens == 0)
        }
    }

    /// However requests end, nothing holds what belonged to them.
    @Test(arguments: ["done", "failed", "left", "dropped"]) func endedRequestsAreLetGo(how: String) async throws {
        final class Last: Sendable {
            weak let run: GenerationRun?
            init(_ run: GenerationRun) { self.run = run }
        }
        let scheduler = try scheduler()
        func last() async throws -> Last {
            let running = try GenerationRun.start(
                [GenerationRequest(prompt: prompt(9, seed: 1), maximumTokens: how == "done" ? 5 : 200, choices: 2)],
                offsets: [0], stops: [], tokenizer: tiny.model.tokenizer, scheduler: scheduler,
                within: how == "failed" ? 0 : .infinity)
            if how == "dropped" { return Last(running.run) }
            for await event in running.events where how == "left" {
                if case .text = event { running.cancel() }
                break
            }
            return Last(running.run)
        }
        let last = try await last()
        for _ in 0..<1000 where last.run != nil || scheduler.isBusy { try await Task.sleep(for: .milliseconds(5)) }
        #expect(last.run == nil)
    }

    /// Those that come while others are written too.
    @Test func lateComers() async throws {
        let scheduler = try scheduler(slots: 4)
        let texts = try await withThrowingTaskGroup(of: (Int, [Int]).self) { group in
            for i in 0..<12 {
                group.addTask {
                    try await Task.sleep(for: .milliseconds(i * 3))
                    let request = GenerationRequest(prompt: self.prompt(5 + i, seed: i), maximumTokens: 30)
                    return (i, try await scheduler.results(of: [request])[0].tokens[0])
                }
            }
            return try await group.reduce(into: [Int: [Int]]()) { $0[$1.0] = $1.1 }
        }
        for i in 0..<12 { #expect(texts[i] == (try reference(decoder, prompt(5 + i, seed: i), count: 30))) }
    }

    @Test func prefixesAreShared() async throws {
        let metrics = ServerMetrics()
        let scheduler = try scheduler(metrics: metrics)
        let shared = prompt(60, seed: 1)
        // At once: the first reads, the others wait for it.
        let requests = (0..<4).map { GenerationRequest(prompt: shared + [$0 + 1], maximumTokens: 6) }
        let found = try await scheduler.results(of: requests)
        #expect(found.map { $0.usage!.cachedTokens } == [0, 60, 60, 60])
        for (request, result) in zip(requests, found) {
            #expect(result.tokens[0] == (try reference(decoder, request.prompt, count: 6)))
        }
        #expect(metrics.steps.rows < 60 + 4 * 10)
        // Later, with a turn more, and with another one than was said.
        let turn = requests[2].prompt + found[2].tokens[0]
        let next = try await scheduler.results(of: [GenerationRequest(prompt: turn + [7, 8, 9], maximumTokens: 5)])
        #expect(next[0].usage!.cachedTokens == turn.count - 1)
        #expect(next[0].tokens[0] == (try reference(decoder, turn + [7, 8, 9], count: 5)))
        let other = Array(turn[..<62]) + [3, 3, 3]
        let last = try await scheduler.results(of: [GenerationRequest(prompt: other, maximumTokens: 5)])
        #expect(last[0].usage!.cachedTokens >= 60)
        #expect(last[0].tokens[0] == (try reference(decoder, other, count: 5)))
        // The whole prompt is known: its last token is read all the same.
        let again = try await scheduler.results(of: [GenerationRequest(prompt: other, maximumTokens: 5)])
        #expect(again[0].usage!.cachedTokens == other.count - 1 && again[0].tokens == last[0].tokens)
    }

    @Test func choicesReadThePromptOnce() async throws {
        let metrics = ServerMetrics()
        let scheduler = try scheduler(metrics: metrics)
        let sampling = Sampler.Options(temperature: 1, seed: 40)
        let request = GenerationRequest(prompt: prompt(30, seed: 2), maximumTokens: 9, choices: 3, sampling: sampling)
        let found = try await scheduler.results(of: [request])[0]
        #expect(found.reasons == [.length, .length, .length] && Set(found.tokens).count == 3)
        #expect(metrics.steps.rows == 30 + 3 * 8)
        #expect(found.usage?.promptTokens == 30 && found.usage?.completionTokens == 27)
        // Each is what its seed says alone.
        for choice in 0..<3 {
            var alone = request
            alone.choices = 1
            alone.sampling.seed = 40 + UInt64(choice)
            #expect(try await scheduler.results(of: [alone])[0].tokens[0] == found.tokens[choice])
        }
    }

    @Test func scoresAreThoseOfWholePasses() async throws {
        let scheduler = try scheduler(promptRows: 7)
        let tokens = prompt(25, seed: 3)
        let expected = try referenceScores(decoder, tokens)
        let request = GenerationRequest(
            prompt: tokens, maximumTokens: 1, alternatives: 2, scoresPrompt: true)
        // Twice: what is known of the prompt from before is read again for its scores.
        for _ in 0..<2 {
            let found = try await scheduler.results(of: [request, request])
            for result in found {
                try #require(result.promptScores.count == 24 && result.scores.count == 1)
                for (i, score) in (result.promptScores + result.scores).enumerated() {
                    let token = i < 24 ? tokens[i + 1] : result.tokens[0][0]
                    #expect(abs(score.logProbability - expected[i][token]) < 1e-4)
                    #expect(score.alternatives.count == 2)
                    #expect(abs(score.alternatives[0].logProbability - expected[i].max()!) < 1e-4)
                }
            }
        }
        // Scores alone.
        var alone = request
        alone.maximumTokens = 0
        let none = try await scheduler.results(of: [alone])[0]
        #expect(none.promptScores.count == 24 && none.tokens == [[]] && none.reasons == [.length])
        alone.prompt = [9]
        let single = try await scheduler.results(of: [alone])[0]
        #expect(single.promptScores.isEmpty && single.reasons == [.length])
    }

    @Test func endsAndEdits() async throws {
        let scheduler = try scheduler()
        let tokens = prompt(10, seed: 4)
        let text = try reference(decoder, tokens, count: 8)
        let end = text[5]
        let expected = Array(text[..<text.firstIndex(of: end)!])
        var request = GenerationRequest(prompt: tokens, maximumTokens: 8, endTokens: [end])
        let ended = try await scheduler.results(of: [request])[0]
        #expect(ended.tokens[0] == expected && ended.reasons == [.stop])
        #expect(ended.usage?.completionTokens == expected.count + 1)
        request.endTokens = []
        request.edits = LogitEdits(bias: [text[0]: -100])
        #expect(try await scheduler.results(of: [request])[0].tokens[0][0] != text[0])
        request.edits = LogitEdits(bias: [123: 100])
        #expect(try await scheduler.results(of: [request])[0].tokens[0] == [Int](repeating: 123, count: 8))
        // 100 above all others, and 60 less for every time it was written: other tokens' turn comes.
        request.edits = LogitEdits(bias: [123: 100], frequencyPenalty: 60)
        let penalised = try await scheduler.results(of: [request])[0].tokens[0]
        #expect(penalised[..<2] == [123, 123] && penalised[2] != 123)
        request.edits = LogitEdits(bias: [123: 100], presencePenalty: 60)
        #expect(try await scheduler.results(of: [request])[0].tokens[0] == [Int](repeating: 123, count: 8))
        request.edits = LogitEdits(bias: [123: 100], presencePenalty: 120)
        #expect(try await scheduler.results(of: [request])[0].tokens[0].filter { $0 == 123 }.count == 1)
        // What is edited is not what is scored.
        request.edits = LogitEdits(bias: [123: 100])
        request.alternatives = 1
        let scored = try await scheduler.results(of: [request])[0]
        #expect(scored.tokens[0][0] == 123 && scored.scores[0].alternatives[0].token == text[0])
        #expect(scored.scores[0].logProbability < scored.scores[0].alternatives[0].logProbability)
    }

    @Test func whatIsRefused() async throws {
        let scheduler = try scheduler(slots: 2, queue: 3)
        func error(_ request: GenerationRequest, times: Int = 1) async throws -> APIError? {
            do {
                _ = try await scheduler.results(of: .init(repeating: request, count: times))
                return nil
            } catch let error as APIError { return error }
        }
        let good = GenerationRequest(prompt: [1, 2], maximumTokens: 2)
        #expect(try await error(good, times: 3) == nil)
        #expect(try await error(good, times: 4)?.status == 429)
        var bad = good
        bad.prompt = []
        #expect(try await error(bad)?.parameter == "prompt")
        bad.prompt = [259]
        #expect(try await error(bad)?.status == 400)
        bad = good
        bad.maximumTokens = 255
        #expect(try await error(bad)?.code == "context_length_exceeded")
        bad.maximumTokens = 254
        bad.endTokens = Set(0..<259)
        #expect(try await error(bad) == nil)
        bad.maximumTokens = .max
        #expect(try await error(bad)?.code == "context_length_exceeded")
        bad = good
        bad.choices = 3
        #expect(try await error(bad)?.parameter == "n")
        bad = good
        bad.sampling.topP = 0
        #expect(try await error(bad)?.status == 400)
        bad = good
        bad.scoresPrompt = true
        #expect(try await error(bad)?.status == 400)
        scheduler.drain()
        #expect(try await error(good)?.status == 503)
        #expect(throws: LacunaError.self) { try Scheduler(self.decoder, limits: .init(context: 257)) }
        #expect(throws: LacunaError.self) { try Scheduler(self.decoder, limits: .init(slots: 0, context: 2)) }
    }

    /// Who leaves makes room; who takes too long is told so; both leave the others' answers as they are.
    @Test func cancellationAndDeadlines() async throws {
        let metrics = ServerMetrics()
        let scheduler = try scheduler(slots: 1, metrics: metrics)
        let seen = Locked(0)
        // The text waits after its second token until it has been cancelled.
        let gate = DispatchSemaphore(value: 0)
        let endless = GenerationRequest(prompt: [1, 2, 3], maximumTokens: 250)
        let jobs = try scheduler.submit([endless]) { _, event in
            if case .token = event {
                if seen.withLock({
                    $0 += 1
                    return $0
                }) == 2 {
                    gate.wait()
                }
            }
            return true
        }
        while seen.withLock({ $0 }) < 2 { try await Task.sleep(for: .milliseconds(1)) }
        jobs[0].cancel()
        gate.signal()
        let next = try await scheduler.results(of: [GenerationRequest(prompt: [5, 6], maximumTokens: 4)])
        #expect(next[0].tokens[0] == (try reference(decoder, [5, 6], count: 4)))
        #expect(metrics.cancelled == 1 && seen.withLock { $0 } == 2)
        // A deadline that has passed when the request is looked at, in the queue and in its place.
        let late = try await scheduler.results(of: [endless, endless], within: 0)
        #expect(late.allSatisfy { $0.error?.status == 504 })
        let stopped = try await scheduler.results(of: [GenerationRequest(prompt: [5, 6], maximumTokens: 4)])
        #expect(stopped[0].tokens == next[0].tokens)
    }

    /// A receiver that has enough ends its choice and no other.
    @Test func receiversStop() async throws {
        let scheduler = try scheduler()
        let counts = Locked([0, 0])
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            _ = try! scheduler.submit([GenerationRequest(prompt: [4, 2], maximumTokens: 9, choices: 2)]) { _, event in
                switch event {
                case .token(let choice, _, _):
                    counts.withLock { $0[choice] += 1 }
                    return choice == 1 || counts.withLock { $0[0] } < 3
                case .done: continuation.resume()
                default: break
                }
                return true
            }
        }
        #expect(counts.withLock { $0 } == [3, 9])
    }

    /// Bytes of weights add up to what the steps have read, and company makes them fewer for each.
    @Test func weightBytesAreShared() async throws {
        let bytes = decoder.bytesTouchedPerToken()
        let request = GenerationRequest(prompt: [1, 2, 3], maximumTokens: 5)
        let alone = ServerMetrics()
        let single = try await scheduler(metrics: alone).results(of: [request])[0].usage!
        // The prompt in one step, then a step for each token but the last.
        #expect(single.weightBytes == 5 * bytes && alone.weightBytes == 5 * bytes && alone.steps.count == 5)
        let metrics = ServerMetrics()
        let scheduler = try scheduler(metrics: metrics)
        let requests = (0..<6).map { GenerationRequest(prompt: prompt(9 + $0, seed: $0), maximumTokens: 7) }
        let found = try await scheduler.results(of: requests)
        #expect(found.reduce(0) { $0 + $1.usage!.weightBytes } == metrics.weightBytes)
        #expect(found[0].usage!.weightBytes < single.weightBytes)
        // A prompt in pieces does not read the head before its end.
        let long = ServerMetrics()
        let pieces = try await self.scheduler(metrics: long).results(of: [
            GenerationRequest(prompt: prompt(14, seed: 1), maximumTokens: 1)
        ])
        #expect(pieces[0].usage!.weightBytes == 2 * bytes - decoder.headBytes && long.steps.count == 2)
    }

    /// Keys and values that are forgotten are not shared; a model that leaves something out is served as it is run.
    @Test func skippingModels() async throws {
        var skipping = Skipping()
        try CacheRequest(attention: "window:12", keeping: "int8") { throw LacunaError.cancelled }.apply(to: &skipping)
        let scheduler = try Scheduler(
            decoder, skipping: skipping, limits: .init(slots: 4, context: 256, promptRows: 7), sharesPrefixes: false)
        let requests = (0..<4).map { GenerationRequest(prompt: prompt(40, seed: 1) + [$0], maximumTokens: 8) }
        let found = try await scheduler.results(of: requests)
        let generator = Generator(decoder, skipping: skipping)
        for (request, result) in zip(requests, found) {
            #expect(result.tokens[0] == (try generator.generate(request.prompt, .init(maximumTokens: 8)).tokens))
            #expect(result.usage?.cachedTokens == 0)
        }
    }
}

struct PrefixShelfTests {
    @Test func keepsWhatFits() {
        var shelf = PrefixShelf(isOpen: true, mostSequences: 2, mostBytes: 1000, positionBytes: 10)
        let a = Array(0..<30)
        let b = Array(100..<140)
        #expect(shelf.keep(1, a) == [] && shelf.keep(2, b) == [])
        #expect(shelf.positions == 70)
        #expect(shelf.longest(of: a + [7], atMost: 40)!.shared == 30)
        #expect(shelf.longest(of: Array(a[..<10]) + [7], atMost: 40)!.takesOver == false)
        #expect(shelf.longest(of: Array(a[..<15]) + [7], atMost: 40)!.takesOver)
        #expect(shelf.longest(of: a, atMost: 29)!.shared == 29)
        #expect(shelf.longest(of: [55], atMost: 3) == nil)
        // A continuation takes the place of what it continues; a part of what is there is not kept.
        #expect(shelf.keep(3, a + [1]) == [1] && shelf.keep(4, a) == [4])
        // A third one, and one that is too large with the others.
        #expect(shelf.keep(5, Array(200..<220)) == [2])
        #expect(shelf.keep(6, Array(300..<390)) == [3, 5])
        #expect(shelf.keep(7, Array(0..<200)) == [7] && shelf.keep(8, [1, 2]) == [8])
        #expect(shelf.take(shelf.longest(of: Array(300..<390), atMost: 90)!) == 6 && shelf.positions == 0)
        var closed = PrefixShelf(isOpen: false, mostSequences: 2, mostBytes: 1000, positionBytes: 1)
        #expect(closed.keep(1, a) == [1])
    }
}
