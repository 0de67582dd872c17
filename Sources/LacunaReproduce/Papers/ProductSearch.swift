import Lacuna

/// Checks that lifting literal terms by what they lack keeps names that training never saw.
struct ProductSearchReproduction: Reproduction {
    let shortName = "ProductSearch"
    let paper = 30
    let title = "LLMs as Sparse Retrievers: A Framework for First-Stage Product Search"
    let arXiv: String? = "2510.18527"
    let claim =
        "A residual that lifts the terms a query literally has, the more the less a second view of it gives them, finds products by brand "
        + "and number where expansion alone does not; adding the second view instead of what it lacks is weaker."

    private enum Arm: String, CaseIterable {
        case without = "no residual"
        case added = "second view added"
        case compensating = "compensating residual"
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 500 : 1200
        let count = context.quick ? 500 : 2000
        var (seen, unseen): ([Arm: Sample], [Arm: Sample]) = ([:], [:])
        for index in 0..<seeds {
            let seed = context.seed &* 1000 &+ UInt64(index)
            for (place, arm) in Arm.allCases.enumerated() {
                try context.progress.report(
                    "retrievers", index * Arm.allCases.count + place, of: seeds * Arm.allCases.count)
                var generator = SeededGenerator(seed: seed, stream: 1)
                let model = try ProductRetriever(arm == .without ? nil : arm == .compensating, using: &generator)
                try DrawnBatches(seed: seed) { step, generator in
                    ProductCatalogue.pairs(64, brands: ProductCatalogue.known, step: step, using: &generator)
                }.train(model, steps: steps, learningRate: 0.01) { pairs, tape in model.loss(pairs, on: tape) }
                for (brands, isKnown) in [(ProductCatalogue.known, true), (ProductCatalogue.unknown, false)] {
                    var generator = SeededGenerator(seed: context.seed, stream: isKnown ? 2 : 3)
                    let first = try model.ranking(ProductCatalogue.pairs(count, brands: brands, using: &generator))
                        .recall(
                            at: 1)
                    if isKnown {
                        seen[arm, default: Sample()].values.append(first)
                    } else {
                        unseen[arm, default: Sample()].values.append(first)
                    }
                }
            }
        }
        return Outcome(
            setting:
                "titles of a brand and 3 words of 60 categories with 4 synonyms, queries of the brand and 2 words drawn anew; 200 brands in "
                + "training, 200 never; width 48, \(steps) steps of 64 pairs, FLOPS 0.05 of queries and 0.01 of titles; \(count) queries among "
                + "their titles; \(seeds) seeds",
            measurements: Arm.allCases.flatMap {
                [
                    seen[$0]!.measured("Hit@1, brands of the training, \($0.rawValue)"),
                    unseen[$0]!.measured("Hit@1, brands never seen, \($0.rawValue)"),
                ]
            },
            checks: [
                Check(
                    "brands of the training: the residual finds more than none", seen[.compensating]! - seen[.without]!,
                    exceeds: 0),
                Check("and more than a second view that is added", seen[.compensating]! - seen[.added]!, exceeds: 0),
                Check(
                    "brands never seen: the residual finds more than none", unseen[.compensating]! - unseen[.without]!,
                    exceeds: 0.1),
                Check(
                    "and twice as many as a second view that is added", unseen[.compensating]! / unseen[.added]!,
                    exceeds: 2),
            ],
            notes: [
                "The window on the largest terms saves memory here as there (the gradient of a row touches k entries). Gains in quality from it "
                    + "need a pre-trained ranking of a large vocabulary and are not claimed for a bed without one."
            ])
    }
}

/// Product titles: a brand, and words of categories that have synonyms.
enum ProductCatalogue {
    static let (brands, categories, forms) = (400, 60, 4)
    static var terms: Int { brands + categories * forms }
    static let known = 0..<200
    static let unknown = 200..<400

    static func pairs(_ count: Int, brands: Range<Int>, step: Int = 0, using generator: inout SeededGenerator)
        -> TokenPairs
    {
        var pairs = TokenPairs(step: step)
        func word(_ category: Int) -> Int {
            self.brands + category * forms + Int.random(in: 0..<forms, using: &generator)
        }
        for _ in 0..<count {
            let brand = Int.random(in: brands, using: &generator)
            let chosen = Array((0..<categories).shuffled(using: &generator).prefix(3))
            pairs.documents.append([brand] + chosen.map(word))
            pairs.queries.append([brand] + chosen.prefix(2).map(word))
        }
        return pairs
    }
}

/// Weights of all terms with a literal residual over the mean of the tokens' embeddings; the query is brought to length 1.
final class ProductRetriever: Module {
    let encoder: FactorizedTermEncoder
    let residual: LiteralResidual?
    private let queryFLOPS: SparsityRegularizer
    private let documentFLOPS: SparsityRegularizer
    static let width = 48

    /// - Parameter compensates: nil for no residual.
    init(_ compensates: Bool?, using generator: inout SeededGenerator) throws {
        encoder = FactorizedTermEncoder(
            terms: ProductCatalogue.terms, width: Self.width, isTied: false, using: &generator)
        residual = compensates.map {
            let residual = LiteralResidual(width: Self.width, terms: ProductCatalogue.terms)
            residual.compensates = $0
            return residual
        }
        queryFLOPS = try SparsityRegularizer(.flops, weight: 0.05, warmUp: 400)
        documentFLOPS = try SparsityRegularizer(.flops, weight: 0.01, warmUp: 400)
    }

    var parts: [(name: String, part: Any)] {
        [("encoder", encoder)] + (residual.map { [("residual", $0)] } ?? [])
    }

    private func weights(_ texts: [[Int]], on tape: Tape<Float>) -> Variable<Float> {
        let tokens = TokenTexts(texts)
        let weights = encoder(tokens, on: tape)
        guard let residual else { return weights }
        var starts = [0]
        for text in texts.dropLast() { starts.append(starts.last! + text.count) }
        let mean = encoder.embedding.on(tape).embeddingBags(tokens.tokens, starts: starts, isMean: true)
        return residual(weights, hidden: mean.relu().affine(1, 1).map(.logarithm), texts: tokens)
    }

    func loss(_ pairs: TokenPairs, on tape: Tape<Float>) -> Variable<Float> {
        let (q, d) = (weights(pairs.queries, on: tape), weights(pairs.documents, on: tape))
        return RetrievalLoss.contrastive(q.rowNormalized(), d)
            + queryFLOPS(q).affine(Float(queryFLOPS.weight(at: pairs.step)))
            + documentFLOPS(d).affine(Float(documentFLOPS.weight(at: pairs.step)))
    }

    func ranking(_ pairs: TokenPairs) throws -> PairRanking {
        func matrix(_ texts: [[Int]]) throws -> SparseMatrix<Float> {
            let tape = Tape<Float>()
            return try SparseMatrix(tape.evaluating { weights(texts, on: tape).value })
        }
        return try PairRanking(matrix(pairs.queries), matrix(pairs.documents))
    }
}
