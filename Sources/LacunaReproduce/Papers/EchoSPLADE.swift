import Lacuna

/// Checks what a second copy of a text is worth to sparse vectors from a causal language model.
struct EchoSPLADEReproduction: Reproduction {
    let shortName = "EchoSPLADE"
    let paper = 27
    let title = "Mistral-SPLADE: LLMs for better Learned Sparse Retrieval"
    let arXiv: String? = "2408.11119"
    let claim =
        "A decoder makes learned sparse vectors if it reads a text twice: the positions of the second copy know all of it, those of a "
        + "single one only what stands before them."

    /// What is read of a text.
    private enum Arm: String, CaseIterable {
        case first = "first token of one copy"
        case echoFirst = "first token of the second copy"
        case whole = "one copy"
        case echo = "the second copy"

        var isEchoed: Bool { self == .echoFirst || self == .echo }
        var readTokens: Int? { self == .first || self == .echoFirst ? 1 : nil }
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 600 : 1500
        var (found, terms): ([Arm: Sample], [Arm: Sample]) = ([:], [:])
        var done = 0
        for index in 0..<seeds {
            let seed = context.seed &* 1000 &+ UInt64(index)
            let task = CodebookTask(seed: seed)
            for arm in Arm.allCases {
                try context.progress.report("retrievers", done, of: seeds * Arm.allCases.count)
                done += 1
                var generator = SeededGenerator(seed: seed, stream: 1)
                let network = try TrainableTransformer(
                    TransformerConfiguration(
                        vocabularySize: CodebookTask.terms, hiddenSize: 32, intermediateSizes: [64], headCount: 2,
                        keyValueHeadCount: 2, headSize: 16, maximumPositions: 2 * CodebookTask.length,
                        tiedEmbeddings: true), using: &generator)
                let document = TrainableEchoEncoder(network, isEchoed: arm.isEchoed)
                document.readTokens = arm.readTokens
                let model = try LexicalRetriever(
                    query: BinaryTermEncoder(terms: CodebookTask.terms, scale: 1), document: document,
                    documentRegularizer: SparsityRegularizer(.flops, weight: 0.001, warmUp: steps / 3))
                try task.batches(seed: seed).train(model, steps: steps, learningRate: 0.005) { batch, tape in
                    model.loss(batch.content, step: batch.step, on: tape)
                }
                let test = task.test(seed: seed)
                found[arm, default: Sample()].values.append(try PairRanking(model, test).recall(at: 1))
                let vectors = try model.encodeDocuments(test.documents)
                terms[arm, default: Sample()].values.append(Double(vectors.count) / Double(vectors.rows))
            }
        }
        func of(_ arm: Arm) -> Sample { found[arm]! }
        return Outcome(
            setting:
                "one causal layer, width 32, \(steps) steps of 24 documents: what the first of five tokens means depends on the last; "
                + "\(CodebookTask.meanings) documents told apart by 3 terms each; \(seeds) seeds",
            measurements: Arm.allCases.map { of($0).measured("Recall@1, \($0.rawValue)") }
                + Arm.allCases.map { terms[$0]!.measured("terms a document, \($0.rawValue)") },
            checks: [
                Check(
                    "the first token of one copy finds no more than its own four meanings allow", of(.first),
                    staysBelow: 0.35),
                Check("that of the second copy tells them apart", of(.echoFirst), exceeds: 0.9),
                Check("by far", of(.echoFirst) - of(.first), exceeds: 0.5),
                Check("all of the second copy is not worse than all of one", of(.echo) - of(.whole), exceeds: -0.05),
            ])
    }
}

/// Documents whose first token has one of four meanings, which the last token decides.
struct CodebookTask: Sendable {
    static let (words, codebooks, fillers, targets) = (12, 4, 20, 24)
    static var terms: Int { words + codebooks + fillers + targets }
    static var meanings: Int { words * codebooks }
    static let length = 5
    /// Three terms for each word in each codebook.
    let table: [[Int]]

    init(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, stream: 0xC0DE)
        let first = Self.terms - Self.targets
        var (chosen, seen): ([[Int]], Set<[Int]>) = ([], [])
        while chosen.count < Self.meanings {
            let triple = (0..<Self.targets).shuffled(using: &generator).prefix(3).map { $0 + first }.sorted()
            if seen.insert(triple).inserted { chosen.append(triple) }
        }
        table = chosen
    }

    private func document(_ meaning: Int, using generator: inout SeededGenerator) -> [Int] {
        let between = (0..<Self.length - 2).map { _ in
            Self.words + Self.codebooks + Int.random(in: 0..<Self.fillers, using: &generator)
        }
        return [meaning / Self.codebooks] + between + [Self.words + meaning % Self.codebooks]
    }

    struct Step: Sendable {
        var content: LexicalRetriever.Batch
        var step: Int
    }

    /// 24 documents with the terms that they mean as queries; documents of one meaning are no negatives of each other.
    func batches(seed: UInt64) -> DrawnBatches<Step> {
        DrawnBatches(seed: seed) { [self] step, generator in
            let meanings = (0..<24).map { _ in Int.random(in: 0..<Self.meanings, using: &generator) }
            var batch = LexicalRetriever.Batch(
                queries: meanings.map { table[$0] },
                documents: meanings.map { document($0, using: &generator) })
            batch.excluded = meanings.map { meaning in Set(meanings.indices.filter { meanings[$0] == meaning }) }
            return Step(content: batch, step: step)
        }
    }

    /// One document of each meaning.
    func test(seed: UInt64) -> TokenPairs {
        var generator = SeededGenerator(seed: seed, stream: 0x7E57)
        return TokenPairs(
            queries: table, documents: (0..<Self.meanings).map { document($0, using: &generator) })
    }
}
