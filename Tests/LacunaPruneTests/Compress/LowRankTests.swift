import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct LowRankTests {
    @Test func whitenedFactorsLeaveTheLeastErrorOfTheOutputs() throws {
        let layer = LayerFixture(outputs: 20, inputs: 30)
        let rank = 6
        let whitened = try LowRank(damping: 0).factored(
            layer.weight, rank: rank, statistics: layer.statistics, values: .f32)
        let plain = try LowRank(isWhitened: false).factored(layer.weight, rank: rank, statistics: nil, values: .f32)
        #expect(whitened.left.columns == rank && whitened.right.rows == rank)
        // The least error possible: what the singular values of X Wᵀ beyond the rank hold.
        let outputs = Tensor<Double>(layer.inputs.multiplied(by: layer.weight, otherTransposed: true))
        let energies = try outputs.svd().s.map { $0 * $0 }
        let least = energies[rank...].reduce(0, +) / energies.reduce(0, +)
        let found = layer.error(whitened.densified())
        #expect(abs(found - least) < 1e-3 * least, "\(found) against \(least)")
        #expect(layer.error(plain.densified()) > 1.2 * least)
    }

    @Test func fullAndTrueRanksAreExact() throws {
        let layer = LayerFixture(outputs: 12, inputs: 18)
        let full = try LowRank(damping: 0).factored(layer.weight, rank: 12, statistics: layer.statistics, values: .f32)
        #expect(layer.error(full.densified()) < 1e-9)
        var generator = SeededGenerator(seed: 4)
        let thin = Tensor<Float>(normal: [12, 3], using: &generator).multiplied(
            by: Tensor(normal: [3, 18], using: &generator))
        let found = try LowRank(isWhitened: false).factored(thin, rank: 3, statistics: nil, values: .f32)
        #expect(zip(found.densified().scalars, thin.scalars).allSatisfy { abs($0 - $1) < 1e-4 })
    }

    @Test func theRankSavesWhatIsAskedFor() {
        #expect(LowRank.rank(saving: 0.5, rows: 100, columns: 300) == 37)  // 15000 / 400 = 37.5
        #expect(LowRank.rank(saving: 0.25, rows: 100, columns: 100) == 37)
        #expect(LowRank.rank(saving: 0, rows: 4, columns: 1000) == 3)
        #expect(LowRank.rank(saving: 0.99, rows: 10, columns: 10) == 0)
        for rank in 1...40 {
            let sparsity = 1 - Double(rank * (64 + 48)) / Double(64 * 48)
            if sparsity >= 0 { #expect(LowRank.rank(saving: sparsity, rows: 64, columns: 48) == rank) }
        }
    }

    @Test func whatCannotWorkIsRefused() throws {
        let layer = LayerFixture(outputs: 8, inputs: 10)
        func compress(_ sparsity: Double, _ statistics: InputStatistics?) throws {
            _ = try LowRank().compress(
                layer.weight, statistics: statistics, request: CompressionRequest(name: "w", sparsity: sparsity))
        }
        #expect(throws: LacunaError.self) { try compress(0.99, layer.statistics) }
        #expect(throws: LacunaError.self) { try compress(0.3, nil) }
        #expect(throws: LacunaError.self) { try compress(0.3, whiteStatistics(columns: 9)) }
        #expect(throws: LacunaError.self) { try LowRank().pattern("2:4") }
        try compress(0.3, layer.statistics)
    }
}

@Suite struct WeLoreTests {
    /// Six square matrices: of rank 8, of ranks 16 and 32 with noise, two without structure, one that decays.
    private static let network: [(name: String, weight: Tensor<Float>)] = {
        var generator = SeededGenerator(seed: 21)
        let n = 48
        func low(_ rank: Int, _ noise: Float) -> Tensor<Float> {
            let product = Tensor<Float>(normal: [n, rank], using: &generator).multiplied(
                by: Tensor(normal: [rank, n], using: &generator))
            let rest = Tensor<Float>(normal: [n, n], using: &generator)
            return Tensor(zip(product.scalars, rest.scalars).map { $0 + noise * $1 }, shape: [n, n])
        }
        func gaussian() -> Tensor<Float> { Tensor(normal: [n, n], using: &generator) }
        let decaying = Tensor<Float>(
            gaussian().scalars.enumerated().map { $1 * Float(exponential(-Double($0 % n) / 6)) }, shape: [n, n])
        let all = [low(4, 0), low(8, 0.05), low(16, 0.1), gaussian(), gaussian(), decaying]
        return all.enumerated().map { ("w\($0)", $1) }
    }()

    private func prepared(_ sparsity: Double, target: WeLore.Target = .ranks, scale: Float = 1) throws -> WeLore {
        let weights = Dictionary(uniqueKeysWithValues: Self.network)
        let method = try WeLore(target: target).prepared(
            for: Self.network.map { ($0.name, $0.weight.shape) }, sparsity: sparsity
        ) { name in Tensor(weights[name]!.scalars.map { $0 * scale }, shape: weights[name]!.shape) }
        return try #require(method as? WeLore)
    }

    private func error(_ ranks: (String) -> Int) throws -> Double {
        let errors = try Self.network.map { name, weight in
            let found = try LowRank(isWhitened: false).factored(
                weight, rank: ranks(name), statistics: nil, values: .f32)
            let (a, b) = (weight.scalars, found.densified().scalars)
            let lost = zip(a, b).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
            return (lost / a.reduce(0.0) { $0 + Double($1 * $1) }).squareRoot()
        }
        return errors.reduce(0, +) / Double(errors.count)
    }

    @Test(arguments: [0.3, 0.5]) func ranksFollowTheSpectra(sparsity: Double) throws {
        let method = try prepared(sparsity)
        let ranks = method.ranks
        #expect(ranks.values.reduce(0, +) <= Int((1 - sparsity) * 6 * 48))
        #expect(ranks["w0"]! <= 4)
        // Below a low enough threshold, noise is rank.
        if sparsity == 0.5 { #expect(ranks["w1"]! <= 9) }
        #expect(ranks["w3"]! > 40 && ranks["w4"]! > 40)
        let uniform = Int((1 - sparsity) * 48)
        #expect(try error { ranks[$0]! } < 0.5 * error { _ in uniform })
    }

    @Test func theThresholdIsTheSmallestThatMeetsTheTarget() throws {
        let method = try prepared(0.4)
        let threshold = try #require(method.threshold)
        let spectra = try Self.network.map { try WeLore.normalized($0.weight.svd().s.map(Double.init)) }
        func kept(_ threshold: Double) -> Int { spectra.reduce(0) { $0 + $1.count { $0 >= threshold } } }
        let limit = Int(0.6 * 6 * 48 + 1e-9)
        #expect(kept(threshold) <= limit)
        let below = spectra.flatMap(\.self).filter { $0 < threshold }.max()
        #expect(try kept(#require(below)) > limit)
        #expect(try prepared(0.4, scale: 300).ranks == method.ranks)
    }

    @Test func numbersAreCountedAsStored() throws {
        let method = try prepared(0.3, target: .numbers)
        var stored = 0
        for (index, layer) in Self.network.enumerated() {
            let matrix = try method.compress(
                layer.weight, statistics: nil, request: CompressionRequest(name: layer.name, layer: index))
            stored += matrix.storedCount
            // Two factors only where they are smaller than the matrix.
            #expect((matrix is ProductMatrix) == (method.ranks[layer.name]! * 96 < 48 * 48))
            #expect(matrix.storedCount <= 48 * 48)
        }
        #expect(Double(stored) <= 0.7 * 6 * 48 * 48)
        #expect(Double(stored) > 0.6 * 6 * 48 * 48)
    }

    @Test func aLayerThatWasNotSurveyedIsRefused() throws {
        #expect(throws: LacunaError.self) {
            try WeLore().compress(
                Self.network[0].weight, statistics: nil, request: CompressionRequest(name: "w0", sparsity: 0.5))
        }
        #expect(throws: LacunaError.self) { try prepared(1) }
    }
}
