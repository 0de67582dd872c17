import Lacuna

/// Users and items, real and drawn.
enum InteractionBeds {
    static let missing = RealData.isMissing("debian-dependencies", "its part was not run")

    /// Debian's packages and what they depend on; nil if the data is not there.
    static func debian(seed: UInt64) throws -> (train: Interactions, test: Interactions)? {
        guard let folder = RealData.file("debian-dependencies") else { return nil }
        let count = try FileSystem.readText(folder + "/items.txt").split(separator: "\n").count
        let rows = try FileSystem.readText(folder + "/users.tsv").split(separator: "\n").map { line in
            line.split(separator: "\t").last?.split(separator: " ").compactMap { Int($0) }.filter { $0 < count } ?? []
        }
        var pattern = SparsePattern(rows: rows.count, columns: count)
        for (user, items) in rows.enumerated() { for item in items { pattern[user, item] = true } }
        return try Interactions(pattern).split(share: 0.3, seed: seed)
    }

    /// 300 users who each take 30 of 500 items, a third of them to test: the largest of products of vectors of six numbers
    /// plus Gumbel noise.
    static func drawn(seed: UInt64) throws -> (train: Interactions, test: Interactions) {
        var generator = SeededGenerator(seed: seed, stream: 0xD5A)
        let users = Tensor<Float>(normal: [300, 6], standardDeviation: 1, using: &generator)
        let items = Tensor<Float>(normal: [500, 6], standardDeviation: 1, using: &generator)
        var pattern = SparsePattern(rows: 300, columns: 500)
        for user in 0..<300 {
            let scores = (0..<500).map { item -> Double in
                let product = (0..<6).reduce(0) { $0 + Double(users[user, $1] * items[item, $1]) }
                let uniform = Double.random(in: .leastNonzeroMagnitude..<1, using: &generator)
                return product - log(-log(uniform))
            }
            for item in (0..<500).sorted(by: { scores[$0] > scores[$1] }).prefix(30) { pattern[user, item] = true }
        }
        return try Interactions(pattern).split(share: 1.0 / 3, seed: seed)
    }

    /// Natural; Lacuna avoids Foundation.
    private static func log(_ x: Double) -> Double {
        let tape = Tape<Double>()
        return tape.constant(Tensor([x], shape: [1])).map(.logarithm).item
    }

    /// Mean recall and nDCG among the first 20 of the items that users do not have.
    static func quality(
        _ model: some Recommender, _ train: Interactions, _ test: Interactions
    ) -> (recall: Double, gain: Double) {
        let users = (0..<test.users).filter { !test.items(of: $0).isEmpty }
        var (recall, gain) = (0.0, 0.0)
        for (user, ranking) in zip(users, model.recommendations(for: users, count: 20, train)) {
            let wanted = Set(test.items(of: user))
            let hits = ranking.map { wanted.contains($0) }
            recall += Double(hits.count { $0 }) / Double(wanted.count)
            let discounts = (0..<20).map { 1 / Self.log(Double($0 + 2)) }
            gain +=
                zip(hits, discounts).reduce(0) { $0 + ($1.0 ? $1.1 : 0) }
                / discounts.prefix(wanted.count).reduce(0, +)
        }
        let n = Double(max(users.count, 1))
        return (recall / n, gain / n)
    }
}
