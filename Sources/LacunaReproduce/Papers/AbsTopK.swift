import Lacuna

/// Checks that signed codes describe features with two directions by half as many atoms.
struct AbsTopKReproduction: Reproduction {
    let shortName = "AbsTopK"
    let paper = 31
    let title = "AbsTopK: Rethinking Sparse Autoencoders For Bidirectional Features"
    let arXiv: String? = "2510.00404"
    let claim =
        "Keeping the k largest magnitudes with their signs describes features that have two directions by single atoms, and "
        + "reconstructs better than TopK at the same width."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 1500 : 4000
        var errors: [String: Sample] = [:]
        var found: [String: Sample] = [:]
        for index in 0..<seeds {
            try context.progress.report("dictionaries", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            for signed in [true, false] {
                var atoms = try SuperposedAtoms(dimensions: 32, atoms: 48, activity: .exactly(4), seed: seed)
                atoms.isSigned = signed
                atoms.noise = 0.02
                let bed = DictionaryBed(atoms, count: context.quick ? 15_360 : 40_960, seed: seed)
                for (name, rule) in [("TopK", SelectionRule.topK(4)), ("AbsTopK", .absTopK(4))] {
                    for width in signed ? [48, 96] : [48] {
                        let (dictionary, quality) = try bed.trained(rule, width: width, steps: steps)
                        let key = "\(name) \(width)\(signed ? "" : " one-signed")"
                        errors[key, default: Sample()].values.append(quality.unexplained)
                        found[key, default: Sample()].values.append(
                            bed.recovery(dictionary, signed: true).share(above: 0.9))
                    }
                }
            }
        }
        let narrow = errors["AbsTopK 48"]!
        let ratio = errors["TopK 48"]! / narrow
        let double = narrow / errors["TopK 96"]!
        let tie = errors["AbsTopK 48 one-signed"]! / errors["TopK 48 one-signed"]!
        return Outcome(
            setting:
                "48 atoms in 32 dimensions, 4 active in every vector, signs at random; k = 4, \(steps) steps of 512; "
                + "\(seeds) seeds",
            measurements: [
                narrow.measured("variance not explained, AbsTopK of 48", against: errors["TopK 48"]!, "TopK of 48"),
                errors["AbsTopK 96"]!.measured(
                    "variance not explained, AbsTopK of 96", against: errors["TopK 96"]!, "TopK of 96"),
                found["AbsTopK 48"]!.measured(
                    "atoms found (cosine above 0.9), AbsTopK of 48", against: found["TopK 48"]!, "TopK of 48"),
                found["TopK 96"]!.measured("atoms found, TopK of 96"),
                errors["AbsTopK 48 one-signed"]!.measured(
                    "variance not explained where all signs are +, AbsTopK of 48",
                    against: errors["TopK 48 one-signed"]!, "TopK of 48"),
            ],
            checks: [
                Check("at 48 atoms TopK leaves over twice what AbsTopK leaves", ratio.low, .greater, 2),
                Check("AbsTopK of 48 leaves at most 1.5 times what TopK of 96 leaves", double.high, .less, 1.5),
                Check(
                    "AbsTopK of 48 finds more atoms than TopK of 48", (found["AbsTopK 48"]! - found["TopK 48"]!).low,
                    .greater, 0.3),
                Check("without signs the two are within 25 % of each other", abs(tie.mean - 1), .less, 0.25),
            ])
    }
}
