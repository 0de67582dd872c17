import LacunaRegress
import LacunaTensor
import Testing

@testable import LacunaStructure

/// Classes found through domains, and the classical pieces they are found with.
@Suite struct LabelShiftTests {
    /// Every way of pairing, tried out.
    private static func permutations(_ count: Int) -> [[Int]] {
        if count == 0 { return [[]] }
        return permutations(count - 1).flatMap { shorter in
            (0..<count).map { place in Array(shorter[..<place]) + [count - 1] + Array(shorter[place...]) }
        }
    }

    @Test func assignmentsAreTheCheapest() throws {
        var random = SeededGenerator(seed: 3)
        for round in 0..<20 {
            let (n, m) = (1 + round % 4, 4 + round % 2)
            let costs = Tensor((0..<n * m).map { _ in (10 * random.normal()).rounded() }, shape: [n, m])
            let found = try Assignment.cheapest(costs)
            #expect(Set(found).count == n)
            func total(_ columns: [Int]) -> Double { (0..<n).reduce(0) { $0 + costs[$1, columns[$1]] } }
            let best = Self.permutations(m).map { total($0) }.min()
            #expect(total(found) == best)
        }
        #expect(throws: LacunaError.self) { try Assignment.cheapest(Tensor(zeros: [3, 2])) }
        #expect(throws: LacunaError.self) { try Assignment.cheapest(Tensor([.nan], shape: [1, 1])) }
        // Names of classes do not matter.
        #expect(try ShiftedClasses.matchedAccuracy([2, 2, 0, 1, 1], [0, 0, 1, 2, 1]) == 0.8)
        #expect(throws: LacunaError.self) { try ShiftedClasses.matchedAccuracy([1], [1, 2]) }
        #expect(throws: LacunaError.self) { try ShiftedClasses.matchedAccuracy([0, .max], [1, 2]) }
        // Of a column in which every row is a class of its own each class found gets one.
        let truth = Array(0..<100_000)
        #expect(try ShiftedClasses.matchedAccuracy(truth.map { $0 % 2 }, truth) == 2e-5)
    }

    /// Against every set of coefficients that are not 0.
    @Test func leastSquaresFromZeroUp() throws {
        var random = SeededGenerator(seed: 9)
        for _ in 0..<30 {
            let rows = Tensor((0..<4 * 6).map { _ in random.normal() }, shape: [4, 6])
            let target = (0..<6).map { _ in random.normal() }
            let gram = rows.multiplied(by: rows, otherTransposed: true)
            let products = (0..<4).map { y in (0..<6).reduce(0) { $0 + rows[y, $1] * target[$1] } }
            func loss(_ x: [Double]) -> Double {
                (0..<6).reduce(0) { sum, j in
                    let rest = target[j] - (0..<4).reduce(0) { $0 + x[$1] * rows[$1, j] }
                    return sum + rest * rest
                }
            }
            let found = NonNegativeLeastSquares.solve(gram: gram, products: products)
            #expect(found.allSatisfy { $0 >= 0 })
            var best = loss([0, 0, 0, 0])
            for set in 1..<16 {
                let chosen = (0..<4).filter { set >> $0 & 1 == 1 }
                var small = Tensor<Double>(zeros: [chosen.count, chosen.count])
                for (a, i) in chosen.enumerated() { for (b, j) in chosen.enumerated() { small[a, b] = gram[i, j] } }
                let values = try small.solvePositiveDefinite(
                    Tensor(chosen.map { products[$0] }, shape: [chosen.count, 1])
                ).scalars
                guard values.allSatisfy({ $0 >= 0 }) else { continue }
                var x = [0.0, 0, 0, 0]
                for (place, i) in chosen.enumerated() { x[i] = values[place] }
                best = min(best, loss(x))
            }
            #expect(abs(loss(found) - best) < 1e-9)
        }
    }

    @Test func meansOfClusters() throws {
        var random = SeededGenerator(seed: 1)
        let centers: [(Double, Double)] = [(0, 0), (9, 1), (-4, 7)]
        var points: [Double] = []
        for i in 0..<90 {
            points += [centers[i % 3].0 + 0.2 * random.normal(), centers[i % 3].1 + 0.2 * random.normal()]
        }
        let table = Tensor(points, shape: [90, 2])
        let found = try KMeans(clusters: 3).fit(table)
        #expect(try ShiftedClasses.matchedAccuracy(found.places, (0..<90).map { $0 % 3 }) == 1)
        // Means are means, and the distance is to the nearest of them.
        var sum = 0.0
        for c in 0..<3 {
            let own = (0..<90).filter { found.places[$0] == c }
            for k in 0..<2 {
                let mean = own.reduce(0) { $0 + table[$1, k] } / Double(own.count)
                #expect(abs(found.means[c, k] - mean) < 1e-12)
                sum += own.reduce(0) { $0 + (table[$1, k] - mean) * (table[$1, k] - mean) }
            }
        }
        #expect(abs(sum - found.distance) < 1e-9)
        #expect(throws: LacunaError.self) { try KMeans(clusters: 91).fit(table) }
        let far = Tensor([1e300, -1e300], shape: [2, 1])
        #expect(throws: LacunaError.self) { try KMeans(clusters: 1).fit(far) }
    }

    private static let profiles = Tensor(
        [0.6, 0.1, 0.1, 0.2, 0.1, 0.7, 0.1, 0.1, 0.2, 0.1, 0.3, 0.4], shape: [3, 4])

    /// Without noise and with a pure row for each class the corners are exact, in whatever order.
    @Test func cornersAreExact() throws {
        var random = SeededGenerator(seed: 6)
        var rows: [Double] = []
        for i in 0..<20 {
            var weights = (0..<3).map { _ in random.uniform() }
            if i >= 17 { weights = (0..<3).map { $0 == i - 17 ? 1 : 0 } }
            let total = weights.reduce(0, +)
            rows += (0..<4).map { d in (0..<3).reduce(0) { $0 + weights[$1] / total * Self.profiles[$1, d] } }
        }
        let found = try LatentLabelShift.corners(Tensor(rows, shape: [20, 4]), count: 3)
        for y in 0..<3 {
            let isThere = (0..<3).contains { k in
                (0..<4).allSatisfy { abs(found[k, $0] - Self.profiles[y, $0]) < 1e-12 }
            }
            #expect(isThere)
        }
        // Two kinds of rows are no three classes.
        #expect(throws: LacunaError.self) {
            try LatentLabelShift.corners(Tensor([1, 0, 0, 1, 0.5, 0.5, 0.2, 0.8], shape: [4, 2]), count: 3)
        }
    }

    /// Mixtures by Bayes from profiles, and back.
    @Test func mixturesFollowFromProfiles() throws {
        let mixtures = Tensor([0.7, 0.2, 0.1, 0.1, 0.8, 0.1, 0.2, 0.3, 0.5, 0.4, 0.2, 0.4], shape: [4, 3])
        var profiles = Tensor<Double>(zeros: [3, 4])
        for y in 0..<3 {
            let sum = (0..<4).reduce(0) { $0 + mixtures[$1, y] }
            for d in 0..<4 { profiles[y, d] = mixtures[d, y] / sum }
        }
        let result = try LatentLabelShift.Result(profiles: profiles)
        #expect(largestDifference(result.mixtures.scalars, mixtures.scalars) < 1e-9)
        #expect(largestDifference(result.shares, [1.4 / 4, 1.5 / 4, 1.1 / 4]) < 1e-9)
        let values = try mixtures.svd().s
        #expect(abs(result.condition - values[0] / values[2]) < 1e-6)
        // A row of a mixture of classes is told apart exactly; its domain counts as Bayes says.
        let weights = [0.5, 0.3, 0.2]
        let profile = (0..<4).map { d in (0..<3).reduce(0) { $0 + weights[$1] * profiles[$1, d] } }
        #expect(largestDifference(result.probabilities(profile, domain: nil), weights) < 1e-9)
        let known = (0..<3).map { weights[$0] * profiles[$0, 1] }
        #expect(
            largestDifference(result.probabilities(profile, domain: 1), known.map { $0 / known.reduce(0, +) }) < 1e-9)
    }

    /// Blobs of a class lie far from each other and close to those of other classes: domains tell what closeness does not.
    @Test func domainsTellWhatClosenessDoesNot() throws {
        let centers: [[(Double, Double)]] = [[(-6, 0), (6, 1.2)], [(-6, 1.2), (0, 6)], [(6, 0), (0, 7.2)]]
        let mixtures = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.15, 0.1, 0.75], [0.4, 0.5, 0.1]]
        var random = SeededGenerator(seed: 2)
        var (columns, truth, domains): ([[Double]], [Int], [String]) = ([[], []], [], [])
        for i in 0..<3000 {
            let mixture = mixtures[i % 4]
            let u = random.uniform()
            let y = u < mixture[0] ? 0 : u < mixture[0] + mixture[1] ? 1 : 2
            let center = centers[y][Int(random.next() % 2)]
            columns[0].append(center.0 + 0.25 * random.normal())
            columns[1].append(100 * (center.1 + 0.25 * random.normal()))
            truth.append(y)
            domains.append("site \(i % 4)")
        }
        let rows = Tensor(
            (0..<3000).flatMap { [columns[0][$0] / 4, columns[1][$0] / 400] }, shape: [3000, 2])
        let places = (0..<3000).map { $0 % 4 }
        let learnt = try DomainDiscriminator(epochs: 15, seed: 4).profiles(rows, domains: places)
        #expect(learnt.loss < 0.9 * learnt.chance && abs(learnt.chance - logarithm(4)) < 0.01 && learnt.epoch >= 1)
        for i in stride(from: 0, to: 3000, by: 500) {
            #expect(abs((0..<4).reduce(0) { $0 + learnt.profiles[i, $1] } - 1) < 1e-9)
        }
        let found = try LatentLabelShift(classes: 3, clusters: 12).fit(profiles: learnt.profiles, domains: places)
        let accuracy = try ShiftedClasses.matchedAccuracy(
            found.classes(learnt.profiles, domains: places), truth)
        let near = try ShiftedClasses.matchedAccuracy(KMeans(clusters: 3).fit(rows).places, truth)
        #expect(accuracy > 0.8 && near < 0.65, "\(accuracy) \(near)")
        let factors = try LatentLabelShift(classes: 3, clusters: 12, recovery: .factors)
            .fit(profiles: learnt.profiles, domains: places)
        for result in [found, factors] {
            for d in 0..<4 { #expect(abs((0..<3).reduce(0) { $0 + result.mixtures[d, $1] } - 1) < 1e-9) }
            #expect(abs(result.shares.reduce(0, +) - 1) < 1e-9)
        }
        #expect(throws: LacunaError.self) {
            try LatentLabelShift(classes: 5).fit(profiles: learnt.profiles, domains: places)
        }
        #expect(throws: LacunaError.self) {
            try LatentLabelShift(classes: 2).fit(profiles: learnt.profiles, domains: places.map { $0 % 3 })
        }
        #expect(throws: LacunaError.self) { try DomainDiscriminator().profiles(rows, domains: places.map { _ in 0 }) }
        #expect(throws: LacunaError.self) {
            try DomainDiscriminator().profiles(rows, domains: places.map { $0 == 0 ? 0 : .max })
        }
        #expect(throws: LacunaError.self) {
            try DomainDiscriminator().profiles(Tensor(zeros: [4, 0]), domains: [0, 0, 1, 1])
        }
    }

    /// With hundreds of clusters none has a hundredth of the rows.
    @Test func manyClustersAreNotAllNoise() throws {
        var random = SeededGenerator(seed: 8)
        var (profiles, domains) = ([Double](), [Int]())
        for i in 0..<1000 {
            let share = 0.1 + 0.8 * Double(i % 500) / 499
            profiles += [share, 1 - share]
            domains.append(random.uniform() < share ? 0 : 1)
        }
        let model = LatentLabelShift(classes: 2, clusters: 300)
        let found = try model.fit(profiles: Tensor(profiles, shape: [1000, 2]), domains: domains)
        #expect(found.shares.count == 2)
    }

    /// Of several starts the best one counts, so that more of them are never worse and sometimes better.
    @Test func restartsHelp() throws {
        var random = SeededGenerator(seed: 14)
        let points = Tensor((0..<60).map { Double($0 % 12) + 0.15 * random.normal() }, shape: [60, 1])
        let distances = try (0..<20).map { seed in
            try [1, 2, 6].map { try KMeans(clusters: 12, restarts: $0, seed: UInt64(seed)).fit(points).distance }
        }
        #expect(distances.allSatisfy { $0[0] >= $0[1] && $0[1] >= $0[2] })
        #expect(distances.contains { $0[0] > 1.3 * $0[2] })
    }

    /// A single odd row is a cluster of its own, and the most extreme one: whether it counts is a setting.
    @Test func clustersOfAFewRowsAreNoise() throws {
        var (profiles, domains) = ([Double](), [Int]())
        for (profile, counts) in [([0.7, 0.3], [70, 30]), ([0.3, 0.7], [30, 70]), ([1.0, 0], [1, 0])] {
            for (domain, count) in counts.enumerated() {
                for _ in 0..<count {
                    profiles += profile
                    domains.append(domain)
                }
            }
        }
        func firsts(_ smallestShare: Double) throws -> [Double] {
            let model = LatentLabelShift(classes: 2, clusters: 3, smallestShare: smallestShare)
            let found = try model.fit(profiles: Tensor(profiles, shape: [201, 2]), domains: domains)
            return [found.profiles[0, 0], found.profiles[1, 0]].sorted()
        }
        let (a, b) = (70.0 / 101 / (70.0 / 101 + 0.3), 30.0 / 101 / (30.0 / 101 + 0.7))
        #expect(largestDifference(try firsts(0.01), [b, a]) < 1e-9)
        #expect(largestDifference(try firsts(0), [b, 1]) < 1e-9)
    }
}
