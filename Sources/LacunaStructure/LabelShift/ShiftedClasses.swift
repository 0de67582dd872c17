import LacunaRegress
import LacunaTensor

/// ``LatentLabelShift`` of a table whose groups are the domains: the network, the classes, and how they compare with known ones.
public struct ShiftedClasses: Sendable {
    /// As they are written, in the order of their first rows, and how many rows each has.
    public let domains: [String]
    /// Rows of each domain.
    public let rows: [Int]
    /// Profiles of the classes and mixtures of the domains.
    public let result: LatentLabelShift.Result
    /// The likeliest class of each row, from 0.
    public let classes: [Int]
    /// Of that class, for each row.
    public let probabilities: [Double]
    /// What the network loses on rows held out, in nats, and what it would if rows told nothing of their domains.
    public let loss, chance: Double
    /// The share of rows in the right class, where the table has a target, once classes are matched with those found.
    public let accuracy: Double?

    /// - Parameters:
    ///   - table: Its groups are the domains; its target, if there is one, is for comparison alone.
    ///   - shift: How many classes, and how they are found.
    ///   - discriminator: Learns the domains from the table's columns, standardised.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a table without groups, and as
    ///   ``LatentLabelShift/fit(profiles:domains:)`` and ``DomainDiscriminator/profiles(_:domains:)``.
    public init(_ table: Table, shift: LatentLabelShift, discriminator: DomainDiscriminator) throws {
        guard let labels = table.groups else {
            throw LacunaError.invalidArgument("--domain", reason: "is needed: a column that says where rows come from")
        }
        try table.requireFinite()
        let groups = RowGroups(labels)
        domains = groups.firstRows.map { labels[$0] }
        rows = groups.sizes
        guard shift.classes <= groups.count else {
            throw LacunaError.invalidArgument(
                "--classes",
                reason:
                    "are \(shift.classes), the domains \(groups.count): no more classes can be told apart than domains")
        }
        let uniform = [Double](repeating: 1 / Double(table.rows), count: table.rows)
        let moments = table.design.scaled(by: nil).moments(weights: uniform)
        var features = try table.matrix()
        let plain = table.design.inverseScales
        for j in 0..<features.columns {
            let scale = plain?[j] ?? 1
            let deviation = moments.variances[j].squareRoot()
            for i in 0..<features.rows {
                features[i, j] = deviation > 0 ? (features[i, j] / scale - moments.means[j]) / deviation : 0
            }
        }
        let learnt = try discriminator.profiles(features, domains: groups.indices)
        (loss, chance) = (learnt.loss, learnt.chance)
        let result = try shift.fit(profiles: learnt.profiles, domains: groups.indices)
        self.result = result
        let all = (0..<table.rows).map { i in
            result.probabilities(
                (0..<groups.count).map { learnt.profiles[i, $0] }, domain: groups.indices[i])
        }
        let found = all.map { row in row.indices.max { row[$0] < row[$1] } ?? 0 }
        classes = found
        probabilities = all.map { $0.max() ?? 0 }
        accuracy = try table.responses.first.map { response in
            let truth = RowGroups(response.words)
            return try Self.matchedAccuracy(found, truth.indices)
        }
    }

    /// What a reader should know beside the numbers.
    public var remarks: [String] {
        var remarks: [String] = []
        if loss > 0.98 * chance {
            remarks.append(
                "The domains look alike: the network can hardly tell them apart, and these classes mean little.")
        }
        if result.condition > 20 {
            remarks.append("The domains mix the classes nearly alike: the mixtures are known roughly at best.")
        }
        return remarks
    }

    /// The share of rows whose class is right once every class found is matched with at most one true class so that most are.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers of rows that differ, and classes below 0.
    public static func matchedAccuracy(_ found: [Int], _ truth: [Int]) throws -> Double {
        guard found.count == truth.count, !found.isEmpty else {
            throw LacunaError.invalidArgument("truth", reason: "has \(truth.count) rows, not \(found.count)")
        }
        guard found.allSatisfy({ $0 >= 0 && $0 < .max }), truth.allSatisfy({ $0 >= 0 && $0 < .max }) else {
            throw LacunaError.invalidArgument("truth", reason: "has classes that are no numbers from 0")
        }
        // Few classes are found; the true ones may be as many as rows.
        let (few, many) = ((found.max() ?? 0) + 1, (truth.max() ?? 0) + 1)
        let shape = [few, max(few, many)]
        try MachineMemory.require(shape: shape, of: Double.self, for: "\(few) classes against \(many)")
        var costs = Tensor<Double>(zeros: shape)
        for (a, b) in zip(found, truth) { costs[a, b] -= 1 }
        let match = try Assignment.cheapest(costs)
        return Double(zip(found, truth).count { match[$0] == $1 }) / Double(found.count)
    }
}
