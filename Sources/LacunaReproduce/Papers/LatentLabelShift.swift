import Lacuna

/// Checks that classes are found by how domains mix them where features mislead.
struct LatentLabelShiftReproduction: Reproduction {
    let shortName = "DDFA"
    let paper = 122
    let title = "Unsupervised Learning under Latent Label Shift"
    let arXiv: String? = "2207.13179"
    let claim =
        "From unlabelled data of several domains that mix the same classes differently, classes are recovered through a classifier "
        + "of domains; where classes are not what is close together in the features, methods that go by closeness fail and this "
        + "does not."

    private static let (classes, domains) = (3, 5)
    /// Every class has two far blobs, each beside a blob of another class.
    private static let centers: [[(Double, Double)]] = [
        [(-6, 0), (6, 1.2)], [(-6, 1.2), (0, 6)], [(6, 0), (0, 7.2)],
    ]

    private struct Data {
        let rows: Tensor<Double>
        let labels, domains: [Int]
        /// p_d(y).
        let mixtures: Tensor<Double>
    }

    private static func draw(_ count: Int, seed: UInt64) throws -> Data {
        var generator = SeededGenerator(seed: seed, stream: 0xDDFA)
        var mixtures = Tensor<Double>(zeros: [domains, classes])
        repeat {
            for d in 0..<domains {
                // Dirichlet(1).
                let parts = (0..<classes).map { _ in -logarithm(1 - generator.uniform()) }
                for y in 0..<classes { mixtures[d, y] = parts[y] / parts.reduce(0, +) }
            }
            let values = try mixtures.svd().s
            if values[0] < 5 * values[classes - 1] { break }
        } while true
        var (rows, labels, places) = ([Double](), [Int](), [Int]())
        for i in 0..<count {
            let d = i % domains
            var (y, rest) = (0, generator.uniform())
            while y < classes - 1 && rest >= mixtures[d, y] {
                rest -= mixtures[d, y]
                y += 1
            }
            let center = centers[y][Int(generator.next() % 2)]
            rows += [center.0 + 0.25 * generator.normal(), center.1 + 0.25 * generator.normal()]
            labels.append(y)
            places.append(d)
        }
        return Data(
            rows: Tensor(rows.map { $0 / 4 }, shape: [count, 2]), labels: labels, domains: places, mixtures: mixtures)
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = 6000
        let seeds = (0..<UInt64(context.quick ? 5 : 8)).map { 100 &* context.seed &+ $0 }
        var accuracies: [String: [Double]] = [:]
        var errors: [String: [Double]] = [:]
        for (index, seed) in seeds.enumerated() {
            try context.progress.report("learning domains", index, of: seeds.count)
            let data = try Self.draw(count, seed: seed)
            let learnt = try DomainDiscriminator(seed: seed).profiles(data.rows, domains: data.domains)
            func measure(_ name: String, _ result: LatentLabelShift.Result) throws {
                let found = result.classes(learnt.profiles, domains: data.domains)
                accuracies[name, default: []].append(try ShiftedClasses.matchedAccuracy(found, data.labels))
                // Classes matched by the mixtures themselves.
                var costs = Tensor<Double>(zeros: [Self.classes, Self.classes])
                for a in 0..<Self.classes {
                    for b in 0..<Self.classes {
                        for d in 0..<Self.domains { costs[a, b] += abs(result.mixtures[d, a] - data.mixtures[d, b]) }
                    }
                }
                let match = try Assignment.cheapest(costs)
                let error = (0..<Self.classes).reduce(0) { $0 + costs[$1, match[$1]] } / Double(Self.domains)
                errors[name, default: []].append(error)
            }
            for recovery in LatentLabelShift.Recovery.allCases {
                let shift = LatentLabelShift(classes: Self.classes, clusters: 12, recovery: recovery, seed: seed)
                try measure(recovery.rawValue, shift.fit(profiles: learnt.profiles, domains: data.domains))
            }
            var profiles = Tensor<Double>(zeros: [Self.classes, Self.domains])
            for y in 0..<Self.classes {
                let sum = (0..<Self.domains).reduce(0) { $0 + data.mixtures[$1, y] }
                for d in 0..<Self.domains { profiles[y, d] = data.mixtures[d, y] / sum }
            }
            try measure("known", LatentLabelShift.Result(profiles: profiles))
            let near = try KMeans(clusters: Self.classes, seed: seed).fit(data.rows)
            accuracies["near", default: []].append(
                try ShiftedClasses.matchedAccuracy(near.places, data.labels))
        }
        func sample(_ name: String) -> Sample { Sample(accuracies[name] ?? []) }
        func error(_ name: String) -> Sample { Sample(errors[name] ?? []) }
        let (corners, factors, known, near) = (sample("corners"), sample("factors"), sample("known"), sample("near"))
        return Outcome(
            setting:
                "3 classes of two far blobs each, every blob beside one of another class, \(count) rows of 5 domains, mixtures "
                + "drawn evenly until their condition is below 5; a network of 64 and 64 tells the domains; 12 clusters; "
                + "\(seeds.count) seeds",
            measurements: [
                Measurement(
                    "accuracy, corners of the clusters", corners, baseline: near, baselineName: "k-means on features"),
                Measurement(
                    "accuracy, factors of the clusters' shares (the paper)", factors, baseline: near,
                    baselineName: "k-means on features"),
                Measurement("accuracy, true profiles of the classes", known),
                Measurement(
                    "error of the mixtures (sum of magnitudes a domain), corners", error("corners"),
                    baseline: error("factors"), baselineName: "factors"),
            ],
            checks: [
                Check("closeness in the features finds no more than 0.6", near, staysBelow: 0.6),
                Check("factors find more than closeness, by 0.15", factors - near, exceeds: 0.15),
                Check("corners find at least 0.85", corners, exceeds: 0.85),
                Check("corners are within 0.05 of the true profiles", known - corners, staysBelow: 0.05),
                Check("corners know the mixtures better than factors", error("factors") - error("corners")),
            ],
            notes: [
                "The paper factorises; the corners are this toolkit's recommendation, because anchor regions are what makes the "
                    + "classes identifiable, and factors are not unique.",
                "Images and self-supervised features, on which the authors compare with SCAN, are not part of this check.",
            ])
    }
}
