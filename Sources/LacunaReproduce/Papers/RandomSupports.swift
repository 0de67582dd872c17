import Lacuna

/// Checks that freeing a few columns and rescaling what is left of the others saves the lasso on a badly conditioned design.
struct RandomSupportsReproduction: Reproduction {
    let shortName = "RandomSupports"
    let paper = 1
    let title = "Sparse Linear Regression is Easy on Random Supports"
    let arXiv: String? = "2511.06211"
    let claim =
        "For any design, however badly conditioned, a sparse vector with a random support is found with a number of samples "
        + "polynomial in its sparsity and in polynomial time: by a preconditioner and a regression with an L1 penalty, where "
        + "the lasso alone fails."

    private static let (rows, columns, sparsity) = (150, 400, 6)

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = context.quick ? 5 : 20
        var (plain, interpolating, peeled, estimated, refitted): ([Double], [Double], [Double], [Double], [Double]) =
            ([], [], [], [], [])
        var (homogeneousPlain, homogeneousPeeled): ([Double], [Double]) = ([], [])
        var (mismatch, freeOutside) = (0.0, 0)
        for index in 0..<seeds {
            try context.progress.report("fitting", index, of: seeds)
            var generator = SeededGenerator(seed: context.seed &* 1000 &+ UInt64(index), stream: 1)
            let bed = Self.bed(shared: true, &generator)
            let exact = Self.error(bed.target, bed.mean)
            interpolating.append(exact)
            plain.append(min(exact, try Self.bestOfPath(Self.standardized(bed.design), bed.target, nil, bed.mean)))
            let peeling = SpanPeeling(sparsity: Self.sparsity, seed: context.seed &+ UInt64(index))
            let outside = try peeling.peel(bed.design, centered: false)
            let parts = outside.split(bed.target)
            peeled.append(try Self.bestOfPath(outside.design, parts.outside, parts.inside, bed.mean))
            freeOutside += outside.free.count { $0 >= Self.columns / 2 }
            let fit = try PeeledLasso(peeling: peeling, hasIntercept: false).fit(bed.design, target: bed.target)
            estimated.append(Self.error(fit.prediction, bed.mean))
            let again = try PeeledLasso(peeling: peeling, hasIntercept: false, refits: true).fit(
                bed.design, target: bed.target)
            refitted.append(Self.error(again.prediction, bed.mean))
            var predicted = [Double](repeating: 0, count: Self.rows)
            for (j, value) in again.coefficients.enumerated() where value != 0 {
                bed.design.add(value, column: j, to: &predicted)
            }
            mismatch = zip(predicted, again.prediction).reduce(mismatch) { max($0, abs($1.0 - $1.1)) }
            // Without a family there is nothing to free, and both are the lasso.
            let even = Self.bed(shared: false, &generator)
            let homogeneous = try peeling.peel(even.design, centered: false)
            let evenParts = homogeneous.split(even.target)
            let nothing = [Double](repeating: 0, count: Self.rows)
            homogeneousPlain.append(
                try Self.bestOfPath(Self.standardized(even.design), even.target, nothing, even.mean))
            homogeneousPeeled.append(
                try Self.bestOfPath(homogeneous.design, evenParts.outside, evenParts.inside, even.mean))
        }
        func median(_ values: [Double]) -> Double {
            let sorted = values.sorted()
            let middle = sorted.count / 2
            return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        }
        let (before, after) = (median(plain), median(peeled))
        return Outcome(
            setting:
                "\(seeds) designs of \(Self.rows) rows and \(Self.columns) columns, half of which are one normal vector plus a "
                + "thousandth of noise, the others independent; 6 coefficients on random columns, ±3, or ±3000 in the family, "
                + "noise 1; mean square error of the prediction against the noiseless target, medians, at the best of each "
                + "method's strengths",
            measurements: [
                Measurement("prediction error", measured: after, baseline: before, baselineName: "lasso"),
                Measurement("prediction error of fitting the target exactly", measured: median(interpolating)),
                Measurement("prediction error with an estimated noise level", measured: median(estimated)),
                Measurement("the same after least squares on what was selected", measured: median(refitted)),
                Measurement(
                    "prediction error where no columns nearly cancel", measured: median(homogeneousPeeled),
                    baseline: median(homogeneousPlain), baselineName: "lasso"),
            ],
            checks: [
                Check("the median error is at most a third of the lasso's", 3 * after, .atMost, before),
                Check(
                    "the lasso at its best gains less than 30 % over fitting the target exactly", before, .greater,
                    0.7 * median(interpolating)),
                Check(
                    "with everything estimated, and a refit, it errs at most half as much as the lasso at its best",
                    median(refitted), .atMost, before / 2),
                Check("only columns of the family are freed", Double(freeOutside), .atMost, 0),
                Check("the returned coefficients predict what it says", mismatch, .less, 1e-7),
                Check(
                    "on the other designs it is the lasso",
                    abs(median(homogeneousPeeled) / median(homogeneousPlain) - 1),
                    .less, 1e-2),
            ],
            notes: [
                "The paper proves a theorem and publishes no program. Its two phases are kept, a preconditioner found without the "
                    + "target and then an L1 regression; how the first finds its columns is this library's construction, so what "
                    + "is checked is the idea, not the theorem's rates.",
                "Where the lasso's path nears the exact fit its solver stops at a bound of passes; the exact fit itself counts "
                    + "among its candidates.",
            ])
    }

    private static func bed(
        shared: Bool, _ generator: inout SeededGenerator
    ) -> (design: DenseDesign, target: [Double], mean: [Double]) {
        let common = (0..<rows).map { _ in generator.normal() }
        var values: [Double] = []
        values.reserveCapacity(rows * columns)
        for j in 0..<columns {
            for i in 0..<rows {
                let fresh = generator.normal()
                values.append(shared && j < columns / 2 ? common[i] + 1e-3 * fresh : fresh)
            }
        }
        let design = DenseDesign(columnMajor: values, rows: rows)
        var mean = [Double](repeating: 0, count: rows)
        for j in (0..<columns).shuffled(using: &generator).prefix(sparsity) {
            let size = shared && j < columns / 2 ? 3000.0 : 3
            design.add(generator.next() % 2 == 0 ? size : -size, column: j, to: &mean)
        }
        return (design, mean.map { $0 + generator.normal() }, mean)
    }

    private static func standardized(_ design: DenseDesign) -> DenseDesign {
        design.standardized(weights: [Double](repeating: 1 / Double(rows), count: rows), centered: false)
    }

    private static func error(_ a: [Double], _ b: [Double]) -> Double {
        zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(rows)
    }

    /// The smallest error over a path: the strength is chosen knowing the truth.
    private static func bestOfPath(
        _ design: DenseDesign, _ target: [Double], _ inside: [Double]?, _ mean: [Double]
    ) throws -> Double {
        let problem = try Problem(design, SquaredLoss(target), L1(1), hasIntercept: false)
        let strengths = try RegularizationPath.strengths(
            from: RegularizationPath.maximumStrength(problem), ratio: inside == nil ? 1e-6 : 1e-3, count: 25)
        let path = try ProximalNewton(tolerance: 1e-8, maximumPasses: 12).path(problem, strengths: strengths)
        return path.reduce(.infinity) { best, solution in
            let fitted = solution.predictors(design)
            return min(best, error(inside.map { zip($0, fitted).map { $0 + $1 } } ?? fitted, mean))
        }
    }
}
