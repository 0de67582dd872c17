import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaLearn

@Suite struct CollectiveTests {
    @Test(arguments: [1, 2, 3, 7]) func everybodyGetsWhatTheOthersSend(count: Int) throws {
        let results = try ThreadRanks.run(count) { ranks -> [[[UInt8]]] in
            try (0..<20).map { round in
                // The piece for a rank has its number, the sender's and the round's, and another length each.
                try ranks.exchange(
                    (0..<count).map { [UInt8(ranks.rank), UInt8($0), UInt8(round)] + [UInt8](repeating: 9, count: $0) }
                ).map { Array($0) }
            }
        }
        for (rank, rounds) in results.enumerated() {
            for (round, pieces) in rounds.enumerated() {
                let tail = [UInt8](repeating: 9, count: rank)
                #expect(pieces == (0..<count).map { [UInt8($0), UInt8(rank), UInt8(round)] + tail })
            }
        }
    }

    @Test func sumsAreThoseInTheOrderOfRanks() throws {
        // In another order these add up to something else.
        let values: [Float] = [1e8, 1, -1e8, 3]
        let expected = ((values[0] + values[1]) + values[2]) + values[3]
        let sums = try ThreadRanks.run(4) { ranks in
            var list = [Float](repeating: 0, count: 130)
            list[129] = values[ranks.rank]
            list[0] = ranks.rank == 2 ? 5 : 0
            try ranks.sum(&list)
            return (try ranks.sum(values[ranks.rank]), list, try ranks.any(ranks.rank == 3), try ranks.any(false))
        }
        for (sum, list, some, none) in sums {
            #expect(sum == expected && list[129] == expected && list[0] == 5 && list[1..<129].allSatisfy { $0 == 0 })
            #expect(some && !none)
        }
        #expect(try SingleProcess().sum([2.5, 3]) == [2.5, 3] && SingleProcess().gather([1, 2]) == [[1, 2]])
    }

    @Test func sharesAreAllOfIt() throws {
        for total in [0, 1, 5, 64, 1000] {
            let shares = try ThreadRanks.run(3) { $0.share(of: total) }
            #expect(shares.flatMap { Array($0) } == Array(0..<total))
            #expect(shares.allSatisfy { abs($0.count - total / 3) <= 1 })
        }
    }

    @Test func oneThatFailsEndsTheOthers() {
        #expect(throws: LacunaError.cancelled) {
            _ = try ThreadRanks.run(3) { ranks in
                for round in 0..<5 {
                    if ranks.rank == 2 && round == 3 { throw LacunaError.cancelled }
                    try ranks.barrier()
                }
            }
        }
        #expect(throws: LacunaError.self) { _ = try ThreadRanks.run(0) { $0.rank } }
    }

    /// Counts what is sent.
    private final class Counting: Collective, @unchecked Sendable {
        let inner: ThreadRanks
        var sent = 0
        init(_ inner: ThreadRanks) { self.inner = inner }
        var rank: Int { inner.rank }
        var count: Int { inner.count }
        func exchange(_ pieces: [[UInt8]]) throws -> [[UInt8]] {
            sent += pieces.reduce(0) { $0 + $1.count }
            return try inner.exchange(pieces)
        }
    }

    @Test func gradientsAddUp() throws {
        let shapes = [[50, 8], [7], [130], [3, 2, 5], [2, 2], [40, 4]]
        /// What a rank has: nothing for the fifth parameter on rank 1, rows alone for the last, an older gradient in between.
        @Sendable func gradients(_ rank: Int) -> [Tensor<Float>?] {
            var generator = SeededGenerator(seed: 5, stream: UInt64(rank))
            return shapes.enumerated().map { i, shape in
                var x = Tensor<Float>(normal: shape, using: &generator)
                if i == 0 { for row in 0..<50 where row % 9 != rank { for j in 0..<8 { x[row, j] = 0 } } }
                if i == 5 { for row in 0..<40 where row != 3 && row != 10 + rank { for j in 0..<4 { x[row, j] = 0 } } }
                return i == 4 && rank == 1 ? nil : x
            }
        }
        let found = try ThreadRanks.run(3) { ranks -> ([[Float]], [Int32], Bool) in
            let parameters = shapes.map { Parameter(Tensor<Float>(zeros: $0)) }
            parameters[4].accumulate { g, _ in for i in 0..<4 { g[i] = 77 } }
            parameters[4].clearGradient()
            for (i, (parameter, gradient)) in zip(parameters, gradients(ranks.rank)).enumerated() {
                guard let gradient else { continue }
                if i == 5 {
                    let rows: [Int32] = [3, Int32(10 + ranks.rank), 3]
                    parameter.accumulate(rows: rows) { g in gradient.withPointer { g.update(from: $0, count: 160) } }
                } else {
                    parameter.accumulate { g, _ in gradient.withPointer { g.update(from: $0, count: gradient.count) } }
                }
            }
            let still = Parameter(Tensor<Float>(zeros: [3]), isTrainable: false)
            let none = Parameter(Tensor<Float>(zeros: [3]))
            try ranks.sumGradients(parameters + [still, none])
            return (parameters.map { $0.gradient!.scalars }, parameters[5].touchedRows!.sorted(), none.hasGradient)
        }
        for (i, shape) in shapes.enumerated() {
            var sum = [Float](repeating: 0, count: shape.reduce(1, *))
            for rank in 0..<3 { if let g = gradients(rank)[i] { for j in sum.indices { sum[j] += g.scalars[j] } } }
            for (all, rows, none) in found {
                #expect(all[i] == sum, "parameter \(i)")
                #expect(rows == [3, 10, 11, 12] && !none)
            }
        }
    }

    @Test func rowsThatAreZeroDoNotTravel() throws {
        func sent(rows: Int) throws -> Int {
            try ThreadRanks.run(2) { ranks in
                let counting = Counting(ranks)
                let parameter = Parameter(Tensor<Float>(zeros: [1000, 64]))
                parameter.accumulate { g, _ in for row in 0..<rows { g[(row * 7 + ranks.rank) * 64 + 5] = 1 } }
                try counting.sumGradients([parameter])
                return counting.sent
            }.max()!
        }
        // Of a row 64 numbers and its place, to its owner and, from there, to both: at most five times, and a few numbers about them.
        let (few, many) = (try sent(rows: 10), try sent(rows: 100))
        #expect(few >= 10 * 260 && few < 10 * 260 * 5 + 100)
        #expect(many > 5 * few && many < 100 * 260 * 5 + 100)
    }

    @Test func differentParametersAreNoticed() {
        #expect(throws: LacunaError.self) {
            _ = try ThreadRanks.run(2) { ranks in
                try ranks.requireSame([Parameter(Tensor<Float>([1, ranks.rank == 0 ? 2 : 2.5]))], "now")
            }
        }
        #expect(throws: LacunaError.self) {
            _ = try ThreadRanks.run(2) { ranks in
                let parameter = Parameter(Tensor<Float>(zeros: [ranks.rank == 0 ? 64 : 640, 2]))
                parameter.accumulate { g, _ in for i in 0..<parameter.count { g[i] = 1 } }
                try ranks.sumGradients([parameter])
            }
        }
        _ = try? ThreadRanks.run(2) { try $0.requireSame([Parameter(Tensor<Float>([1]))], "now") }
    }

    // MARK: Training

    private static func trainer(
        _ collective: (any Collective)?, seed: UInt64 = 1, accumulation: Int = 4, dropout: Double = 0.2, steps: Int = 12
    ) throws -> (MLP, Trainer<ShuffledBatches>) {
        var generator = SeededGenerator(seed: seed)
        let model = MLP(widths: [2, 24, 24, 2], dropout: dropout, using: &generator)
        try model.layers[1].sparsify(.csr, mask: SparsePattern(rows: 24, columns: 24) { ($0 + $1) % 3 == 0 })
        var plan = TrainingPlan(steps: steps, learningRate: .constant(0.02))
        plan.accumulation = accumulation
        plan.clipNorm = 1
        plan.logEvery = 3
        plan.averageDecay = 0.5
        let trainer = try Trainer(
            model: model, optimizer: Adam(),
            source: ShuffledBatches(TrainerTests.rings(200, seed: 3), batchSize: 8, seed: 4), plan: plan,
            collective: collective,
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
        return (model, trainer)
    }

    /// Dropout, a sparse layer and clipping included: two and three ranks learn what one does, up to the rounding of sums.
    @Test(arguments: [2, 3]) func ranksLearnWhatOneProcessDoes(count: Int) throws {
        let (alone, trainer) = try Self.trainer(SingleProcess())
        let report = try trainer.train()
        let expected = alone.parameters.map { $0.value.scalars }
        let found = try ThreadRanks.run(count) { ranks in
            let (model, trainer) = try Self.trainer(ranks)
            let report = try trainer.train()
            return (model.parameters.map { $0.value.scalars }, report.metrics.map { $0["loss"]! })
        }
        for (values, losses) in found {
            #expect(values == found[0].0 && losses == found[0].1)
            for (a, b) in zip(values, expected) { #expect(zip(a, b).allSatisfy { abs($0 - $1) < 1e-4 }) }
            for (a, b) in zip(losses, report.metrics) { #expect(abs(a - b["loss"]!) < 1e-5) }
        }
        // Another share of the work is another result, if it is not one process's.
        let (other, less) = try Self.trainer(SingleProcess(), accumulation: 2)
        try less.train()
        let distance = zip(other.parameters.flatMap { $0.value.scalars }, expected.flatMap(\.self)).map { abs($0 - $1) }
        #expect(distance.max()! > 1e-3)
    }

    @Test func theFirstWritesAndAllResume() throws {
        let folder = FileSystem.join("/tmp", "lacuna-ranks-\(UInt64.random(in: 0...UInt64.max))")
        defer { try? FileSystem.remove(folder) }
        let whole = try ThreadRanks.run(2) { ranks in
            let (model, trainer) = try Self.trainer(ranks)
            try trainer.train()
            return model.parameters.map { $0.value.scalars }
        }
        _ = try ThreadRanks.run(2) { ranks in
            let (_, trainer) = try Self.trainer(ranks)
            try trainer.train(directory: folder, stopAfter: 5)
        }
        let resumed = try ThreadRanks.run(2) { ranks in
            let (model, trainer) = try Self.trainer(ranks)
            try trainer.resume(from: folder)
            try trainer.train(directory: folder)
            return model.parameters.map { $0.value.scalars }
        }
        #expect(resumed == whole)
        #expect(try FileSystem.readText(folder + "/metrics.jsonl").split(separator: "\n").count == 4)
    }

    @Test func whatCannotBeSharedIsRefused() {
        #expect(throws: LacunaError.self) {
            _ = try ThreadRanks.run(2) { try Self.trainer($0, accumulation: 1).1.train() }
        }
        // Networks that do not begin alike.
        #expect(throws: LacunaError.self) {
            _ = try ThreadRanks.run(2) { try Self.trainer($0, seed: UInt64($0.rank)).1.train() }
        }
    }
}
