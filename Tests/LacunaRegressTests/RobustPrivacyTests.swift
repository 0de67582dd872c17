import LacunaTensor
import Testing

@testable import LacunaRegress

/// Quantiles without a range, how answers are distributed, and robust estimates out of private ones.
@Suite struct RobustPrivacyTests {
    private static func free(_ epsilon: Double, _ delta: Double, resolution: Double = 0.25, fraction: Double = 0.5)
        throws -> UnboundedPrivateQuantile
    {
        try UnboundedPrivateQuantile(
            fraction: fraction, resolution: resolution, budget: PrivacyBudget(epsilon: epsilon, delta: delta))
    }

    /// δ by the definition, on a fine grid.
    private static func excess(_ a: AnswerDistribution, _ b: AnswerDistribution, epsilon: Double, step: Double)
        -> Double
    {
        func density(_ d: AnswerDistribution, _ t: Double) -> Double {
            d.pieces.first { $0.interval.lowerBound < t && t <= $0.interval.upperBound }
                .map { $0.probability / ($0.interval.upperBound - $0.interval.lowerBound) } ?? 0
        }
        let low = min(a.pieces[0].interval.lowerBound, b.pieces[0].interval.lowerBound)
        let high = max(a.pieces.last!.interval.upperBound, b.pieces.last!.interval.upperBound)
        var sum = max(0, a.refusal - exponential(epsilon) * b.refusal)
        for t in stride(from: low + step / 2, to: high, by: step) {
            sum += max(0, density(a, t) - exponential(epsilon) * density(b, t)) * step
        }
        return sum
    }

    @Test func excessIsTheDefinition() throws {
        let quantile = try PrivateQuantile(range: -2...4, resolution: 0.125, epsilon: 1)
        let a = quantile.distribution(of: [0, 1, 2])
        let b = quantile.distribution(of: [0.5, 1.5, 3])
        #expect(abs(a.pieces.reduce(0) { $0 + $1.probability } - 1) < 1e-14 && a.refusal == 0)
        for epsilon in [0, 0.2, 0.7, 2] {
            let expected = Self.excess(a, b, epsilon: epsilon, step: 1e-3)
            #expect(abs(a.excess(over: b, epsilon: epsilon) - expected) < 2e-3, "\(epsilon)")
        }
        #expect(a.excess(over: a, epsilon: 0) < 1e-15)
        // Answers cut off, and none at all.
        let free = try Self.free(6, 0.05)
        var random = SeededGenerator(seed: 2)
        let one = free.distribution(of: (0..<21).map { _ in random.normal() })
        let two = free.distribution(of: (0..<21).map { _ in 0.3 * random.normal() })
        #expect(one.refusal > 0 && abs(one.pieces.reduce(one.refusal) { $0 + $1.probability } - 1) < 1e-12)
        for epsilon in [0, 1.5] {
            for (p, q) in [(one, two), (two, one)] {
                let expected = Self.excess(p, q, epsilon: epsilon, step: 1e-3)
                #expect(abs(p.excess(over: q, epsilon: epsilon) - expected) < 3e-3)
            }
        }
    }

    /// Exactly, over neighbouring tables between crowded and far apart, with rows taken anywhere.
    @Test(arguments: [(0.5, 21, 6.0), (0.5, 40, 3), (0.25, 21, 10)])
    func neighboursAreClose(fraction: Double, rows: Int, epsilon: Double) throws {
        let delta = 0.05
        let free = try Self.free(epsilon, delta, fraction: fraction)
        var random = SeededGenerator(seed: 5)
        var (largest, third, calm, wild) = (0.0, 0.0, 0, 0)
        for _ in 0..<2000 {
            let spread = exponential(5 * random.uniform() - 3)
            let table = (0..<rows).map { _ in spread * random.normal() }
            let value = random.uniform() < 0.5 ? spread * random.normal() : 1e4 * random.normal()
            let (a, b) = (free.distribution(of: table), free.distribution(of: [value] + table.dropFirst()))
            largest = max(largest, a.excess(over: b, epsilon: epsilon), b.excess(over: a, epsilon: epsilon))
            third = max(third, a.excess(over: b, epsilon: epsilon / 3), b.excess(over: a, epsilon: epsilon / 3))
            if a.refusal < 0.1 { calm += 1 }
            if a.refusal > 0.9 { wild += 1 }
        }
        #expect(largest <= delta + 1e-12, "\(largest)")
        #expect(third > delta, "noise in excess: \(third)")
        #expect(calm > 50 && wild > 50, "\(calm) \(wild)")
    }

    /// How far a table is from one that is not calm changes by at most 1 with a row, and is true: that many rows changed in any
    /// way leave a calm table.
    @Test func calmness() throws {
        let free = try Self.free(6, 0.05)
        var random = SeededGenerator(seed: 7)
        func calm(_ rows: [Double]) -> Int {
            free.calm(
                PrivateQuantile.pieces(rows.sorted(), rank: 11, resolution: 0.25, range: -free.limit...free.limit),
                rows: rows.count)
        }
        #expect(free.reach(of: 21) == 5 && free.reach(of: 1) == 0 && free.reach(of: 40) == 10)
        var seen: Set<Int> = []
        for _ in 0..<300 {
            var rows = (0..<21).map { _ in 0.5 * exponential(2 * random.uniform()) * random.normal() }
            let before = calm(rows)
            seen.insert(before)
            for step in 1...max(before, 1) {
                // The rows nearest to the median, as far out as can be: what makes answers longest.
                let place = rows.indices.sorted { abs(rows[$0]) < abs(rows[$1]) }[0]
                let last = calm(rows)
                rows[place] = step % 2 == 0 ? 1e5 : -1e5
                #expect(abs(calm(rows) - last) <= 1)
                if step <= before { #expect(calm(rows) >= 0) }
            }
        }
        #expect(seen.contains(-1) && seen.contains { $0 > 1 }, "\(seen)")
        // By hand: 21 rows at 0 leave answers within ρ of it; L = 5, and 11 - 7 rows more may change.
        #expect(calm([Double](repeating: 0, count: 21)) == 4)
    }

    @Test func answersFollowTheDistribution() throws {
        let free = try Self.free(6, 0.05)
        var random = SeededGenerator(seed: 11)
        // The first table of a few that is as often answered as not, or nearly.
        let tables = (0..<50).map { k in (0..<21).map { _ in 100_000 + (0.5 + 0.05 * Double(k)) * random.normal() } }
        let rows = try #require(tables.first { (0.1...0.9).contains(free.distribution(of: $0).refusal) })
        let distribution = free.distribution(of: rows)
        let draws = 4000
        var (refused, counts) = (0, [Int](repeating: 0, count: distribution.pieces.count))
        for _ in 0..<draws {
            guard let t = try free(rows, using: &random) else {
                refused += 1
                continue
            }
            #expect((t / free.grid).rounded() == t / free.grid)
            if let k = distribution.pieces.firstIndex(where: { $0.interval.contains(t) }) {
                counts[k] += 1
            } else {
                let ends = (
                    distribution.pieces.first!.interval.lowerBound, distribution.pieces.last!.interval.upperBound
                )
                #expect(t >= ends.0 - free.grid && t <= ends.1 + free.grid)
            }
        }
        func isNear(_ count: Int, _ p: Double) -> Bool {
            abs(Double(count) - p * Double(draws)) < 4.5 * (p * (1 - p) * Double(draws)).squareRoot() + 2
        }
        #expect(isNear(refused, distribution.refusal) && refused > 0 && refused < draws)
        for (count, piece) in zip(counts, distribution.pieces) { #expect(isNear(count, piece.probability)) }
    }

    @Test func answersAnywhere() throws {
        let free = try Self.free(1, 1e-6, resolution: 1e-3)
        var random = SeededGenerator(seed: 13)
        for place in [0, -3e7, 8e8] {
            let rows = (0..<1001).map { _ in place + random.normal() }
            let found = try #require(try free(rows, using: &random))
            #expect(abs(found - place) < 0.3)
        }
        #expect(try free((0..<21).map { _ in 1e8 * random.normal() }, using: &random) == nil)
        #expect(try free([.infinity], using: &random) == nil)
        #expect(free.account.total == free.budget && free.account.model == .central)
        #expect(throws: LacunaError.self) { try free([], using: &random) }
        #expect(throws: LacunaError.self) { try free([1, .nan], using: &random) }
        #expect(throws: LacunaError.self) { try Self.free(1, 0) }
        #expect(throws: LacunaError.self) { try Self.free(1, 0.5) }
        #expect(throws: LacunaError.self) { try Self.free(1, 0.1, resolution: 0) }
        #expect(throws: LacunaError.self) { try Self.free(1, 0.1, fraction: 1.5) }
    }

    @Test func majoritiesWithstand() throws {
        // exp(kε) β < 1/2 at k, and not at k + 1.
        for (beta, epsilon) in [(1e-6, 1.0), (0.01, 0.5), (0.3, 0.1), (0.49, 2), (1e-300, 0.01)] {
            let k = RobustFromPrivate.tolerated(failure: beta, epsilon: epsilon)
            #expect(exponential(Double(k) * epsilon) * beta < 0.5)
            #expect(exponential(Double(k + 1) * epsilon) * beta >= 0.5 * (1 - 1e-12))
        }
        // Where the bound is met exactly the next row is one too many.
        #expect(RobustFromPrivate.tolerated(failure: 0.25, epsilon: logarithm(2)) == 0)
        #expect(RobustFromPrivate.tolerated(failure: 0.5, epsilon: 1) == 0)
        #expect(RobustFromPrivate.tolerated(failure: 0, epsilon: 1) == .max)
        // Six tenths of the answers near the truth, four wherever they do most harm.
        var random = SeededGenerator(seed: 3)
        for seed in 0..<20 as Range<Int> {
            var count = 0
            let found = RobustFromPrivate(answers: 51)({
                count += 1
                let isRight = count % 5 < 3
                let away = seed % 2 == 0 ? 2.9 : 1e6
                return (0..<3).map { $0 == 0 && !isRight ? away : 0.5 * (random.uniform() - 0.5) }
            })
            // Right answers are within α = √3/4 of 0.
            #expect(found.reduce(0) { $0 + $1 * $1 }.squareRoot() <= 3 * 3.0.squareRoot() / 4)
        }
        // The mean of numbers within ± R with Laplace noise: failures exp(-α n ε / 2R), so that about α n / 2R rows are withstood;
        // moving them all the way moves the mean by α.
        let (n, bound, near) = (1000, 5.0, 0.5)
        let failure = exponential(-near * Double(n) / (2 * bound))
        let most = RobustFromPrivate.tolerated(failure: failure, epsilon: 1)
        #expect(most == 49)
        let found = RobustFromPrivate()({
            let noise = (random.uniform() < 0.5 ? 1 : -1) * logarithm(1 - random.uniform()) * 2 * bound / Double(n)
            return [2 * bound * Double(most) / Double(n) + noise]
        })
        #expect(abs(found[0]) <= near)
    }
}
