import Lacuna

/// Checks that penalties nearer to l0 than l1 find sparser codes at the same error, and the true supports.
struct BeyondL1Reproduction: Reproduction {
    let shortName = "BeyondL1"
    let paper = 41
    let title = "Beyond l1 sparse coding in V1"
    let arXiv: String? = nil
    let claim =
        "Thresholds of penalties nearer to l0 (l1/2, hard, CEL0) code with far fewer active units than soft thresholding at the "
        + "same reconstruction error."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let vectors = context.quick ? 150 : 500
        let settings: [(name: String, penalty: CodingPenalty, weights: [Double])] = [
            ("soft", .l1, [0.03, 0.05, 0.1, 0.2, 0.3]), ("half", .half, [0.02, 0.03, 0.05, 0.1]),
            ("CEL0", .cel0, [0.01, 0.02, 0.04]), ("hard", .l0, [0.02, 0.05, 0.1]),
        ]
        var active: [String: Sample] = [:]
        var (score, error) = (active, active)
        for index in 0..<seeds {
            try context.progress.report("codes", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            var bed = try SuperposedAtoms(dimensions: 64, atoms: 128, activity: .exactly(8), seed: seed)
            bed.isSigned = true
            bed.noise = 0.05
            var generator = SeededGenerator(seed: seed, stream: 0xBE1)
            let (x, truth) = bed.draw(vectors, using: &generator)
            for (name, penalty, weights) in settings {
                // Every penalty at the weight that serves it best: the best overlap with the true supports.
                let best = try weights.map { weight -> (f1: Double, quality: CodingQuality) in
                    var coding = try SparseCoding(penalty: penalty, weight: weight, atoms: bed.directions)
                    coding.tolerance = 1e-4
                    coding.iterations = 600
                    let codes = try coding.encode(x)
                    return (Self.overlap(codes, truth), CodingQuality(of: coding, x, codes))
                }.max { $0.f1 < $1.f1 }!
                active[name, default: Sample()].values.append(best.quality.active)
                error[name, default: Sample()].values.append(best.quality.unexplained)
                score[name, default: Sample()].values.append(best.f1)
            }
            // Soft thresholding at the error of CEL0.
            let goal = error["CEL0"]!.values.last!
            let same = try [0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2].map { weight -> CodingQuality in
                var coding = try SparseCoding(penalty: .l1, weight: weight, atoms: bed.directions)
                coding.tolerance = 1e-4
                coding.iterations = 600
                return CodingQuality(of: coding, x, try coding.encode(x))
            }.min { abs($0.unexplained - goal) < abs($1.unexplained - goal) }!
            active["soft at equal error", default: Sample()].values.append(same.active)
        }
        let ratio = active["soft at equal error"]! / active["CEL0"]!
        return Outcome(
            setting:
                "128 atoms in 64 dimensions, known; 8 active with signs, noise 0.05, \(vectors) vectors; every penalty at its "
                + "best of a few weights; \(seeds) seeds",
            measurements: settings.flatMap { setting -> [Measurement] in
                let name = setting.name
                return [
                    score[name]!.measured(
                        "overlap with the true support (F1), \(name)", against: name == "soft" ? nil : score["soft"]!,
                        "soft"),
                    active[name]!.measured(
                        "active atoms, \(name)", against: name == "soft" ? nil : active["soft"]!, "soft"),
                    error[name]!.measured(
                        "error left, \(name)", against: name == "soft" ? nil : error["soft"]!, "soft"),
                ]
            } + [ratio.measured("active atoms of soft thresholding at CEL0's error, as a multiple")],
            checks: [
                Check("CEL0 finds the true supports", score["CEL0"]!.low, .greater, 0.99),
                Check("half comes next", (score["half"]! - score["soft"]!).low, .greater, 0),
                Check("and is behind CEL0", (score["CEL0"]! - score["half"]!).low, .greater, 0),
                Check("hard thresholding from 0 gets stuck", (score["CEL0"]! - score["hard"]!).low, .greater, 0.1),
                Check("at equal error soft thresholding needs over 1.5 times the atoms", ratio.low, .greater, 1.5),
            ],
            notes: [
                "The authors' data are whitened photographs; here the atoms are known, so that supports can be compared."
            ])
    }

    private static func overlap(_ codes: SparseMatrix<Float>, _ truth: Tensor<Float>) -> Double {
        var (both, found) = (0, 0)
        codes.forEachEntry { t, j, _ in
            found += 1
            if truth[t, j] != 0 { both += 1 }
        }
        let there = truth.scalars.count { $0 != 0 }
        return 2 * Double(both) / Double(max(found + there, 1))
    }
}
