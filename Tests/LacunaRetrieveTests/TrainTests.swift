import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRetrieve

@Suite struct TrainTests {
    private let texts = TokenTexts([[3, 1, 3], [], [0, 4]])

    private func rows(_ variable: Variable<Float>) -> [[Float]] {
        variable.withPointer { p in
            (0..<variable.rows).map { i in (0..<variable.columns).map { p[i * variable.columns + $0] } }
        }
    }

    @Test func binaryAndTableWeights() throws {
        let tape = Tape<Float>()
        let binary = BinaryTermEncoder(terms: 5, scale: 0.25)
        #expect(rows(binary(texts, on: tape)) == [[0, 0.25, 0, 0.25, 0], [0, 0, 0, 0, 0], [0.25, 0, 0, 0, 0.25]])
        let table = TableTermEncoder([1, 2, 3, 4, -5])
        #expect(rows(table(texts, on: tape)) == [[0, 2, 0, 4, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
        #expect(table.trainableParameters.isEmpty && binary.trainableParameters.count == 1)
    }

    @Test func repeatedTermsCountByTheLargest() {
        let tape = Tape<Float>()
        let weights = tape.variable(Tensor<Float>([0.5, 2, 0.75, 1, 3]))
        let y = weights.largestOfTerms(texts, terms: 5)
        #expect(rows(y) == [[0, 2, 0, 0.75, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 3]])
        tape.backward(from: (y * y).sum())
        let gradient = weights.gradient
        #expect(gradient?.scalars == [0, 4, 1.5, 2, 6])
    }

    @Test func weightsByTheirFormulas() {
        var generator = SeededGenerator(seed: 2)
        let tape = Tape<Float>()
        let all = FactorizedTermEncoder(terms: 5, width: 3, using: &generator)
        all.bias.value = Tensor([0.1, -0.2, 0.3, 0, 0])
        let (e, u, c) = (all.embedding.value, all.output.value, all.bias.value)
        let found = rows(all(texts, on: tape))
        for (row, text) in [[3, 1, 3], [], [0, 4]].enumerated() {
            for j in 0..<5 {
                let logits = text.map { i in (0..<3).reduce(c[j]) { $0 + e[i, $1] * u[j, $1] } }
                let wanted = Float(logarithmOfOnePlus(Double(max(0, logits.max() ?? 0))))
                #expect(abs(found[row][j] - wanted) < 1e-6)
            }
        }
        let mlp = MLPTermEncoder(terms: 5, width: 3, using: &generator)
        let weights = rows(mlp(texts, on: tape))
        let (embedding, w) = (mlp.embedding.value, mlp.score.dense!.parameter.value)
        for (row, term) in [(0, 3), (0, 1), (2, 0), (2, 4)] {
            let score = (0..<3).reduce(Float(1)) { $0 + embedding[term, $1] * w[0, $1] }
            #expect(abs(weights[row][term] - Float(logarithmOfOnePlus(Double(max(0, score))))) < 1e-6)
        }
        #expect(weights[0][0] == 0 && weights[0][4] == 0 && weights[1] == [0, 0, 0, 0, 0])
    }

    @Test func regularizers() throws {
        let tape = Tape<Double>()
        let w = tape.variable(Tensor<Double>([1, 0, 2, 3, 0, 0], shape: [2, 3]))
        let flops = try SparsityRegularizer(.flops, weight: 2, warmUp: 4)
        #expect(flops(w).withPointer { $0[0] } == 4 + 0 + 1)
        #expect(try SparsityRegularizer(.l1, weight: 1)(w).withPointer { $0[0] } == 3)
        #expect((0..<6).map { flops.weight(at: $0) } == [2.0 / 16, 0.5, 18.0 / 16, 2, 2, 2])
        #expect(try SparsityRegularizer(.l1, weight: 3).weight(at: 0) == 3)
        // A batch of equal vectors: the sum of squares.
        let same = tape.constant(Tensor<Double>([1, 2, 1, 2], shape: [2, 2]))
        #expect(flops(same).withPointer { $0[0] } == 5)
        #expect(failure { try SparsityRegularizer(weight: -1) } != nil)
        #expect(failure { try SparsityRegularizer(weight: 1, warmUp: -1) } != nil)
    }

    @Test func losses() throws {
        let tape = Tape<Double>()
        let zero = tape.constant(Tensor<Double>(zeros: [4, 3]))
        #expect(abs(RetrievalLoss.contrastive(zero, zero).withPointer { $0[0] } - logarithm(4)) < 1e-12)
        let (q, d) = (
            tape.constant(Tensor<Double>([1, 0, 0, 2], shape: [2, 2])),
            tape.constant(Tensor<Double>([3, 0, 1, 1, 0, 5], shape: [3, 2]))
        )
        // Scores [[3, 1, 0], [0, 2, 10]]: the second query's own document is the second.
        func softmax(_ scores: [Double], _ own: Int) -> Double {
            logarithm(scores.reduce(0) { $0 + exponential($1) }) - scores[own]
        }
        let wanted = (softmax([3, 1, 0], 0) + softmax([0, 2, 10], 1)) / 2
        #expect(abs(RetrievalLoss.contrastive(q, d).withPointer { $0[0] } - wanted) < 1e-9)
        let cooler = (softmax([1.5, 0.5, 0], 0) + softmax([0, 1, 5], 1)) / 2
        #expect(abs(RetrievalLoss.contrastive(q, d, temperature: 2).withPointer { $0[0] } - cooler) < 1e-9)
        // The third document is from where the second query's is: no negative of it.
        let apart = (softmax([3, 1, 0], 0) + softmax([0, 2], 1)) / 2
        #expect(
            abs(RetrievalLoss.contrastive(q, d, sources: [4, 7, 7]).withPointer { $0[0] } - apart) < 1e-9)
        let (student, teacher) = (
            tape.constant(Tensor<Double>([5, 3, 1], shape: [1, 3])),
            tape.constant(Tensor<Double>([2, 1, 1], shape: [1, 3]))
        )
        // Margins 2 and 4 for 1 and 1.
        #expect(abs(RetrievalLoss.marginMSE(student: student, teacher: teacher).withPointer { $0[0] } - 5) < 1e-12)
    }

    @Test func teachersOfAnyRangeCountAlike() throws {
        let a = Tensor<Float>([0, 1, 2, 7, 7, 7], shape: [2, 3])
        let b = Tensor<Float>([10, -10, 0, 0, 0, 1], shape: [2, 3])
        let mixed = try RetrievalLoss.ensemble([a, b])
        let wanted: [Float] = [15, 7.5, 22.5, 0, 0, 15]
        for (x, y) in zip(mixed.scalars, wanted) { #expect(abs(x - y) < 1e-3) }
        let alone = try RetrievalLoss.ensemble([a], scale: 1)
        #expect(alone[0, 0] == 0 && alone[0, 1] < alone[0, 2] && alone[0, 2] <= 1)
        #expect(failure { try RetrievalLoss.ensemble([]) } != nil)
        #expect(failure { try RetrievalLoss.ensemble([a, Tensor(zeros: [2, 2])]) } != nil)
    }

    @Test func trainingLearnsSynonyms() throws {
        // Terms 0…9 and 10…19 mean the same, pair by pair; 20 is a stop word.
        var generator = SeededGenerator(seed: 3)
        let encoder = FactorizedTermEncoder(terms: 21, width: 12, using: &generator)
        let model = try LexicalRetriever(
            query: encoder, document: encoder,
            documentRegularizer: SparsityRegularizer(weight: 0.05, warmUp: 50))
        #expect(model.parts.count == 1)
        func pair() -> (query: [Int], document: [Int]) {
            let concepts = (0..<10).shuffled(using: &generator).prefix(3)
            func form(_ concept: Int) -> Int { concept + 10 * Int.random(in: 0...1, using: &generator) }
            return (concepts.prefix(2).map(form) + [20], concepts.map(form) + [20])
        }
        let optimizer = Adam(learningRate: 0.03)
        let tape = Tape<Float>()
        var (first, last): (Float, Float) = (0, 0)
        for step in 0..<150 {
            let batch = (0..<16).map { _ in pair() }
            let loss = model.loss(batch.map(\.query), batch.map(\.document), step: step, on: tape)
            if step == 0 { first = loss.withPointer { $0[0] } }
            last = loss.withPointer { $0[0] }
            tape.backward(from: loss)
            optimizer.step(model.trainableParameters)
            model.clearGradients()
            tape.reset()
        }
        #expect(last < first * 0.8)
        // A query in other words finds its document.
        let documents = try model.encodeDocuments([[0, 1, 2, 20], [3, 4, 5, 20], [6, 7, 8, 20]])
        let queries = try model.encodeQueries([[10, 12, 20], [13, 14, 20], [16, 18, 20]])
        let index = try InvertedIndex(documents)
        for row in 0..<3 { #expect(try index.search(queries.row(row), count: 1).documents.first?.document == row) }
        let other = BinaryTermEncoder(terms: 4)
        #expect(failure { try LexicalRetriever(query: other, document: encoder) } != nil)
    }
}

@Suite struct TrainPartTests {
    @Test func structuredSimilarityBeginsAsTheCosine() throws {
        var generator = SeededGenerator(seed: 1)
        let tape = Tape<Float>()
        let (x, y) = (
            tape.constant(Tensor<Float>(normal: [3, 6], using: &generator)),
            tape.constant(Tensor<Float>(normal: [4, 6], using: &generator))
        )
        let cosine = x.rowNormalized().multiplied(by: y.rowNormalized(), otherTransposed: true)
        for size in [1, 2, 3, 6] {
            let similarity = try StructuredSimilarity(width: 6, blockSize: size)
            #expect(similarity.parameterCount == 6 * size)
            let found = similarity(x, y)
            found.withPointer { a in
                cosine.withPointer { b in for i in 0..<12 { #expect(abs(a[i] - b[i]) < 1e-6) } }
            }
            // After a change: the dense formula with the blocks in a matrix of zeros.
            similarity.blocks.value = Tensor(normal: [6 / size, size, size], using: &generator)
            let w = similarity.blocks.value
            let changed = similarity(x, y)
            let (u, v) = (x.rowNormalized(), y.rowNormalized())
            u.withPointer { u in
                v.withPointer { v in
                    changed.withPointer { found in
                        for (i, j) in (0..<3).flatMap({ i in (0..<4).map { (i, $0) } }) {
                            var sum: Float = 0
                            for a in 0..<6 {
                                for b in 0..<6 where a / size == b / size {
                                    sum += u[i * 6 + a] * w[a / size, a % size, b % size] * v[j * 6 + b]
                                }
                            }
                            #expect(abs(found[i * 4 + j] - sum) < 1e-5)
                        }
                    }
                }
            }
        }
        #expect(failure { try StructuredSimilarity(width: 6, blockSize: 4) } != nil)
    }

    @Test func pairsOfEveryTask() throws {
        let pages = [
            LinkedPage(paragraphs: [["a", "b"], ["c", "d", "e"]], links: [1, 0]),
            LinkedPage(paragraphs: [["f"], ["g"]], links: []), LinkedPage(paragraphs: []),
        ]
        var generator = SeededGenerator(seed: 9)
        var seen: [PairTask: Set<String>] = [:]
        for task in PairTask.allCases {
            for _ in 0..<200 {
                let pair = try task.pair(pages, using: &generator)
                seen[task, default: []].insert("\(pair.query)|\(pair.document)|\(pair.source)")
            }
        }
        #expect(seen[.inverseCloze] == ["a|b|0", "b|a|0", "c|d e|0", "d|c e|0", "e|c d|0"])
        #expect(seen[.bodyFirst] == ["a|c d e|0", "b|c d e|0", "f|g|1"])
        #expect(seen[.linked] == ["a|f|1", "b|f|1", "a|g|1", "b|g|1"])
        // A sentence that stands in its paragraph twice is in none of its documents.
        let refrain = [LinkedPage(paragraphs: [["a", "b", "a"]]), LinkedPage(paragraphs: [["c", "c"]])]
        for _ in 0..<50 {
            let pair = try PairTask.inverseCloze.pair(refrain, using: &generator)
            #expect(pair.source == 0 && ["a|b", "b|a a"].contains("\(pair.query)|\(pair.document)"))
        }
        #expect(failure { try PairTask.linked.pair([pages[1]], using: &generator) } != nil)
        #expect(failure { try PairTask.linked.pair([], using: &generator) } != nil)
    }

    @Test func literalTermsAreLifted() {
        let tape = Tape<Float>()
        let texts = TokenTexts([[1, 3], [0]])
        let residual = LiteralResidual(width: 2, terms: 4)
        let w = tape.constant(Tensor<Float>([1, 0, 2, 0, 0, 0, 0, 5], shape: [2, 4]))
        let h = tape.constant(Tensor<Float>([1, 0, 0, 1], shape: [2, 2]))
        func values(_ v: Variable<Float>) -> [Float] { v.withPointer { p in (0..<v.count).map { p[$0] } } }
        #expect(values(residual(w, hidden: h, texts: texts)) == values(w), "it begins as w")
        residual.linear.dense!.parameter.value = Tensor([3, 0, 1, 0, 0, 2, 0, 7], shape: [4, 2])
        // w' is [3 1 0 0] and [0 0 2 7]: literal terms get what they lack to the largest.
        #expect(values(residual(w, hidden: h, texts: texts)) == [1, 2, 2, 3, 7, 0, 0, 5])
        residual.compensates = false
        #expect(values(residual(w, hidden: h, texts: texts)) == [1, 1, 2, 0, 0, 0, 0, 5])
    }

    @Test func theWindowKeepsShortRows() {
        let tape = Tape<Float>()
        let w = tape.variable(Tensor<Float>([1, 4, 2, 3, 0, 7, 0, 8], shape: [2, 4]))
        func values(_ v: Variable<Float>) -> [Float] { v.withPointer { p in (0..<v.count).map { p[$0] } } }
        #expect(values(w.focused(2)) == [0, 4, 0, 3, 0, 7, 0, 8])
        #expect(values(w.focused(1)) == [0, 4, 0, 0, 0, 0, 0, 8])
        #expect(values(w.focused(4)) == values(w))
        tape.backward(from: w.focused(2).sum())
        #expect(w.gradient?.scalars == [0, 1, 0, 1, 1, 1, 1, 1])
    }
}
