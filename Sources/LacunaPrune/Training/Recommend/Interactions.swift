import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Which users have had to do with which items: what a recommender learns from.
public struct Interactions: Sendable {
    /// [users, items].
    public let pattern: SparsePattern
    private let items: [[Int32]]

    /// - Throws: `LacunaError.invalidArgument` for a pattern without entries, and for a user of all items, to whom no other
    ///   item can be compared.
    public init(_ pattern: SparsePattern) throws {
        guard pattern.count > 0 else { throw LacunaError.invalidArgument("interactions", reason: "there are none") }
        items = (0..<pattern.rows).map { pattern.keptColumns(row: $0).map(Int32.init) }
        if let full = items.firstIndex(where: { $0.count == pattern.columns }) {
            throw LacunaError.invalidArgument("interactions", reason: "user \(full) has all items")
        }
        self.pattern = pattern
    }

    /// Rows of the pattern.
    public var users: Int { pattern.rows }
    /// Columns of the pattern.
    public var itemCount: Int { pattern.columns }
    /// The items of a user, ascending.
    public func items(of user: Int) -> [Int32] { items[user] }

    /// Interactions and items that their users have not: [n] each, the same ones for the same step and seed.
    func triples(_ count: Int, step: Int, seed: UInt64) -> (users: [Int32], items: [Int32], others: [Int32]) {
        var generator = SeededGenerator(seed: seed, stream: 0xB9A &+ UInt64(step))
        var (users, chosen, others) = ([Int32](), [Int32](), [Int32]())
        pattern.withCompressedRows { starts, columns in
            for _ in 0..<count {
                let entry = Int.random(in: 0..<pattern.count, using: &generator)
                // The last row that begins at or before the entry.
                var (low, high) = (0, pattern.rows)
                while high - low > 1 {
                    let middle = (low + high) / 2
                    if starts[middle] <= entry { low = middle } else { high = middle }
                }
                var other: Int32
                repeat {
                    other = Int32.random(in: 0..<Int32(pattern.columns), using: &generator)
                } while pattern[low, Int(other)]
                users.append(Int32(low))
                chosen.append(Int32(columns[entry]))
                others.append(other)
            }
        }
        return (users, chosen, others)
    }

    /// Two parts, the second with a share of every user's items, rounded down, drawn at random.
    ///
    /// - Throws: As ``init(_:)``, of either part.
    public func split(share: Double, seed: UInt64) throws -> (train: Interactions, test: Interactions) {
        guard share > 0, share < 1 else {
            throw LacunaError.invalidArgument("share", reason: "\(share) is not between 0 and 1")
        }
        var generator = SeededGenerator(seed: seed, stream: 0x591)
        var test = SparsePattern(rows: pattern.rows, columns: pattern.columns)
        for user in 0..<pattern.rows {
            let count = Int(share * Double(items[user].count) + 1e-9)
            for item in items[user].shuffled(using: &generator).prefix(count) { test[user, Int(item)] = true }
        }
        return (try Interactions(pattern.subtracting(test)), try Interactions(test))
    }
}

/// What ranks items for users and learns it from their interactions.
public protocol Recommender: Module {
    /// The loss of a batch, a function of the step and the seed.
    func loss(_ data: Interactions, batch: Int, step: Int, seed: UInt64, on tape: Tape<Float>) -> Variable<Float>
    /// [users, items] for some users: the larger the better.
    func scores(of users: [Int32], _ data: Interactions, on tape: Tape<Float>) -> Variable<Float>
    /// What methods for recommenders make sparse: tables of users and items.
    var tables: LayerChoice { get }
}

extension Recommender {
    /// Trains on interactions.
    ///
    /// - Throws: As ``Trainer``.
    @discardableResult
    public func train(
        on data: Interactions, optimizer: any Optimizer, plan: TrainingPlan, batch: Int,
        hooks: [any TrainingHook] = []
    ) throws -> TrainingReport {
        try Trainer(
            model: self, optimizer: optimizer, source: StepNumbers(), plan: plan, hooks: hooks,
            loss: { step, tape in self.loss(data, batch: batch, step: step, seed: plan.seed, on: tape) }
        ).train()
    }

    /// For each of some users the items that it has not, the best first, `count` at most.
    public func recommendations(for users: [Int], count: Int, _ data: Interactions) -> [[Int32]] {
        let tape = Tape<Float>()
        var result: [[Int32]] = []
        for start in stride(from: 0, to: users.count, by: 256) {
            let part = users[start..<min(start + 256, users.count)]
            let order = tape.evaluating {
                var hidden = scores(of: part.map { Int32($0) }, data, on: tape).value
                hidden.withMutablePointer { scores in
                    for (row, user) in part.enumerated() {
                        for item in data.items(of: user) { scores[row * data.itemCount + Int(item)] = -.infinity }
                    }
                }
                return tape.constant(hidden).topIndices(min(count, data.itemCount))
            }
            let width = min(count, data.itemCount)
            for (row, user) in part.enumerated() {
                let left = data.itemCount - data.items(of: user).count
                result.append(Array(order[row * width..<row * width + min(width, left)]))
            }
        }
        return result
    }
}

/// The step itself in the place of a batch: recommenders draw their own.
private struct StepNumbers: BatchSource {
    var batchesPerEpoch: Int? { nil }
    func batch(step: Int) -> Int { step }
}

extension Linear {
    /// A table of vectors, [count, dimensions], that methods make sparse as they do any matrix.
    static func table(count: Int, dimensions: Int, deviation: Float, using generator: inout SeededGenerator) -> Linear {
        Linear(
            weight: DenseWeight(Tensor(normal: [count, dimensions], standardDeviation: deviation, using: &generator)))
    }

    /// All of the table. Its vectors are looked up, not multiplied, so it has to be stored with all of its entries, masked or not.
    func rows(on tape: Tape<Float>) -> Variable<Float> {
        require(dense != nil, "a table in the storage \(weight.storage)")
        return dense!.parameter.on(tape)
    }
}
