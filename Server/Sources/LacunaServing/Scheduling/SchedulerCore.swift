import LacunaInfer
import LacunaModels
import LacunaTensor

/// The scheduler's work, on its thread alone: who has a place, what the next step reads, and what becomes of its logits.
final class SchedulerCore {
    let engine: TokenEngine
    private let limits: Scheduler.Limits
    private let meter: SkippingMeter?
    /// Whether a prompt goes through one step: what is left out may depend on where it is cut.
    private let readsPromptsWhole: Bool
    private let metrics: ServerMetrics
    private let stepBytes: Int
    private let headBytes: Int

    private var queue: [Job] = []
    private var streams: [Stream] = []
    private var prefixes: PrefixShelf
    /// Choices that have left the queue since the last ``advance()``.
    private var left = 0

    init(
        _ engine: TokenEngine, limits: Scheduler.Limits, sharesPrefixes: Bool, meter: SkippingMeter?,
        readsPromptsWhole: Bool, metrics: ServerMetrics
    ) {
        (self.engine, self.limits, self.meter, self.metrics) = (engine, limits, meter, metrics)
        self.readsPromptsWhole = readsPromptsWhole
        stepBytes = engine.decoder.bytesTouchedPerToken()
        headBytes = engine.decoder.headBytes
        let configuration = engine.decoder.configuration
        prefixes = PrefixShelf(
            isOpen: sharesPrefixes, mostSequences: limits.slots, mostBytes: limits.keptBytes,
            positionBytes: 2 * configuration.layerCount * configuration.keyValueWidth * MemoryLayout<Float>.size)
    }

    /// Whether nothing is to be done.
    var isIdle: Bool { queue.isEmpty && streams.isEmpty }

    func enqueue(_ jobs: [Job]) { queue += jobs }

    /// One step for everybody who has a place.
    ///
    /// - Returns: Choices that have left the queue.
    func advance() -> Int {
        left = 0
        dropUnwanted()
        admit()
        for stream in streams where stream.sequence == nil { attach(stream) }
        step()
        metrics.note(
            active: streams.count, queued: queue.reduce(0) { $0 + $1.request.choices },
            cachedPositions: streams.reduce(0) { $0 + $1.read } + prefixes.positions)
        return left
    }

    // MARK: Who has a place

    /// Ends what nobody waits for, and what takes too long.
    private func dropUnwanted() {
        let now = ServingClock.seconds
        func isUnwanted(_ job: Job) -> Bool {
            if job.progress.value.isOver { return true }
            if job.isCancelled {
                metrics.noteCancelled()
                over(job)
                return true
            }
            if now >= job.deadline {
                fail(job, .tooLong(job.deadline - job.arrival))
                return true
            }
            return false
        }
        queue.removeAll { job in
            guard isUnwanted(job) else { return false }
            left += job.request.choices
            return true
        }
        for stream in streams where isUnwanted(stream.job) { release(stream) }
        streams.removeAll { $0.job.progress.value.isOver }
    }

    private func over(_ job: Job) {
        job.progress.value.isOver = true
        metrics.note(job.progress.value.usage)
    }

    private func fail(_ job: Job, _ error: APIError) {
        if job.progress.value.isOver { return }
        over(job)
        _ = job.receive(.failed(error))
    }

    private func admit() {
        var taken = streams.reduce(0) { $0 + reserved($1) }
        while let job = queue.first, taken + job.request.choices <= limits.slots {
            queue.removeFirst()
            left += job.request.choices
            taken += job.request.choices
            job.progress.value.usage.promptTokens = job.request.prompt.count
            job.progress.value.usage.queueSeconds = ServingClock.seconds - job.arrival
            job.progress.value.unfinished = job.request.choices
            do {
                let stream = try Stream(job, choice: 0, tokens: job.request.prompt)
                if job.request.maximumTokens == 0 && !job.request.scoresPrompt {
                    // Nothing of it would be seen.
                    for choice in 0..<job.request.choices { end(job, choice, .length) }
                } else {
                    streams.append(stream)
                }
            } catch {
                fail(job, APIError(error))
            }
        }
    }

    /// Places of a stream: until its prompt is read, the first choice holds those of all.
    private func reserved(_ stream: Stream) -> Int { stream.isReadingPrompt ? stream.job.request.choices : 1 }

    /// Finds a sequence for a prompt: one that begins alike if there is one, and none yet if one that does is being read.
    private func attach(_ stream: Stream) {
        // Tokens that are to be scored are read, and the last one always, for the logits after it.
        let most = stream.job.request.scoresPrompt ? 0 : stream.promptCount - 1
        do {
            let source = prefixes.longest(of: stream.tokens, atMost: most)
            var (shared, active): (Int, Stream?) = (source?.shared ?? 0, nil)
            var toCome = 0
            for other in streams where other !== stream && other.sequence != nil && prefixes.isOpen {
                let common = zip(other.tokens, stream.tokens).prefix { $0 == $1 }.count
                let ready = min(common, other.read, most)
                if ready > shared { (shared, active) = (ready, other) }
                if other.isReadingPrompt { toCome = max(toCome, min(common, other.promptCount, most)) }
            }
            if toCome > shared && toCome >= PrefixShelf.worthwhile { return }
            if shared < PrefixShelf.worthwhile {
                stream.sequence = try engine.addSequence(context: limits.context)
                return
            }
            if let active, let sequence = active.sequence {
                stream.sequence = try engine.fork(sequence)
            } else if let source {
                stream.sequence = try source.takesOver ? prefixes.take(source) : engine.fork(source.sequence)
            }
            try engine.store(of: stream.sequence!).truncate(to: shared)
            stream.read = shared
            stream.job.progress.value.usage.cachedTokens = shared
        } catch {
            fail(stream.job, APIError(error))
        }
    }

    /// Gives a stream's sequence up, or keeps it for prompts that begin alike.
    private func release(_ stream: Stream) {
        guard let sequence = stream.sequence else { return }
        stream.sequence = nil
        for dropped in prefixes.keep(sequence, Array(stream.tokens[..<stream.read])) { engine.remove(dropped) }
    }

    // MARK: Steps

    private struct Part {
        let stream: Stream
        let sequence: Int
        let rows: Int
        let wanted: TokenBatch.Wanted
        /// Rows with logits.
        let logits: Int
    }

    private func step() {
        var parts: [Part] = []
        func append(_ stream: Stream, _ sequence: Int, rows: Int) {
            let end = stream.read + rows
            let wanted: TokenBatch.Wanted =
                stream.isReadingPrompt
                ? (stream.job.request.scoresPrompt ? .all : end == stream.promptCount ? .last : .none) : .last
            let logits = wanted == .all ? rows : wanted == .last ? 1 : 0
            parts.append(Part(stream: stream, sequence: sequence, rows: rows, wanted: wanted, logits: logits))
        }
        for stream in streams where !stream.isReadingPrompt {
            if let sequence = stream.sequence { append(stream, sequence, rows: 1) }
        }
        var room = limits.promptRows
        for stream in streams where stream.isReadingPrompt && room > 0 {
            guard let sequence = stream.sequence else { continue }
            let rest = stream.promptCount - stream.read
            // Logits of every row take memory: what is scored goes in pieces in any case.
            let rows =
                readsPromptsWhole && !stream.job.request.scoresPrompt
                ? rest : min(rest, limits.isExact ? limits.promptRows : room)
            append(stream, sequence, rows: rows)
            room -= rows
        }
        if limits.isExact {
            // A prompt is cut, and read, as if nobody else were there; tokens go together, each as if it were alone.
            let prompts = parts.filter(\.stream.isReadingPrompt)
            let tokens = parts.filter { !$0.stream.isReadingPrompt }
            if !tokens.isEmpty { run(tokens, apart: true) }
            for part in prompts where part.stream.sequence != nil { run([part]) }
        } else if !parts.isEmpty {
            run(parts)
        }
        for stream in streams where stream.job.progress.value.isOver { release(stream) }
        streams.removeAll { $0.job.progress.value.isOver || $0.sequence == nil && !$0.isReadingPrompt }
    }

    /// One step of the engine.
    private func run(_ parts: [Part], apart: Bool = false) {
        var batch = TokenBatch()
        for part in parts {
            let start = part.stream.read
            batch.append(
                part.stream.tokens[start..<start + part.rows], sequence: part.sequence, at: start, logits: part.wanted)
        }
        let before = meter?.total.bytesSkipped ?? 0
        let start = ServingClock.seconds
        do {
            var logits = try engine.step(batch, apart: apart)
            account(parts, skipped: (meter?.total.bytesSkipped ?? 0) - before, since: start)
            let vocabulary = engine.decoder.configuration.vocabularySize
            logits.withMutablePointer { pointer in
                var row = 0
                for part in parts {
                    let rows = UnsafeMutableBufferPointer(
                        start: pointer + row * vocabulary, count: part.logits * vocabulary)
                    row += part.logits
                    part.stream.read += part.rows
                    do {
                        try take(rows, of: part, vocabulary: vocabulary)
                    } catch {
                        fail(part.stream.job, APIError(error))
                    }
                }
            }
        } catch {
            for part in parts { fail(part.stream.job, APIError(error)) }
        }
    }

    /// Gives each request its rows' share of what the step read, whole bytes that add up.
    private func account(_ parts: [Part], skipped: Int, since start: Double) {
        let readsHead = parts.contains { $0.logits > 0 }
        let bytes = max(0, stepBytes - (readsHead ? 0 : headBytes) - skipped)
        let rows = parts.reduce(0) { $0 + $1.rows }
        var done = 0
        for part in parts {
            let (from, to) = (bytes.shared(done, of: rows), bytes.shared(done + part.rows, of: rows))
            part.stream.job.progress.value.usage.weightBytes += to - from
            done += part.rows
        }
        metrics.noteStep(seconds: ServingClock.seconds - start, rows: rows, bytes: bytes)
    }

    /// What becomes of the logits of a stream.
    private func take(_ logits: UnsafeMutableBufferPointer<Float>, of part: Part, vocabulary: Int) throws {
        let (stream, job) = (part.stream, part.stream.job)
        if part.logits == 0 || job.progress.value.isOver { return }
        func row(_ index: Int) -> UnsafeMutableBufferPointer<Float> {
            UnsafeMutableBufferPointer(rebasing: logits[index * vocabulary..<(index + 1) * vocabulary])
        }
        let hasReadPrompt = stream.read == stream.promptCount && stream.generated == 0
        if job.request.scoresPrompt && stream.read <= stream.promptCount && stream.generated == 0 {
            // The logits after a token are those of the next one; after the last one they are the first answer's.
            let first = stream.read - part.rows + 1
            let scored = hasReadPrompt ? part.rows - 1 : part.rows
            let scores = try Self.scores(
                (0..<scored).map { stream.tokens[first + $0] }, row, alternatives: job.request.alternatives ?? 0)
            if !scores.isEmpty { _ = job.receive(.promptScores(scores)) }
        }
        guard hasReadPrompt else {
            if stream.read < stream.promptCount { return }
            return try choose(stream, row(0))
        }
        let last = row(part.logits - 1)
        if job.request.maximumTokens == 0 {
            noteFirstToken(job)
            for choice in 0..<job.request.choices { end(job, choice, .length) }
            return
        }
        // Each choice gets the logits as they are, before those of another are changed.
        let original = job.request.choices > 1 ? Array(last) : []
        var others: [Stream] = []
        for choice in 1..<max(job.request.choices, 1) {
            let other = try Stream(job, choice: choice, tokens: stream.tokens)
            other.sequence = try engine.fork(stream.sequence!)
            other.read = stream.read
            others.append(other)
        }
        streams += others
        try choose(stream, last)
        for other in others {
            _ = last.update(fromContentsOf: original)
            try choose(other, last)
        }
    }

    /// Scores of tokens, each by the row before it.
    private static func scores(
        _ tokens: [Int], _ row: (Int) -> UnsafeMutableBufferPointer<Float>, alternatives: Int
    ) throws -> [TokenScore] {
        let results = Locked([(any Error)?](repeating: nil, count: tokens.count))
        let scores = UnsafeMutableBufferPointer<TokenScore?>.allocate(capacity: tokens.count)
        scores.initialize(repeating: nil)
        defer {
            scores.deinitialize()
            scores.deallocate()
        }
        let rows = tokens.indices.map(row)
        Parallel.forRanges(tokens.count, grain: 2) { range in
            for i in range {
                do {
                    // The row itself is needed no more, but for the last one, which is not among these.
                    scores[i] = try TokenScore(tokens[i], logits: rows[i], alternatives: alternatives)
                } catch {
                    results.withLock { $0[i] = error }
                }
            }
        }
        if let error = results.withLock({ $0.compactMap { $0 }.first }) { throw error }
        return scores.map { $0! }
    }

    private func noteFirstToken(_ job: Job) {
        if job.progress.value.firstToken != nil { return }
        let now = ServingClock.seconds
        job.progress.value.firstToken = now
        job.progress.value.usage.firstTokenSeconds = now - job.arrival
        metrics.noteFirstToken(seconds: now - job.arrival)
    }

    /// The next token of a stream. Overwrites the logits.
    private func choose(_ stream: Stream, _ logits: UnsafeMutableBufferPointer<Float>) throws {
        let (job, request) = (stream.job, stream.job.request)
        // What the model itself holds to be probable is scored, before anything is changed about it.
        let copy = request.alternatives == nil ? [] : Array(logits)
        if !request.edits.isEmpty { request.edits.apply(to: logits, written: stream.written) }
        if stream.constraint != nil {
            stream.constraint?.restrict(logits)
            guard logits.contains(where: { $0 > -.infinity }) else {
                throw APIError.internalError("No token of the model can go on with the answer as it was asked for.")
            }
        }
        let token = try stream.sampler.sample(UnsafeBufferPointer(logits))
        noteFirstToken(job)
        job.progress.value.usage.completionTokens += 1
        if request.endTokens.contains(token) { return finish(stream, .stop) }
        var score: TokenScore?
        if let count = request.alternatives {
            _ = logits.update(fromContentsOf: copy)
            score = try TokenScore(token, logits: logits, alternatives: count)
        }
        stream.tokens.append(token)
        stream.written[token, default: 0] += 1
        stream.constraint?.accept(token)
        let goesOn = job.receive(.token(choice: stream.choice, token: token, score: score))
        if !goesOn || stream.constraint?.isComplete == true { return finish(stream, .stop) }
        if stream.generated >= request.maximumTokens { finish(stream, .length) }
    }

    private func finish(_ stream: Stream, _ reason: FinishReason) {
        release(stream)
        end(stream.job, stream.choice, reason)
    }

    private func end(_ job: Job, _ choice: Int, _ reason: FinishReason) {
        _ = job.receive(.finished(choice: choice, reason))
        job.progress.value.unfinished -= 1
        guard job.progress.value.unfinished == 0 else { return }
        if let first = job.progress.value.firstToken {
            job.progress.value.usage.textSeconds = ServingClock.seconds - first
        }
        over(job)
        _ = job.receive(.done(job.progress.value.usage))
    }
}

extension Int {
    /// `self · part / whole`, rounded down, without overflow for what a computer holds.
    fileprivate func shared(_ part: Int, of whole: Int) -> Int {
        let (high, low) = multipliedFullWidth(by: part)
        return whole.dividingFullWidth((high, low)).quotient
    }
}
