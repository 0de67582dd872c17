import LacunaInfer
import LacunaModels
import LacunaTensor
import Testing

struct LongContextTaskTests {
    /// After a word comes what followed it the last time, and where nothing did, what is frequent.
    @Test func theBuiltModelLooksUpWords() throws {
        let model = try InductionModel(words: 60, size: 64, positions: 200, seed: 1)
        func next(_ tokens: [Int]) throws -> Int {
            let logits = try model.decoder.logits(tokens)
            let row = logits.rows(tokens.count - 1..<tokens.count).scalars
            return row.indices.max { row[$0] < row[$1] }!
        }
        let text = [5, 9, 4, 1, 7, 2, 30, 31, 32, 33, 34, 35]
        #expect(try next(text + [9]) == 4 && next(text + [7]) == 2 && next(text + [30]) == 31)
        // Pairs end in a separator, which is never an answer, so that chains can be followed.
        let s = model.separator
        let chain = [s, 2, 3, s, 40, 41, s, 1, 2, s, 42, 43, s]
        #expect(try next(chain + [1]) == 2 && next(chain + [1, 2]) == 3 && next(chain + [40]) == 41)
        #expect(try next([8, 3, 8, 4, 8, 5, 3, 8, model.question]) == 8)
        for size in [0, 7] { #expect(throws: LacunaError.self) { try InductionModel(words: 60, size: size, seed: 1) } }
    }

    @Test func denseAttentionAnswers() throws {
        let model = try InductionModel(seed: 3)
        for kind in LongContextTask.Kind.allCases {
            for asking in LongContextTask.Asking.allCases {
                let task = try LongContextTask(kind, length: 600, model: model, seed: 4)
                #expect(
                    task.context.count == 600 && task.answer.count == [.needle: 1, .tracking: 4, .counting: 5][kind])
                var held = 0
                let score = try task.score(TokenEngine(model.decoder), asking: asking) { held = $0.count }
                #expect(score >= (kind == .counting ? 0.8 : 1), "\(kind) \(asking)")
                #expect(held >= 601)
            }
        }
        let (a, b) = (
            try LongContextTask(.needle, length: 500, model: model, seed: 4),
            try LongContextTask(.needle, length: 500, model: model, seed: 5)
        )
        #expect(try a != b && a == LongContextTask(.needle, length: 500, model: model, seed: 4))
        #expect(throws: LacunaError.self) { try LongContextTask(.needle, length: 300, model: model, seed: 4) }
        let small = try InductionModel(words: 60, size: 64, positions: 200, seed: 1)
        #expect(throws: LacunaError.self) { try LongContextTask(.needle, length: 500, model: small, seed: 4) }
    }

    /// What has been forgotten before it is asked for cannot be found; what is chosen for every token can. A window that ends
    /// before a needle scores nothing.
    @Test func methodsAreToldApart() throws {
        let model = try InductionModel(seed: 3)
        func score(_ skipping: Skipping, _ kind: LongContextTask.Kind, _ asking: LongContextTask.Asking) throws
            -> Double
        {
            return try (0..<4).reduce(0) { sum, seed in
                let task = try LongContextTask(kind, length: 600, model: model, seed: UInt64(seed))
                return try sum + task.score(skipping.engine(model.decoder), asking: asking) / 4
            }
        }
        let settings = try SnapKV(share: 0.2, window: 8, smoothing: 5)
        let snap = Skipping(store: { SnapKVCache($0, settings) })
        #expect(try score(snap, .needle, .twice) == 1)
        #expect(try score(snap, .needle, .afterwards) < 0.6)
        #expect(try score(snap, .tracking, .twice) < 0.7)
        #expect(try score(Skipping(selector: WindowAndSinks(window: 40)), .needle, .afterwards) < 0.5)
        let quest = Skipping(
            selector: try Quest(share: 0.2, dense: 0), store: { PageBoundsCache(KeyValueCache($0), shape: $0) })
        #expect(try score(quest, .tracking, .afterwards) == 1)
    }
}
