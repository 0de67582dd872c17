import Foundation
import LacunaIO
import LacunaRegress
import LacunaTensor
import Testing

/// A small grouped table, and what statsmodels and SciPy find for it, from `Scripts/fixtures_mixed.py`.
private struct MixedPeers {
    let document: JSONValue

    init() throws {
        let folder = try #require(Bundle.module.path(forResource: "Fixtures", ofType: nil))
        document = try JSONValue(contentsOf: folder + "/mixed.json")
    }

    var rows: Int { document["rows"]?.intValue ?? 0 }
    var design: DenseDesign { DenseDesign(columnMajor: Peers.numbers(document["design"]), rows: rows) }
    var target: [Double] { Peers.numbers(document["target"]) }
    var groups: RowGroups { RowGroups(Peers.numbers(document["groups"])) }
    func list(_ key: String) -> [JSONValue] { document[key]?.arrayValue ?? [] }
}

extension JSONValue {
    fileprivate func number(_ key: String) -> Double { self[key]?.doubleValue ?? .nan }
}

private func coefficients(_ design: any Design, _ fit: MixedFit) -> [Double] {
    [fit.solution.intercept] + fit.solution.unscaled(design).coefficients
}

private func expected(_ value: JSONValue) -> [Double] {
    [value.number("intercept")] + Peers.numbers(value["coefficients"])
}

/// Grouped rows with `count` coefficients ±1…, random intercepts of variance `ratio`, residuals of variance 1 and some of them
/// replaced.
private func groupedBed(
    groups count: Int = 40, size: Int = 5, columns: Int = 10, ratio: Double = 1, seed: UInt64 = 3,
    residual: (inout SeededGenerator) -> Double = { $0.normal() }
) -> (design: DenseDesign, target: [Double], groups: RowGroups, truth: [Double]) {
    var generator = SeededGenerator(seed: seed)
    let rows = count * size
    let design = DenseDesign(columnMajor: (0..<rows * columns).map { _ in generator.normal() }, rows: rows)
    var truth = [Double](repeating: 0, count: columns)
    for j in 0..<min(3, columns) { truth[j] = j % 2 == 0 ? 2 : -2 }
    let labels = (0..<rows).map { $0 / size }
    let intercepts = (0..<count).map { _ in ratio.squareRoot() * generator.normal() }
    var target = labels.map { 1 + intercepts[$0] + residual(&generator) }
    for j in 0..<columns where truth[j] != 0 { design.add(truth[j], column: j, to: &target) }
    return (design, target, RowGroups(labels), truth)
}

private func error(_ fit: MixedFit, _ truth: [Double]) -> Double {
    zip(fit.solution.coefficients, truth).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
}

@Suite struct MixedModelTests {
    private let exact = SparseMixedModel(
        tolerance: 1e-10, maximumRounds: 2000, solver: ProximalNewton(tolerance: 1e-15))

    private func exact(_ tail: Tail) -> SparseMixedModel {
        var model = exact
        model.tail = tail
        return model
    }

    // MARK: Against statsmodels and SciPy

    @Test func normalResidualsEqualMixedLM() throws {
        let peers = try MixedPeers()
        let design = peers.design
        let fit = try exact.fit(design, peers.target, groups: peers.groups, L1(0))
        let normal = try #require(peers.document["normal"])
        #expect(fit.solution.converged, "\(fit.solution.certificate)")
        #expect(largestDifference(coefficients(design, fit), expected(normal)) < 2e-5)
        #expect(abs(fit.scale.residual - normal.number("residual")) < 2e-5)
        #expect(abs(fit.scale.ratio - normal.number("ratio")) < 5e-5)
        #expect(abs(fit.logLikelihood - normal.number("logLikelihood")) < 1e-7)
        #expect(fit.logLikelihood >= normal.number("logLikelihood") - 1e-9, "statsmodels stopped no higher")
        // Groups appear in the order of the rows; the peer sorts them.
        let labels = Peers.numbers(peers.document["groups"])
        let found = Peers.numbers(normal["randomIntercepts"])
        for (g, row) in fit.groups.firstRows.enumerated() {
            #expect(abs(fit.randomIntercepts[g] - found[Int(labels[row])]) < 2e-4)
        }
        #expect(fit.groupWeights.allSatisfy { $0 == 1 } && fit.rowWeights.allSatisfy { $0 == 1 })
    }

    @Test func heavyTailsEqualSciPy() throws {
        let peers = try MixedPeers()
        let design = peers.design
        for (key, groups) in [("student", peers.groups), ("plain", nil)] {
            for value in peers.list(key) {
                let tail = try Tail(degreesOfFreedom: value.number("degreesOfFreedom"))
                let fit = try exact(tail).fit(design, peers.target, groups: groups, L1(0))
                #expect(fit.solution.converged)
                #expect(abs(fit.logLikelihood - value.number("logLikelihood")) < 1e-8, "\(tail)")
                #expect(largestDifference(coefficients(design, fit), expected(value)) < 2e-6, "\(tail)")
                #expect(abs(fit.scale.residual - value.number("residual")) < 5e-6, "\(tail)")
                if groups != nil { #expect(abs(fit.scale.ratio - value.number("ratio")) < 5e-6, "\(tail)") }
            }
        }
    }

    @Test func densityEqualsSciPy() throws {
        for value in try MixedPeers().list("density") {
            let tail = try Tail(degreesOfFreedom: value.number("degreesOfFreedom"))
            let count = value["count"]?.intValue ?? 0
            let found = tail.logNormalizer(count: count) - tail.loss(value.number("squaredDistance"), count: count)
            // SciPy's own gamma functions cancel at ten million degrees of freedom.
            let limit = tail.degreesOfFreedom > 1e6 ? 1e-6 : 1e-11
            #expect(abs(found - value.number("value")) < limit * max(1, abs(found)), "\(value)")
        }
    }

    // MARK: The loss

    @Test func theLossIsThatOfTsallis() throws {
        for q in [1.1, 1.5, 2, 2.9] {
            let tail = try Tail(q: q)
            #expect(abs(tail.q - q) < 1e-12)
            for r in [0.0, 0.3, 2, 50] {
                let loss = logarithm(1 + (q - 1) / (3 - q) * r * r) / (q - 1)
                #expect(abs(tail.loss(r * r, count: 1) - loss) < 1e-12 * max(1, loss))
                // The weight is twice the derivative in r².
                let (at, step) = (r * r + 1e-3, 1e-5)
                let slope = (tail.loss(at + step, count: 1) - tail.loss(at - step, count: 1)) / (2 * step)
                #expect(abs(tail.weight(at, count: 1) - 2 * slope) < 1e-6 * tail.weight(0, count: 1))
            }
        }
        // Towards q = 1 everything tends to the normal distribution.
        let (near, normal) = (try Tail(q: 1 + 1e-9), Tail.gaussian)
        #expect(try Tail(q: 1) == normal && normal.q == 1)
        for n in [1, 6] {
            #expect(abs(near.loss(3, count: n) - normal.loss(3, count: n)) < 1e-7)
            #expect(abs(near.logNormalizer(count: n) - normal.logNormalizer(count: n)) < 1e-7)
            #expect(abs(near.weight(3, count: n) - 1) < 1e-7)
        }
        // Cauchy's density.
        let cauchy = try Tail(q: 2)
        #expect(abs(cauchy.logNormalizer(count: 1) - cauchy.loss(4, count: 1) + logarithm(.pi * 5)) < 1e-13)
        for wrong in [0.99, 3, -1, Double.nan, .infinity] { #expect(throws: LacunaError.self) { try Tail(q: wrong) } }
        for wrong in [0, -1, Double.nan] { #expect(throws: LacunaError.self) { try Tail(degreesOfFreedom: wrong) } }
    }

    @Test(arguments: [1, 4.0 / 3, 2]) func gradientEqualsDifferences(q: Double) throws {
        let groups = RowGroups([0, 1, 0, 2, 1, 1, 0, 3])
        let likelihood = GroupedLikelihood(groups: groups, tail: try Tail(q: q))
        let scale = VarianceComponents(residual: 0.7, ratio: 0.4)
        var generator = SeededGenerator(seed: 4)
        var residuals = (0..<8).map { _ in 2 * generator.normal() }
        let gradient = likelihood.gradient(residuals, scale)
        for i in 0..<8 {
            let kept = residuals[i]
            residuals[i] = kept + 1e-5
            let above = likelihood.negativeLogLikelihood(residuals, scale)
            residuals[i] = kept - 1e-5
            let below = likelihood.negativeLogLikelihood(residuals, scale)
            residuals[i] = kept
            #expect(abs(gradient[i] - (above - below) / 2e-5) < 1e-8)
        }
        // The distance by the matrix itself: group 0 has rows 0, 2 and 6.
        let matrix = Tensor<Double>((0..<9).map { 0.7 * ($0 % 4 == 0 ? 1.4 : 0.4) }, shape: [3, 3])
        let r = [residuals[0], residuals[2], residuals[6]]
        let solved = try matrix.solvePositiveDefinite(Tensor(r, shape: [3, 1])).scalars
        let distance = zip(r, solved).reduce(0) { $0 + $1.0 * $1.1 }
        let alone = GroupedLikelihood(groups: RowGroups([0, 0, 0]), tail: try Tail(q: q))
        let logDeterminant = 3 * logarithm(0.7) + logarithm(1 + 3 * 0.4)
        let tail = alone.tail
        #expect(
            abs(
                alone.negativeLogLikelihood(r, scale) - tail.loss(distance, count: 3) - logDeterminant / 2
                    + tail.logNormalizer(count: 3)) < 1e-12)
    }

    // MARK: Limits

    @Test func withoutGroupsNormalResidualsAreTheLasso() throws {
        let design = correlatedDesign(rows: 60, columns: 30)
        let y = target(design, nonzeros: 5, noise: 1)
        func same<P: SeparablePenalty>(_ penalty: P) throws {
            let plain = try ProximalNewton(tolerance: 1e-14).solve(Problem(design, SquaredLoss(y), penalty))
            let fit = try exact.fit(design, y, penalty)
            #expect(fit.solution.converged && fit.scale.ratio == 0)
            #expect(largestDifference(fit.solution.coefficients, plain.coefficients) < 1e-7, "\(penalty)")
            #expect(abs(fit.solution.intercept - plain.intercept) < 1e-7)
            let variance = fit.residuals.reduce(0) { $0 + $1 * $1 } / 60
            #expect(abs(fit.scale.residual - variance) < 1e-10)
        }
        try same(L1(0))
        try same(L1(0.2))
        try same(ElasticNet(0.2, mixing: 0.4))
        try same(MCP(0.2))
        try same(SCAD(0.2))
    }

    @Test func groupsOfOneRowAreNoGroups() throws {
        let design = correlatedDesign(rows: 40, columns: 6)
        let y = target(design, nonzeros: 2, noise: 1)
        let model = SparseMixedModel(tail: try Tail(q: 1.5), tolerance: 1e-9)
        let plain = try model.fit(design, y, L1(0.1))
        let grouped = try model.fit(design, y, groups: RowGroups((0..<40).map { "row \($0)" }), L1(0.1))
        #expect(plain.solution == grouped.solution && grouped.scale.ratio == 0)
        #expect(largestDifference(grouped.groupWeights, grouped.rowWeights) < 1e-12)
    }

    @Test func conditionsHoldForEveryPenaltySolverAndDesign() throws {
        let bed = groupedBed(groups: 12, size: 4, columns: 15) { $0.normal() / max(0.2, $0.uniform()) }
        let sparse = try SparseDesign(bed.design).scaled(by: (0..<15).map { 1 / (1 + Double($0)) })
        let solvers: [any SeparableSolver] = [
            ProximalNewton(tolerance: 1e-13), ProximalConjugateGradient(tolerance: 1e-14),
            CoordinateDescent(tolerance: 1e-13),
        ]
        func check<P: SeparablePenalty>(_ penalty: P, _ design: any Design, _ hasIntercept: Bool) throws {
            var found: [[Double]] = []
            for solver in solvers {
                let model = SparseMixedModel(
                    tail: try Tail(q: 1.5), hasIntercept: hasIntercept, tolerance: 1e-7, maximumRounds: 500,
                    solver: solver)
                let fit = try model.fit(design, bed.target, groups: bed.groups, penalty)
                #expect(fit.solution.converged, "\(solver) \(fit.solution.certificate)")
                found.append(fit.solution.coefficients)
                // The subdifferential, from the likelihood's own gradient, with a dense product.
                let likelihood = GroupedLikelihood(groups: bed.groups, tail: model.tail)
                let slopes = likelihood.gradient(fit.residuals, fit.scale)
                for j in 0..<15 {
                    var column = [Double](repeating: 0, count: 48)
                    design.add(1, column: j, to: &column)
                    let gradient = -zip(column, slopes).reduce(0) { $0 + $1.0 * $1.1 } * fit.scale.residual / 48
                    let distance = penalty.distance(
                        fit.solution.coefficients[j], gradient: gradient, lipschitz: 1, j)
                    #expect(distance < 1e-5, "\(solver) \(penalty) column \(j)")
                }
                if hasIntercept { #expect(abs(slopes.reduce(0, +)) < 1e-4) }
                // The scales cannot be bettered.
                let best = likelihood.negativeLogLikelihood(fit.residuals, fit.scale)
                for factor in [0.99, 1.01] {
                    for (residual, ratio) in [(factor, 1), (1, factor)] {
                        let other = VarianceComponents(
                            residual: fit.scale.residual * residual, ratio: fit.scale.ratio * ratio)
                        #expect(likelihood.negativeLogLikelihood(fit.residuals, other) >= best)
                    }
                }
            }
            if penalty.isConvex { for other in found { #expect(largestDifference(other, found[0]) < 1e-4) } }
        }
        for design in [bed.design, sparse] as [any Design] {
            try check(L1(0.1), design, true)
            try check(L1(0.1), design, false)
        }
        try check(ElasticNet(0.1, mixing: 0.5), bed.design, true)
        try check(MCP(0.3), bed.design, true)
        try check(SCAD(0.3), bed.design, true)
        try check(WeightedL1(0.1, factors: (0..<15).map { Double($0 % 3) }), bed.design, true)
    }

    @Test func noStepRaisesTheObjective() throws {
        for seed in UInt64(1)...6 {
            let bed = groupedBed(groups: 15, size: 3, columns: 25, seed: seed) { $0.normal() / max(0.05, $0.uniform()) }
            for q in [1, 1.4, 1.8, 2.2] {
                let model = SparseMixedModel(tail: try Tail(q: q))
                let fits: [MixedFit] = [
                    try model.fit(bed.design, bed.target, groups: bed.groups, L1(0.05)),
                    try model.fit(bed.design, bed.target, groups: bed.groups, MCP(0.4)),
                    try model.fit(bed.design, bed.target, groups: bed.groups, SCAD(0.4)),
                ]
                for fit in fits {
                    #expect(!fit.rounds.isEmpty)
                    for round in fit.rounds {
                        #expect(round.afterCoefficients <= round.start + 1e-11 * abs(round.start))
                        #expect(round.afterScales <= round.afterCoefficients + 1e-11 * abs(round.start))
                    }
                    #expect(fit.rounds[0].afterScales < fit.rounds[0].start)
                }
            }
        }
    }

    // MARK: Paths and choices

    @Test func nothingIsSelectedAtTheLargestStrength() throws {
        let bed = groupedBed(groups: 20, size: 4, columns: 30) { $0.normal() / max(0.2, $0.uniform()) }
        for tail in [Tail.gaussian, try Tail(q: 1.5)] {
            let model = SparseMixedModel(tail: tail)
            let path = try model.path(
                bed.design, bed.target, groups: bed.groups, L1(1),
                strengths: RegularizationPath.strengths(
                    from: model.maximumStrength(bed.design, bed.target, groups: bed.groups, L1(1)), count: 20))
            #expect(path.fits[0].solution.support.isEmpty)
            #expect(!path.fits[1].solution.support.isEmpty, "a little below it something is")
            #expect(path.fits.allSatisfy(\.solution.converged) && path.ending == nil)
            let best = path.fits[path.bestBIC]
            #expect(Array(best.solution.support.prefix(3)) == [0, 1, 2] && best.solution.support.count < 12)
            #expect(abs(best.scale.ratio - 1) < 0.8)
            // Schwarz's criterion by hand.
            let parameters = Double(best.solution.support.count + 3)
            #expect(abs(best.bic - (-2 * best.logLikelihood + parameters * logarithm(80))) < 1e-9)
            let logChoices = (0..<best.solution.support.count).reduce(0.0) {
                $0 + logarithm(Double(30 - $1)) - logarithm(Double($1 + 1))
            }
            #expect(abs(best.extendedBIC - best.bic - 2 * logChoices) < 1e-9)
            let sparser = path.fits[path.bestExtendedBIC].solution.support.count
            #expect(sparser <= best.solution.support.count && sparser >= 3)
            // The empty model is where the path starts.
            #expect(abs(path.null.logLikelihood - path.fits[0].logLikelihood) < 1e-9)
            #expect(path.explained[0] < 1e-9 && path.explained[path.bestBIC] > (tail.isGaussian ? 0.3 : 0.6))
            // Starting elsewhere ends in the same place.
            let cold = try model.fit(bed.design, bed.target, groups: bed.groups, L1(path.strengths[path.bestBIC]))
            #expect(largestDifference(cold.solution.coefficients, best.solution.coefficients) < 1e-4)
        }
    }

    @Test func foldsKeepGroupsWhole() throws {
        let bed = groupedBed(groups: 13, size: 4, columns: 8)
        let folds = bed.groups.folds(count: 5, seed: 3)
        for (row, group) in bed.groups.indices.enumerated() {
            #expect(folds[row] == folds[bed.groups.firstRows[group]])
        }
        #expect(Set(folds) == Set(0..<5))
        let model = SparseMixedModel(tail: try Tail(degreesOfFreedom: 4))
        let strengths = [0.5, 0.05]
        let validation = try model.crossValidation(
            bed.design, bed.target, groups: bed.groups, L1(1), strengths: strengths, folds: folds)
        // One fold by hand: a fit of the other groups' rows alone.
        var losses: [Double] = []
        for fold in 0..<5 {
            let (inside, outside) = (
                folds.indices.filter { folds[$0] != fold }, folds.indices.filter { folds[$0] == fold }
            )
            func part(_ rows: [Int]) -> DenseDesign {
                DenseDesign(
                    columnMajor: (0..<8).flatMap { j in
                        var column = [Double](repeating: 0, count: 52)
                        bed.design.add(1, column: j, to: &column)
                        return rows.map { column[$0] }
                    }, rows: rows.count)
            }
            let fit = try model.fit(
                part(inside), inside.map { bed.target[$0] }, groups: RowGroups(inside.map { bed.groups.indices[$0] }),
                L1(0.05))
            let predicted = fit.solution.predictors(part(outside))
            let likelihood = GroupedLikelihood(
                groups: RowGroups(outside.map { bed.groups.indices[$0] }), tail: model.tail)
            losses.append(
                likelihood.negativeLogLikelihood(zip(outside, predicted).map { bed.target[$0] - $1 }, fit.scale)
                    / Double(outside.count))
        }
        #expect(abs(validation.losses[1] - losses.reduce(0, +) / 5) < 1e-5)
        #expect(validation.converged && validation.best == 1)
        var torn = folds
        torn[0] = (torn[0] + 1) % 5
        #expect(throws: LacunaError.self) {
            try model.crossValidation(
                bed.design, bed.target, groups: bed.groups, L1(1), strengths: strengths, folds: torn)
        }
        #expect(throws: LacunaError.self) {
            try model.crossValidation(
                bed.design, bed.target, groups: bed.groups, L1(1), strengths: strengths,
                folds: [Int](repeating: 0, count: 52))
        }
    }

    // MARK: Robustness

    @Test func outliersMoveTheNormalModelOnly() throws {
        let clean = groupedBed(groups: 60, size: 3, columns: 6)
        var dirty = clean.target
        // A tenth of the groups are off by far, with the sign of a column: what least squares follows.
        var first = [Double](repeating: 0, count: 180)
        clean.design.add(1, column: 5, to: &first)
        for i in 0..<18 { dirty[i] += first[i] > 0 ? 60 : -60 }
        let (normal, robust) = (SparseMixedModel(), SparseMixedModel(tail: try Tail(degreesOfFreedom: 3)))
        func move(_ model: SparseMixedModel) throws -> Double {
            let before = try model.fit(clean.design, clean.target, groups: clean.groups, L1(0.05))
            let after = try model.fit(clean.design, dirty, groups: clean.groups, L1(0.05))
            return largestDifference(before.solution.coefficients, after.solution.coefficients)
        }
        let (moved, hardly) = (try move(normal), try move(robust))
        #expect(moved > 1.5 && hardly < 0.2, "\(moved) \(hardly)")
        let fit = try robust.fit(clean.design, dirty, groups: clean.groups, L1(0.05))
        let ranked = fit.groupWeights.indices.sorted { fit.groupWeights[$0] < fit.groupWeights[$1] }
        #expect(Set(ranked.prefix(6)) == Set(0..<6), "the six groups have the lowest weights")
        #expect(error(fit, clean.truth) < 0.4)
        // One row of one group: the rows' weights tell which.
        var single = clean.target
        single[100] += 40
        let one = try robust.fit(clean.design, single, groups: clean.groups, L1(0.05))
        #expect(one.rowWeights.indices.min { one.rowWeights[$0] < one.rowWeights[$1] } == 100)
        #expect(one.groupWeights.indices.min { one.groupWeights[$0] < one.groupWeights[$1] } == 33)
    }

    @Test func bestPredictionsShrinkGroupMeans() throws {
        let bed = groupedBed(groups: 30, size: 6, columns: 3, ratio: 2)
        let fit = try SparseMixedModel().fit(bed.design, bed.target, groups: bed.groups, L1(0))
        for g in 0..<30 {
            let rows = (0..<180).filter { bed.groups.indices[$0] == g }
            let mean = rows.reduce(0) { $0 + fit.residuals[$1] } / 6
            let shrunk = mean * fit.scale.ratio * 6 / (1 + fit.scale.ratio * 6)
            #expect(abs(fit.randomIntercepts[g] - shrunk) < 1e-10)
        }
        let plain = fit.solution.predictors(bed.design)
        let square = { (p: [Double]) in zip(p, bed.target).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } }
        #expect(square(fit.fitted(bed.design)) < 0.6 * square(plain))
        #expect(abs(fit.scale.intercepts - 2) < 1.5 && abs(fit.scale.intraclassCorrelation - 2 / 3) < 0.2)
    }
}
