import LacunaIO
import LacunaLearn
import LacunaTensor

/// How one side of a retriever reads texts.
struct SideReader: Sendable {
    let input: TextInput
    /// Whether what a tokenizer puts around a text is read too.
    let readsAddedTokens: Bool

    func tokens(_ text: String) -> [Int] { readsAddedTokens ? input.tokens(text) : input.bareTokens(text) }
}

/// Batches of queries with documents that belong to them, a function of the step alone.
struct RetrievalBatches: BatchSource {
    struct Batch: Sendable {
        var content: LexicalRetriever.Batch
        /// Optimiser's steps before this one.
        var step: Int
    }

    /// Where pairs are from.
    enum Origin: Sendable {
        /// Judged, each once an epoch, in an order drawn anew.
        case examples(RetrievalExamples, EpochOrder)
        /// Drawn anew at every step.
        case pages(PairTask, [LinkedPage])
    }

    let origin: Origin
    let query, document: SideReader
    /// Pairs of a batch.
    let size: Int
    /// Negatives chosen for each query, of those that its example has.
    let negatives: Int
    let teachers: [RetrievalTeacher]
    /// What teachers' scores are multiplied by after they were brought to 0…1; nil for their mean as it is.
    let scale: Float?
    /// Batches of a step of the optimiser.
    let accumulation: Int
    let seed: UInt64

    var batchesPerEpoch: Int? {
        guard case .examples(let data, _) = origin else { return nil }
        return (data.examples.count + size - 1) / size
    }

    func batch(step: Int) -> Batch {
        var generator = SeededGenerator(seed: seed, stream: 0x9E7B_0000 &+ UInt64(step))
        var result: LexicalRetriever.Batch
        switch origin {
        case .examples(let data, let order):
            result = batch(data, Array(order.batch(step, of: size)), using: &generator)
        case .pages(let task, let pages):
            // That pages have what the task needs was tried before.
            let pairs = (0..<size).compactMap { _ in try? task.pair(pages, using: &generator) }
            result = .init(
                queries: pairs.map { query.tokens($0.query) }, documents: pairs.map { document.tokens($0.document) })
            result.excluded = pairs.map { pair in Set(pairs.indices.filter { pairs[$0].source == pair.source }) }
        }
        return Batch(content: result, step: step / accumulation)
    }

    private func batch(
        _ data: RetrievalExamples, _ chosen: [Int], using generator: inout SeededGenerator
    ) -> LexicalRetriever.Batch {
        let examples = chosen.map { data.examples[$0] }
        // Documents by their places: one positive each, then the negatives of one query after the other.
        var documents = examples.map { $0.positives.randomElement(using: &generator)! }
        var given = examples.map { [$0.scores?.first ?? 0] }
        for (row, example) in examples.enumerated() where negatives > 0 {
            // Where there are fewer than wanted they come again.
            let order = Array(example.negatives.indices).shuffled(using: &generator)
            for draw in 0..<negatives {
                let place = order[draw % order.count]
                documents.append(example.negatives[place])
                given[row].append(example.scores?[place + 1] ?? 0)
            }
        }
        var batch = LexicalRetriever.Batch(
            queries: examples.map { query.tokens($0.query) },
            documents: documents.map { document.tokens(data.documents[$0]) }, negatives: negatives)
        batch.excluded = examples.map { example in
            let own = Set(example.positives)
            return Set(documents.indices.filter { own.contains(documents[$0]) })
        }
        if !teachers.isEmpty {
            let candidates = RetrievalLoss.candidates(
                queries: examples.count, negatives: negatives, documents: documents.count)
            let opinions = teachers.map { teacher in
                Tensor<Float>(
                    candidates.enumerated().flatMap { row, columns in
                        teacher.scores(chosen[row], columns.map { documents[$0] }, given: given[row])
                    }, shape: [candidates.count, candidates[0].count])
            }
            if let scale {
                batch.teacher = try? RetrievalLoss.ensemble(opinions, scale: scale)
            } else {
                batch.teacher = opinions.dropFirst().reduce(opinions[0], +) / Float(opinions.count)
            }
        }
        return batch
    }
}
