import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRetrieve

private func rows(_ variable: Variable<Float>) -> Tensor<Float> {
    variable.withPointer { Tensor(UnsafeBufferPointer(start: $0, count: variable.count), shape: variable.shape) }
}

private func largestDifference(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Float {
    #expect(a.shape == b.shape)
    return zip(a.scalars, b.scalars).reduce(0) { max($0, abs($1.0 - $1.1)) }
}

/// A network of random weights and the fixture's tokenizer.
private func network(seed: UInt64 = 4) throws -> (model: BERT, input: TextInput) {
    let input = try TextInput(Tokenizer(directory: fixture("splade")), maximumLength: 20)
    var generator = SeededGenerator(seed: seed)
    let configuration = try BERTConfiguration(
        vocabularySize: input.tokenizer.vocabularySize, hiddenSize: 12, intermediateSize: 20, layerCount: 2,
        headCount: 3, maximumPositions: 24)
    return (try BERT(random: configuration, using: &generator), input)
}

private let texts = ["wing drag", "the lift of a wing in flow", "heat", "", "drag drag of the wing flow and heat"]

@Suite struct TrainableEncoderTests {
    @Test(arguments: [LexicalPooling.Strategy.max, .sum], [LexicalPooling.Activation.log, .doubleLog])
    func whatIsTrainedIsWhatRuns(strategy: LexicalPooling.Strategy, activation: LexicalPooling.Activation) throws {
        let loaded = try SparseEncoder.load(fixture("splade"))
        let fixed = try #require(loaded.document as? SpladeEncoder)
        let encoder = try TrainableSpladeEncoder(
            TrainableBERT(fixed.model), pooling: LexicalPooling(activation: activation, strategy: strategy))
        let tokens = texts.map { encoder.tokens($0, fixed.input) }
        #expect(tokens[3].count == 2)
        let tape = Tape<Float>()
        let learned = rows(encoder(TokenTexts(tokens), on: tape))
        let run = try encoder.stored(fixed.input).encode(texts).densified()
        #expect(largestDifference(learned, run) < 1e-5)
        #expect(run.scalars.contains { $0 > 0 })
    }

    /// Logits of some texts at a time are computed again for gradients; all at once are not.
    @Test(arguments: [LexicalPooling.Strategy.max, .sum])
    func gradientsDoNotDependOnGroups(strategy: LexicalPooling.Strategy) throws {
        let (model, input) = try network()
        func gradients(atOnce: Int) throws -> [Tensor<Float>] {
            let encoder = try TrainableSpladeEncoder(TrainableBERT(model), pooling: LexicalPooling(strategy: strategy))
            encoder.head.tokensAtOnce = atOnce
            let tape = Tape<Float>()
            let vectors = encoder(TokenTexts(texts.map { encoder.tokens($0, input) }), on: tape)
            tape.backward(from: (vectors * vectors).sum())
            return encoder.parameters.map { $0.gradient ?? Tensor(zeros: $0.shape) }
        }
        let (whole, parts) = (try gradients(atOnce: 1000), try gradients(atOnce: 5))
        #expect(whole.count == parts.count && whole.contains { $0.scalars.contains { abs($0) > 1e-3 } })
        for (a, b) in zip(whole, parts) { #expect(largestDifference(a, b) < 2e-4) }
    }

    /// The gradient of a bias of the head, by finite differences.
    @Test func gradientsAreThoseOfTheFormula() throws {
        let (model, input) = try network()
        let encoder = try TrainableSpladeEncoder(TrainableBERT(model))
        let tokens = TokenTexts(texts.map { encoder.tokens($0, input) })
        let bias = try #require(encoder.network.maskedHead).bias
        func weights(_ term: Int) -> [Float] {
            let found = rows(encoder(tokens, on: Tape<Float>()))
            return texts.indices.map { found[$0, term] }
        }
        let tape = Tape<Float>()
        tape.backward(from: encoder(tokens, on: tape).sum())
        let gradient = try #require(bias.gradient)
        var checked = 0
        for term in 0..<encoder.termCount where gradient[term] > 0.2 {
            let start = bias.value
            var moved = start
            moved[term] = start[term] + 0.01
            bias.value = moved
            let above = weights(term)
            moved[term] = start[term] - 0.01
            bias.value = moved
            let below = weights(term)
            bias.value = start
            // Where a weight begins there is no slope.
            if above.count(where: { $0 > 0 }) != below.count(where: { $0 > 0 }) { continue }
            let slope = (above.reduce(0, +) - below.reduce(0, +)) / 0.02
            #expect(abs(slope - gradient[term]) < 0.02 * max(1, gradient[term]))
            checked += 1
        }
        #expect(checked > 3)
    }

    @Test func weightsOfOwnTokens() throws {
        let (model, input) = try network()
        var generator = SeededGenerator(seed: 6)
        let encoder = TrainableTokenWeightEncoder(
            try TrainableBERT(model), addedTokens: input.addedTokens, using: &generator)
        #expect(input.addedTokens.count == 2)
        let tape = Tape<Float>()
        let learned = rows(encoder(TokenTexts(texts.map { encoder.tokens($0, input) }), on: tape))
        let run = try encoder.stored(input).encode(texts)
        #expect(largestDifference(learned, run.densified()) < 1e-5)
        for (row, text) in texts.enumerated() {
            let own = Set(input.bareTokens(text))
            let found = Set(run.row(row).map(\.index))
            #expect(found.isSubset(of: own))
        }
        // What surrounds a word decides its weight.
        let wing = try #require(input.tokenizer.id(of: "wing"))
        #expect(learned[0, wing] != learned[1, wing] && learned[0, wing] > 0)
    }

    private func decoder(_ vocabulary: Int) throws -> TrainableTransformer {
        var generator = SeededGenerator(seed: 3)
        let network = try TrainableTransformer(
            TransformerConfiguration(
                vocabularySize: vocabulary, hiddenSize: 12, intermediateSizes: [20, 20], headCount: 2,
                keyValueHeadCount: 2, headSize: 6, maximumPositions: 64, tiedEmbeddings: true), using: &generator)
        // Larger than training begins with, so that what is looked at is no rounding.
        for parameter in network.parameters where parameter.shape.count == 2 {
            parameter.value = parameter.value.map { 25 * $0 }
        }
        return network
    }

    /// What stands at the end is known at the first position of a second copy, and at none of a single one.
    @Test func echoesKnowWhatFollows() throws {
        let network = try decoder(9)
        func first(_ tokens: [Int], isEchoed: Bool) -> Tensor<Float> {
            let encoder = TrainableEchoEncoder(network, isEchoed: isEchoed)
            encoder.readTokens = 1
            return rows(encoder(TokenTexts([tokens, [3]]), on: Tape<Float>()))
        }
        let (one, other) = ([1, 2, 3, 4], [1, 2, 3, 8])
        #expect(largestDifference(first(one, isEchoed: false), first(other, isEchoed: false)) == 0)
        #expect(largestDifference(first(one, isEchoed: true), first(other, isEchoed: true)) > 1e-3)
        // By its definition: the logits of the second copy, the largest over its positions.
        let encoder = TrainableEchoEncoder(network, isEchoed: true)
        let found = rows(encoder(TokenTexts([one, [5, 6]]), on: Tape<Float>()))
        let logits = try network.stored().logits(one + one)
        for term in 0..<9 {
            let largest = (4..<8).map { logits[$0, term] }.max() ?? 0
            #expect(abs(found[0, term] - Float(logarithmOfOnePlus(Double(max(0, largest))))) < 1e-4)
        }
        #expect(rows(encoder(TokenTexts([[]]), on: Tape<Float>())).scalars.allSatisfy { $0 == 0 })
        // Of texts that are computed apart, too.
        let long = Array(repeating: 2, count: 20)
        let some = rows(encoder(TokenTexts([[], long, []]), on: Tape<Float>()))
        let apart = TrainableEchoEncoder(network, isEchoed: true)
        apart.head.tokensAtOnce = 3
        #expect(rows(apart(TokenTexts([[], long, []]), on: Tape<Float>())) == some)
        #expect(some.scalars[..<9].allSatisfy { $0 == 0 } && some.scalars[9..<18].contains { $0 > 0 })
    }

    @Test(arguments: [EchoForm(), EchoForm(before: "", between: nil), EchoForm(before: "wing ", between: " drag ")])
    func languageModelsEncode(form: EchoForm) throws {
        let input = try TextInput(Tokenizer(directory: fixture("splade")), maximumLength: 12)
        let encoder = TrainableEchoEncoder(
            try decoder(input.tokenizer.vocabularySize), tokenizer: input.tokenizer, form: form,
            pooling: LexicalPooling(activation: .doubleLog))
        let tape = Tape<Float>()
        let learned = rows(encoder(TokenTexts(texts.map { encoder.tokens($0, input) }), on: tape))
        let run = try #require(try encoder.stored(input) as? EchoEncoder)
        #expect(try largestDifference(learned, run.encode(texts).densified()) < 1e-4)
        let scratch = try Scratch()
        try SparseEncoder(run).save(to: scratch.file("echo"))
        let back = try SparseEncoder.load(scratch.file("echo"))
        #expect(try back.encodeDocuments(texts) == run.encode(texts))
        #expect((back.document as? EchoEncoder)?.form == form)
        let long = try TextInput(input.tokenizer, maximumLength: 70)
        #expect(failure { try EchoEncoder(run.model, input: long, form: form) } != nil)
    }

    @Test func foldersComeBackAsTheyWere() throws {
        let scratch = try Scratch()
        let (model, input) = try network()
        let splade = try SpladeEncoder(model, input: input, pooling: LexicalPooling(activation: .doubleLog))
        var generator = SeededGenerator(seed: 1)
        let weights = try TokenWeightEncoder(
            model, weight: (0..<12).map { _ in Float(generator.normal()) }, bias: 0.5, input: input)
        let short = try TextInput(input.tokenizer, maximumLength: 5)
        let table = try TableEncoder((0..<splade.termCount).map { Float($0) / 8 }, input: short)
        let pairs = [
            SparseEncoder(splade, maximumTerms: 3), try SparseEncoder(query: table, document: splade),
            SparseEncoder(weights), try SparseEncoder(query: weights, document: splade),
        ]
        for encoder in pairs {
            // The second replaces the first.
            try encoder.save(to: scratch.file("encoder"), overwrite: true)
            let back = try SparseEncoder.load(scratch.file("encoder"))
            #expect(try back.encodeQueries(texts) == encoder.encodeQueries(texts))
            #expect(try back.encodeDocuments(texts) == encoder.encodeDocuments(texts))
            #expect(back.isShared == encoder.isShared && back.maximumTerms == encoder.maximumTerms)
        }
        #expect(failure { try pairs[0].save(to: scratch.file("encoder")) } != nil)
        // A table is cut where it was, although its texts are longer.
        try pairs[1].save(to: scratch.file("encoder"), overwrite: true)
        let long = Array(repeating: "wing", count: 4).joined(separator: " ") + " heat heat drag"
        let loaded = try SparseEncoder.load(scratch.file("encoder")).query.encode([long])
        #expect(try loaded == table.encode([long]))
        struct Other: TermEncoder {
            let termNames = ["a"]
            let batchTokens = 1
            func length(of text: String) -> Int { 1 }
            func encode(_ texts: [String]) throws -> SparseMatrix<Float> { SparseMatrix(zeros: texts.count, 1) }
        }
        #expect(failure { try SparseEncoder(Other()).save(to: scratch.file("other")) } != nil)
    }
}

@Suite struct RetrieverLossTests {
    @Test func penaltiesOfTerms() throws {
        let tape = Tape<Double>()
        let w = tape.variable(Tensor<Double>([1, 0, 2, 3, 0, 0], shape: [2, 3]))
        // Means 2, 0, 1 times 1/2, 1 and 3.
        let weights = Tensor<Double>([0.5, 1, 3])
        let penalty = try SparsityRegularizer(.idfFlops, weight: 1)(w, termWeights: weights)
        #expect(abs(penalty.withPointer { $0[0] } - 10) < 1e-12)
        tape.backward(from: penalty)
        // d/dw_ij of (a_j mean_j)² is a_j² mean_j 2 / n.
        #expect(w.gradient?.scalars == [0.5, 0, 9, 0.5, 0, 9])
        let activation = { SparsityRegularizer.activation(ofFrequency: $0) }
        #expect(activation(0) == 0 && abs(activation(0.1) - 0.5) < 1e-12 && activation(1) == 1)
        // 0.01 is the cutoff squared: x^(log 2 / log c) is 4.
        #expect(abs(activation(0.01) - 1 / (1 + power(3, 10))) < 1e-12)
        #expect(abs(SparsityRegularizer.activation(ofFrequency: 0.04, cutoff: 0.2, steepness: 2) - 0.1) < 1e-12)
    }

    @Test func frequentTermsAreHeldBack() throws {
        let table = TableTermEncoder([1, 1, 1], isTrainable: true)
        let query = BinaryTermEncoder(terms: 3)
        let model = try LexicalRetriever(
            query: query, document: table, documentRegularizer: SparsityRegularizer(.dfFlops, weight: 1))
        let names = model.namedParameters.map(\.name)
        #expect(names.contains("document_frequencies.shares"))
        let shares = try #require(model.namedParameters.first { $0.name == "document_frequencies.shares" }).parameter
        let batch = LexicalRetriever.Batch(queries: [[0], [0]], documents: [[0, 1], [0]])
        let tape = Tape<Float>()
        _ = model.loss(batch, step: 0, on: tape)
        #expect(abs(shares.value[0] - 0.02) < 1e-7 && abs(shares.value[1] - 0.01) < 1e-7 && shares.value[2] == 0)
        // Evaluation leaves it alone.
        _ = tape.evaluating { model.loss(batch, step: 0, on: tape) }
        #expect(abs(shares.value[0] - 0.02) < 1e-7)
        for _ in 0..<300 { _ = model.loss(batch, step: 0, on: tape) }
        #expect(shares.value[0] > 0.95 && shares.value[1] < 0.55)
        let ranking = LexicalRetriever.Batch(queries: batch.queries, documents: batch.documents)
        let plain = try LexicalRetriever(query: query, document: table)
        let added = model.loss(ranking, step: 0, on: tape).item - plain.loss(ranking, step: 0, on: tape).item
        // Term 0 with mean 1, term 1 with mean a half: (a_0 1)² + (a_1 / 2)².
        let expected = [0, 1].reduce(0.0) { sum, term in
            let a = SparsityRegularizer.activation(ofFrequency: Double(shares.value[term]))
            return sum + power(a * (term == 0 ? 1 : 0.5), 2)
        }
        #expect(abs(Double(added) - expected) < 1e-4)
    }

    @Test func inverseFrequenciesAreAskedFor() throws {
        let (query, table) = (BinaryTermEncoder(terms: 2), TableTermEncoder([1, 1], isTrainable: true))
        let penalty = try SparsityRegularizer(.idfFlops, weight: 1)
        for idf in [nil, [1], [1, 0]] as [[Float]?] {
            let error = failure {
                try LexicalRetriever(query: query, document: table, documentRegularizer: penalty, idf: idf)
            }
            #expect(error != nil)
        }
        let model = try LexicalRetriever(query: query, document: table, documentRegularizer: penalty, idf: [2, 4])
        let plain = try LexicalRetriever(query: query, document: table)
        let tape = Tape<Float>()
        let batch = LexicalRetriever.Batch(queries: [[0]], documents: [[0, 1]])
        let added = model.loss(batch, step: 0, on: tape).item - plain.loss(batch, step: 0, on: tape).item
        #expect(abs(added - (0.25 + 0.0625)) < 1e-6)
    }

    @Test func objectivesReadTheirCandidates() throws {
        // Scores by a table of 1 a term: the number of shared terms times 0.5.
        let model = try LexicalRetriever(
            query: BinaryTermEncoder(terms: 6, scale: 0.5), document: TableTermEncoder([1, 1, 1, 1, 1, 1]))
        let tape = Tape<Float>()
        func loss(_ objective: RetrievalObjective, _ batch: LexicalRetriever.Batch) -> Double {
            model.objective = objective
            return Double(model.loss(batch, step: 0, on: tape).item)
        }
        #expect(RetrievalLoss.candidates(queries: 2, negatives: 2, documents: 6) == [[0, 2, 3], [1, 4, 5]])
        #expect(RetrievalLoss.candidates(queries: 2, negatives: 0, documents: 2) == [[0, 1], [1, 0]])
        // Scores of candidates: [1.0, 0.5] and [0.5, 0].
        var batch = LexicalRetriever.Batch(
            queries: [[0, 1], [2]], documents: [[0, 1], [2], [1, 5], [4]], negatives: 1,
            teacher: Tensor([3, 1, 2, 1], shape: [2, 2]))
        // Margins 0.5 and 0.5 where the teacher has 2 and 1.
        #expect(abs(loss(.marginMSE, batch) - (2.25 + 0.25) / 2) < 1e-6)
        func divergence(_ teacher: [Double], _ student: [Double]) -> Double {
            func probabilities(_ x: [Double]) -> [Double] {
                let e = x.map(exponential)
                return e.map { $0 / e.reduce(0, +) }
            }
            return zip(probabilities(teacher), probabilities(student)).reduce(0) {
                $0 + $1.0 * (logarithm($1.0) - logarithm($1.1))
            }
        }
        let wanted = (divergence([3, 1], [1, 0.5]) + divergence([2, 1], [0.5, 0])) / 2
        #expect(abs(loss(.divergence, batch) - wanted) < 1e-5)
        model.temperature = 0.5
        let sharper = (divergence([3, 1], [2, 1]) + divergence([2, 1], [1, 0])) / 2
        #expect(abs(loss(.divergence, batch) - sharper) < 1e-5)
        model.temperature = 1
        // All four documents compete, but the fourth is relevant to the first query too.
        batch.excluded = [[0, 3], [1]]
        func softmax(_ scores: [Double], _ own: Int) -> Double {
            logarithm(scores.reduce(0) { $0 + exponential($1) }) - scores[own]
        }
        let contrastive = (softmax([1, 0, 0.5], 0) + softmax([0, 0.5, 0, 0], 1)) / 2
        #expect(abs(loss(.contrastive, batch) - contrastive) < 1e-5)
    }
}

@Suite struct RetrievalDataTests {
    @Test func pagesOfTexts() {
        let page = LinkedPage(text: "One is 1.5 wide. Two! Is it three? Four. Five. ...", links: [2])
        let sentences = [["One is 1.5 wide.", "Two!", "Is it three?", "Four."], ["Five."]]
        #expect(page.paragraphs == sentences && page.links == [2])
        let blocks = LinkedPage(text: "A b. C\n\nD.\n\n\n\n")
        #expect(blocks.paragraphs == [["A b.", "C"], ["D."]])
        #expect(LinkedPage(text: " ").paragraphs.isEmpty)
    }

    @Test func linesOfPairs() throws {
        let scratch = try Scratch()
        let path = try scratch.write(
            """
            {"query": "a", "positive": "x y", "negatives": ["z", "x y z"], "scores": [3, 1.5, -2]}

            {"query": "b", "positive": "z"}
            """, to: "pairs.jsonl")
        let data = try RetrievalExamples(files: [path])
        #expect(data.documents == ["x y", "z", "x y z"])
        #expect(data.examples.map(\.positives) == [[0], [1]] && data.examples[0].negatives == [1, 2])
        #expect(data.examples[0].scores == [3, 1.5, -2] && data.examples[1].scores == nil)
        for bad in [
            #"{"query": "a"}"#, #"{"query": "a", "positive": "x", "scores": [1, 2]}"#,
            #"{"query": "a", "positive": "x", "negatives": [3]}"#, #"{"query": "a", "positive": "x", "scores": ["y"]}"#,
        ] {
            let file = try scratch.write("{\"query\": \"q\", \"positive\": \"p\"}\n" + bad, to: "bad.jsonl")
            guard case .malformed(_, let place, _) = failure({ try RetrievalExamples(files: [file]) }) else {
                Issue.record("\(bad)")
                continue
            }
            #expect(place.contains("line 2"))
        }
        #expect(failure { try RetrievalExamples(files: [scratch.write("", to: "empty.jsonl")]) } != nil)
        let (train, held) = try data.split(share: 0.5, seed: 3)
        #expect(Set(train.examples.map(\.query) + held.examples.map(\.query)) == ["a", "b"])
        #expect(train.examples.count == 1 && failure { try train.split(share: 0.5, seed: 1) } != nil)
    }

    @Test func negativesShareWords() throws {
        let scratch = try Scratch()
        let path = try scratch.write(
            """
            {"query": "lift of wings", "positive": "lift wing"}
            {"query": "heat", "positive": "wings and heat"}
            {"query": "lift", "positive": "lift, lift"}
            {"query": "none", "positive": "other words"}
            """, to: "pairs.jsonl")
        var data = try RetrievalExamples(files: [path])
        try data.mineNegatives(2)
        #expect(Set(data.examples[0].negatives) == [1, 2] && data.examples[1].negatives.isEmpty)
        #expect(data.examples[2].negatives == [0] && data.examples[3].negatives.isEmpty)
    }

    @Test func teachersScoreCandidates() throws {
        let scratch = try Scratch()
        let path = try scratch.write(
            """
            {"query": "wing", "positive": "wing drag", "negatives": ["heat", "the wing in the flow of heat"]}
            """, to: "pairs.jsonl")
        let data = try RetrievalExamples(files: [path])
        let words = try RetrievalTeacher("bm25", path: { $0 }, data)
        let scores = words.scores(0, [0, 1, 2], given: [])
        #expect(scores[0] > scores[2] && scores[2] > 0 && scores[1] == 0)
        let folder = try RetrievalTeacher(fixture("splade"), path: { $0 }, data)
        let encoder = try SparseEncoder.load(fixture("splade"))
        let wanted = try encoder.encodeQueries(["wing"]).row(0).dot(encoder.encodeDocuments(data.documents).row(2))
        #expect(folder.scores(0, [2], given: [])[0] == wanted && wanted > 0)
        let (model, input) = try network()
        try model.save(to: scratch.file("dense"), tokenizer: input.tokenizer)
        var plain = model
        plain.maskedHead = nil
        try plain.save(to: scratch.file("plain"), tokenizer: input.tokenizer)
        if case .dense = try RetrievalTeacher(scratch.file("dense"), path: { $0 }, data) {
            Issue.record("a model with a head is a sparse encoder")
        }
        let dense = try RetrievalTeacher(scratch.file("plain"), path: { $0 }, data)
        let vectors = try DenseEncoder.load(scratch.file("plain")).encode(["wing", data.documents[1]])
        let product = (0..<12).reduce(Float(0)) { $0 + vectors[0, $1] * vectors[1, $1] }
        #expect(abs(dense.scores(0, [1], given: [])[0] - product) < 1e-5)
        #expect(try RetrievalTeacher("file", path: { $0 }, data).scores(0, [1], given: [7]) == [7])
    }

    @Test func vocabulariesOfTexts() throws {
        let texts = ["Wing wing WING drag", "drag lift café"]
        let vocabulary = try WordPieceVocabulary(texts, size: 40)
        let letters = Set("wingdralftce")
        let tokens = vocabulary.tokens
        #expect(Array(tokens.prefix(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        #expect(letters.allSatisfy { tokens.contains(String($0)) && tokens.contains("##\($0)") })
        #expect(Array(tokens.suffix(4)) == ["wing", "drag", "cafe", "lift"])
        let tokenizer = try Tokenizer(vocabulary.tokenizerJSON)
        let spelled = tokenizer.encode("Café dragging", addsBeginning: false).compactMap(tokenizer.token)
        #expect(spelled == ["cafe", "drag", "##g", "##i", "##n", "##g"])
        let whole = tokenizer.encode("wing").compactMap(tokenizer.token)
        #expect(whole == ["[CLS]", "wing", "[SEP]"])
        #expect(tokenizer.encode("x", addsBeginning: false) == [1])
        #expect(try WordPieceVocabulary(texts, size: 7).tokens.count == 7)
        #expect(failure { try WordPieceVocabulary(texts, size: 5) } != nil)
    }
}

/// Whole runs, small.
@Suite struct RetrievalJobTests {
    private let scratch: Scratch
    private let collection: String

    /// A collection in which queries and documents speak of the same things in other words.
    init() throws {
        scratch = try Scratch()
        let words = ["wing", "drag", "heat", "flow", "lift", "nose", "jet", "hull"]
        let others = ["alpha", "beta", "gamma", "delta", "kappa", "omega", "sigma", "theta"]
        var generator = SeededGenerator(seed: 9)
        var (corpus, queries, qrels) = ("", "", "query-id\tcorpus-id\tscore\n")
        for a in 0..<8 {
            for b in a + 1..<8 {
                for c in b + 1..<8 {
                    let (id, concepts) = ("\(a)\(b)\(c)", [a, b, c].shuffled(using: &generator))
                    let own = concepts.map { words[$0] }
                    let text = own.joined(separator: " the ") + ". Of the \(own[0]). The \(own[1])"
                    let query = concepts.shuffled(using: &generator).map { others[$0] }.joined(separator: " ")
                    corpus += "{\"_id\": \"d\(id)\", \"title\": \"\", \"text\": \"\(text)\"}\n"
                    queries += "{\"_id\": \"q\(id)\", \"text\": \"the \(query)\"}\n"
                    qrels += "q\(id)\td\(id)\t1\n"
                }
            }
        }
        _ = try scratch.write(corpus, to: "c/corpus.jsonl")
        _ = try scratch.write(queries, to: "c/queries.jsonl")
        _ = try scratch.write(qrels, to: "c/qrels/train.tsv")
        collection = scratch.file("c")
    }

    private static let sizes = "vocabulary = 80\ndimensions = 16\nlayers = 1\nheads = 2"

    private func text(
        data: String = "", model: String = sizes, query: String = "encoder = \"shared\"", document: String = "",
        loss: String = "", steps: Int = 2, rate: Double = 0.01, training: String = ""
    ) -> String {
        """
        [data]
        kind = "retrieval"
        path = "\(collection)"
        batch = 8
        query_length = 12
        document_length = 24
        \(data)
        [model]
        \(model)
        [query]
        \(query)
        [document]
        \(document)
        [loss]
        \(loss)
        [optimizer]
        name = "adam"
        learning_rate = \(rate)
        [training]
        steps = \(steps)
        \(training)
        """
    }

    private func job(_ text: String) throws -> TrainingJob {
        try TrainingJob(
            ConfigurationFile(text: text, file: "f.toml"),
            environment: .init(kinds: [RetrievalTraining.kind: RetrievalTraining.task]))
    }

    private func value(_ report: TrainingReport, _ name: String) throws -> Double {
        try #require(report.evaluation?.values.first { $0.name == name }).value
    }

    @Test func otherWordsAreLearned() throws {
        let configuration = text(
            data: "test_fraction = 0.25", document: "regularizer = \"flops\"\nweight = 0.01\nwarm_up = 20", steps: 150,
            training: "evaluate_every = 150")
        let untrained = try job(text(data: "test_fraction = 0.25", steps: 1, rate: 0)).run(directory: nil)
        let report = try job(configuration).run(directory: scratch.file("run"))
        let (before, after) = (try value(untrained, "ndcg_at_10"), try value(report, "ndcg_at_10"))
        #expect(after > 0.5 && after > before + 0.2, "\(before), then \(after)")
        #expect(try value(report, "lacking_to_ndcg") == 1 - after)
        // The result is an encoder, by the name of the run.
        let encoder = try SparseEncoder.load(scratch.file("run"))
        #expect(SparseEncoder.isRun(scratch.file("run")) && !encoder.isShared)
        let documents = try encoder.encodeDocuments(["wing the heat", "drag the nose"])
        let found = try InvertedIndex(documents).search(encoder.encodeQueries(["the alpha gamma"]), count: 1)
        #expect(found[0].documents.first?.document == 0)
    }

    @Test func resumedRunsEndAlike() throws {
        let configuration = text(
            query: "encoder = \"table\"\ntrainable = true",
            document: "regularizer = \"df-flops\"\nweight = 0.1\nwarm_up = 4", steps: 8,
            training: "checkpoint_every = 1\nlog_every = 1")
        _ = try job(configuration).run(directory: scratch.file("whole"))
        final class Stop: ProgressReporter {
            private let left = Locked(6)
            func update(task: String, completed: Int, total: Int, detail: String) { left.withLock { $0 -= 1 } }
            var isCancelled: Bool { left.withLock { $0 <= 0 } }
        }
        #expect(throws: LacunaError.cancelled) {
            try job(configuration).run(directory: scratch.file("parts"), progress: Stop())
        }
        #expect(!SparseEncoder.isRun(scratch.file("parts")))
        let resumed = try job(configuration).run(directory: scratch.file("parts"), resumes: true)
        #expect(resumed.steps == 8)
        let (a, b) = (try SparseEncoder.load(scratch.file("whole")), try SparseEncoder.load(scratch.file("parts")))
        #expect(try a.encodeDocuments(["wing the heat"]) == b.encodeDocuments(["wing the heat"]))
        #expect(try a.encodeQueries(["alpha beta"]) == b.encodeQueries(["alpha beta"]))
    }

    @Test(arguments: ["splade", "weights", "table", "binary"], ["shared", "splade", "weights", "table", "binary"])
    func anyPairOfEncoders(document: String, query: String) throws {
        let learns = ["splade", "weights", "binary"]
        var configuration = text(
            query: "encoder = \"\(query)\"\nregularizer = \"l1\"\nweight = 0.001",
            document: "encoder = \"\(document)\"\nregularizer = \"idf-flops\"\nweight = 0.001")
        if ![document, query].contains(where: ["splade", "weights"].contains) {
            // No network: its sizes would be left unread.
            configuration = configuration.replacing(Self.sizes, with: "vocabulary = 80")
        }
        guard learns.contains(document) || learns.contains(query) else {
            #expect(failure { try job(configuration) } != nil)
            return
        }
        let directory = scratch.file("pair")
        _ = try job(configuration).run(directory: directory)
        let encoder = try SparseEncoder.load(directory)
        #expect(try encoder.encodeQueries(["wing"]).columns == encoder.termNames.count)
        #expect(encoder.termNames.contains("wing") && encoder.termNames.count > 40)
    }

    @Test(arguments: ["margin-mse", "kl"], ["", "negatives = 2"])
    func anyTeacher(objective: String, negatives: String) throws {
        try SparseEncoder.load(fixture("splade")).save(to: scratch.file("teacher"))
        let configuration =
            text(data: negatives, loss: "objective = \"\(objective)\"")
            + "\n[teacher]\nfrom = [\"bm25\", \"\(scratch.file("teacher"))\"]\nscale = 10\n"
        // Queries share no words with documents: BM25 finds no negatives.
        if negatives.isEmpty {
            #expect(try job(configuration).run(directory: nil).steps == 2)
        } else {
            #expect("\(failure { try job(configuration) }!)".contains("data.negatives"))
        }
    }

    @Test func scoresOfTheFile() throws {
        var lines = ""
        for index in 0..<8 {
            lines +=
                "{\"query\": \"wing \(index)\", \"positive\": \"drag \(index)\", \"negatives\": [\"heat \(index)\", \"flow\"], "
                + "\"scores\": [4, 2, 1]}\n"
        }
        let path = try scratch.write(lines, to: "pairs.jsonl")
        let base = text(data: "negatives = 3\ntest_fraction = 0.25", loss: "objective = \"margin-mse\"")
            .replacing(collection, with: path)
        #expect(try job(base + "\n[teacher]\nfrom = \"file\"\n").run(directory: nil).steps == 2)
        let bare = text(loss: "objective = \"kl\"").replacing(collection, with: path)
        #expect("\(failure { try job(bare + "\n[teacher]\nfrom = \"file\"\n") }!)".contains("negatives"))
        // A file to validate on; its lines are all evaluated.
        let valid = text(data: "valid = \"\(path)\"").replacing(collection, with: path)
        #expect(try job(valid).summary.contains("8 queries and"))
    }

    @Test(arguments: ["inverse-cloze", "body-first", "linked"])
    func pairsFromTextsAlone(task: String) throws {
        var corpus = ""
        for index in 0..<12 {
            let text = "wing of \(index). drag and lift. flow. heat of nose. nose \(index). wing drag. lift."
            corpus +=
                "{\"_id\": \"\(index)\", \"text\": \"\(text)\", \"metadata\": {\"links\": [\"\((index + 1) % 12)\"]}}\n"
        }
        let path = try scratch.write(corpus, to: "pages.jsonl")
        let base = text(data: "task = \"\(task)\"", steps: 3)
        let report = try job(base.replacing(collection, with: path)).run(directory: nil)
        let found = try value(report, "ndcg_at_10")
        #expect(report.steps == 3 && found >= 0 && found <= 1)
        if task == "linked" {
            #expect("\(failure { try job(base) }!)".contains("data.task"))
        } else if task == "inverse-cloze" {
            // Judgements of a collection to evaluate on.
            #expect(
                try job(base.replacing("[model]", with: "valid = \"train\"\n[model]")).summary.contains("56 queries"))
        }
    }

    @Test func loadedEncodersGoOn() throws {
        let model = "from = \"\(try fixture("splade"))\""
        let directory = scratch.file("tuned")
        _ = try job(text(model: model, steps: 1, rate: 0)).run(directory: directory)
        // Nothing was learned: the encoder is what it was, but for what is cut off.
        let (a, b) = (try SparseEncoder.load(fixture("splade")), try SparseEncoder.load(directory))
        #expect(try a.encodeDocuments(["wing drag"]) == b.encodeDocuments(["wing drag"]))
        // And a run's result can be gone on with.
        _ = try job(text(model: "from = \"\(directory)\"", steps: 1)).run(directory: scratch.file("again"))
    }

    @Test func languageModelsAreTrained() throws {
        let echo = text(
            query: "encoder = \"table\"",
            document: "encoder = \"echo\"\nregularizer = \"flops\"\nweight = 0.001")
        _ = try job(echo).run(directory: scratch.file("echo"))
        #expect(try SparseEncoder.load(scratch.file("echo")).document is EchoEncoder)
        // Its decoder goes on, and is no encoder of the BERT family; one of these is no decoder.
        let again = echo.replacing(Self.sizes, with: "from = \"\(scratch.file("echo"))\"")
        #expect(try job(again).run(directory: nil).steps == 2)
        let other = failure { try job(again.replacing("\"echo\"\nreg", with: "\"splade\"\nreg")) }
        #expect("\(other!)".contains("document.encoder"))
        let bert = failure { try job(echo.replacing(Self.sizes, with: "from = \"\(try fixture("splade"))\"")) }
        #expect("\(bert!)".contains("document.encoder"))
    }

    @Test func pruningMethodsApply() throws {
        let method = "\n[method]\nname = \"rigl\"\nsparsity = 0.5\ninterval = 2\n"
        let job = try job(text(steps: 4) + method)
        _ = try job.run(directory: scratch.file("sparse"))
        #expect(job.ledger.activeMultiplyAdds < job.ledger.denseMultiplyAdds)
        _ = try SparseEncoder.load(scratch.file("sparse"))
    }

    @Test func mistakesAreNamed() throws {
        let cases: [(change: (String, String), name: String)] = [
            (("[loss]", "[loss]\nobjective = \"kl\""), "teacher.from"),
            (("[loss]", "[loss]\ntemperature = 0"), "loss.temperature"),
            (("[query]\nencoder = \"shared\"", "[query]\nencoder = \"bm25\""), "query.encoder"),
            (("[document]", "[document]\nregularizer = \"flops\""), "document.weight"),
            (("[document]", "[document]\npooling = \"tanh\""), "document.pooling"),
            (("[document]", "[document]\nwarm_up = 3"), "document.warm_up"),
            (("heads = 2", "heads = 3"), "model.heads"),
            (("vocabulary = 80", ""), "model.vocabulary"),
            (("vocabulary = 80", "vocabulary = \"/nowhere.json\""), "nowhere"),
            (("query_length = 12", "query_length = 2"), "query_length"),
            (("batch = 8", "batch = 8\nsplit = \"dev\""), "dev.tsv"),
            (("batch = 8", "batch = 8\ntask = \"guess\""), "data.task"),
            (("batch = 8", "batch = 8\nvalid = \"train\"\ntest_fraction = 0.2"), "test_fraction"),
            (("batch = 8", "batch = 8\nnegative = 1"), "negative"),
            (("[training]", "[teacher]\nfrom = \"bm25\"\n[training]"), "teacher.from"),
            (("[training]", "[method]\nname = \"quick-selection\"\n[training]"), "method.name"),
        ]
        for (change, name) in cases {
            let configuration = text().replacing(change.0, with: change.1)
            #expect(configuration != text(), "\(change)")
            let error = failure { try job(configuration) }
            #expect("\(error!)".contains(name), "\(change): \(error!)")
        }
        // Kinds that nobody reads are unknown.
        let plain = failure { try TrainingJob(ConfigurationFile(text: text(), file: "f.toml"), environment: .init()) }
        #expect("\(plain!)".contains("retrieval"))
    }

    @Test func examplesAreReadable() throws {
        let place = try RepositoryData.require("cranfield/corpus.jsonl", otherwise: "it is in the repository")
        let data = FileSystem.directory(of: place)
        for (name, example) in RetrievalTraining.examples {
            // The fixture has positions for 32 tokens.
            let text = example.replacing("\"Data/cranfield\"", with: "\"\(data)\"")
                .replacing("document_length = 128", with: "document_length = 32")
            let job = try TrainingJob(
                ConfigurationFile(text: text, file: name),
                environment: .init(
                    fetch: { _ in try fixture("splade") }, kinds: [RetrievalTraining.kind: RetrievalTraining.task]))
            #expect(job.totalSteps > 0)
        }
    }
}
