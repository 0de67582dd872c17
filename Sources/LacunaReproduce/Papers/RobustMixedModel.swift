import Lacuna

/// The thesis' third tool: sparse mixed models with q-Gaussian residuals, beside normal ones and beside no groups at all.
extension InformationScreeningReproduction {
    /// Where residuals come from.
    enum MixedNoise: String, CaseIterable {
        case normal = "normal residuals"
        case heavy = "groups with Student residuals of 2 degrees of freedom"
        case groups = "a tenth of the groups ten times as noisy"
        case rows = "a tenth of the rows ten times as noisy"
    }

    /// Errors and supports of one model, means over the seeds.
    struct MixedScore {
        var error = 0.0
        /// The harmonic mean of the shares of selected columns that matter and of columns that matter that are selected.
        var support = 0.0
    }

    static var mixedSetting: String {
        "mixed models: 40 groups of 5 rows × 200, neighbouring columns correlated by 0.5, 8 coefficients ±1, random intercepts "
            + "and residuals of variance 1, ν = 3 (q = 1.5), lasso at the strength of the best BIC"
    }

    func mixedModels(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check], _ notes: inout [String]
    ) throws {
        let seeds = context.quick ? 3 : 20
        let robust = SparseMixedModel(tail: try Tail(q: 1.5))
        let normal = SparseMixedModel()
        var scores: [MixedNoise: (robust: MixedScore, normal: MixedScore, lasso: MixedScore, ungrouped: MixedScore)] =
            [:]
        var gap = 0.0
        for (place, noise) in MixedNoise.allCases.enumerated() {
            var (first, second, third, fourth) = (MixedScore(), MixedScore(), MixedScore(), MixedScore())
            for index in 0..<seeds {
                try context.progress.report(
                    "mixed models", place * seeds + index, of: seeds * MixedNoise.allCases.count)
                var generator = SeededGenerator(seed: context.seed &* 100 &+ UInt64(index), stream: 8888)
                let bed = Self.mixedBed(noise, &generator)
                let chosen = try Self.score(robust, bed, bed.groups, into: &first, share: 1 / Double(seeds))
                _ = try Self.score(normal, bed, bed.groups, into: &second, share: 1 / Double(seeds))
                _ = try Self.score(normal, bed, nil, into: &third, share: 1 / Double(seeds))
                _ = try Self.score(robust, bed, nil, into: &fourth, share: 1 / Double(seeds))
                // The solver of the thesis on the same problem.
                if index == 0 {
                    var other = robust
                    other.solver = ProximalConjugateGradient(tolerance: 1e-12)
                    let again = try other.fit(bed.design, bed.target, groups: bed.groups, L1(chosen.strength))
                    gap = max(
                        gap,
                        zip(again.solution.coefficients, chosen.fit.solution.coefficients).reduce(0) {
                            max($0, abs($1.0 - $1.1))
                        })
                }
            }
            scores[noise] = (first, second, third, fourth)
            rows += [
                Measurement(
                    "error of the coefficients, \(noise.rawValue)", measured: first.error, baseline: second.error,
                    baselineName: "normal mixed lasso"),
                Measurement(
                    "the same without groups", measured: fourth.error, baseline: third.error, baselineName: "lasso"),
                Measurement(
                    "F1 of the support, \(noise.rawValue)", measured: first.support, baseline: second.support,
                    baselineName: "normal mixed lasso"),
                Measurement(
                    "the same without groups", measured: fourth.support, baseline: third.support, baselineName: "lasso"),
            ]
        }
        for noise in [MixedNoise.heavy, .groups] {
            guard let (robust, normal, lasso, ungrouped) = scores[noise] else { continue }
            checks += [
                Check(
                    "\(noise.rawValue): at most ¾ of the error of the normal model", robust.error, .atMost,
                    0.75 * normal.error),
                Check(
                    "\(noise.rawValue): at most ¾ of the error of the lasso", robust.error, .atMost, 0.75 * lasso.error),
                Check(
                    "\(noise.rawValue): a better support than the normal model's", robust.support, .greater,
                    normal.support),
                Check("\(noise.rawValue): a better support than the lasso's", robust.support, .greater, lasso.support),
                Check("\(noise.rawValue): groups help", robust.error, .less, ungrouped.error),
            ]
        }
        if let (robust, normal, lasso, _) = scores[.normal] {
            checks += [
                Check(
                    "normal residuals: at most a tenth more error than the normal model", robust.error, .atMost,
                    1.1 * normal.error),
                Check("normal residuals: groups help", normal.error, .less, lasso.error),
            ]
        }
        checks.append(Check("conjugate gradients find the same coefficients", gap, .less, 1e-4))
        if let (robust, normal, _, ungrouped) = scores[.rows] {
            notes.append(
                "Tails belong to groups: one outlying row discounts the rows beside it. With outlying rows the mixed model errs by "
                    + "\(Self.short(robust.error)), the normal one by \(Self.short(normal.error)), and the robust one that "
                    + "knows no groups by \(Self.short(ungrouped.error)).")
        }
    }

    private static func short(_ x: Double) -> String { "\((x * 100).rounded() / 100)" }

    private typealias MixedBed = (design: DenseDesign, target: [Double], groups: RowGroups, truth: [Double])

    private static func score(
        _ model: SparseMixedModel, _ bed: MixedBed, _ groups: RowGroups?, into score: inout MixedScore, share: Double
    ) throws -> (fit: MixedFit, strength: Double) {
        let maximum = try model.maximumStrength(bed.design, bed.target, groups: groups, L1(1))
        let path = try model.path(
            bed.design, bed.target, groups: groups, L1(1),
            strengths: RegularizationPath.strengths(from: maximum, ratio: 0.02, count: 30))
        let fit = path.fits[path.best]
        score.error +=
            share
            * zip(fit.solution.coefficients, bed.truth).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
        let right = fit.solution.support.count { bed.truth[$0] != 0 }
        let true8 = bed.truth.count { $0 != 0 }
        score.support += share * 2 * Double(right) / Double(max(1, fit.solution.support.count + true8))
        return (fit, path.strengths[path.best])
    }

    private static func mixedBed(_ noise: MixedNoise, _ generator: inout SeededGenerator) -> MixedBed {
        let (count, size, p) = (40, 5, 200)
        let n = count * size
        var values = [Double](repeating: 0, count: n * p)
        for j in 0..<p {
            for i in 0..<n {
                let fresh = generator.normal()
                values[j * n + i] = j == 0 ? fresh : 0.5 * values[(j - 1) * n + i] + 0.75.squareRoot() * fresh
            }
        }
        let design = DenseDesign(columnMajor: values, rows: n)
        var target = [Double](repeating: 0, count: n)
        for g in 0..<count {
            // A Student vector of 2 degrees is a normal one over the root of an exponential variable.
            let groupScale =
                switch noise {
                case .heavy: 1 / max(1e-12, -logarithm(1 - generator.uniform())).squareRoot()
                case .groups: g % 10 == 0 ? 10.0 : 1
                case .normal, .rows: 1.0
                }
            let intercept = groupScale * generator.normal()
            for i in g * size..<(g + 1) * size {
                let rowScale = noise == .rows && generator.uniform() < 0.1 ? 10.0 : 1
                target[i] = intercept + groupScale * rowScale * generator.normal()
            }
        }
        var truth = [Double](repeating: 0, count: p)
        for j in (0..<p).shuffled(using: &generator).prefix(8) {
            truth[j] = generator.next() % 2 == 0 ? 1 : -1
            design.add(truth[j], column: j, to: &target)
        }
        return (design, target, RowGroups((0..<n).map { $0 / size }), truth)
    }
}
