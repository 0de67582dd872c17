import Lacuna

/// Checks that curvature-aware greedy rules and matrix updates make block coordinate descent several times faster.
struct BlockCoordinateDescentReproduction: Reproduction {
    let shortName = "BCD"
    let paper = 117
    let title =
        "Let's Make Block Coordinate Descent Converge Faster: Faster Greedy Rules, Message-Passing, Active-Set Complexity, "
        + "and Superlinear Convergence"
    let arXiv: String? = "1712.08859"
    let claim =
        "Greedy rules beat random and cyclic ones, those that account for each coordinate's curvature (GSD, GSL) beat plain "
        + "Gauss-Southwell, and updates with the block's matrix beat those with its largest eigenvalue. With "
        + "fixed blocks it is best to sort by curvature; blocks that are trees are minimised by message passing in linear time, however "
        + "large. The same holds of general losses with an L1 penalty, by line-searched and by Newton steps. Once the active set is identified, which takes finitely many "
        + "iterations, matrix updates converge superlinearly."

    private static let rules: [GreedyBlockDescent.Rule] = [
        .random, .cyclic, .gaussSouthwell, .gaussSouthwellDiagonal, .gaussSouthwellLipschitz, .gaussSouthwellQuadratic,
    ]

    func run(_ context: ReproductionContext) throws -> Outcome {
        let repetitions = context.quick ? 5 : 10
        let updates = GreedyBlockDescent.Update.allCases
        // Logarithms of f / f0 after 500 iterations, one a problem.
        var left = [[[Double]]](
            repeating: [[Double]](repeating: [], count: updates.count), count: Self.rules.count)
        for repetition in 0..<repetitions {
            var generator = SeededGenerator(seed: context.seed &* 100 &+ UInt64(repetition), stream: 117)
            let (hessian, linear, start) = Self.problem(&generator)
            for (r, rule) in Self.rules.enumerated() {
                for (u, update) in updates.enumerated() {
                    try context.progress.report(
                        "descending", repetition * Self.rules.count + r, of: repetitions * Self.rules.count)
                    let run = try GreedyBlockDescent(
                        rule: rule, update: update, blockSize: 5, seed: context.seed &+ UInt64(repetition)
                    ).minimize(hessian: hessian, linear: linear, iterations: 500)
                    // The floor is rounding in f, which is a difference of large numbers.
                    let ratio = max((start + (run.values.last ?? 0)) / start, 1e-13)
                    left[r][u].append(logarithm(ratio))
                }
            }
        }
        let fixed = try fixedBlocks(context, repetitions)
        let active = try activeSets(context, repetitions)
        var found = outcome(left.map { rule in rule.map { Sample($0) } }, updates, repetitions, fixed, active)
        try lattices(context, &found)
        try logistic(context, &found)
        return found
    }

    /// Sweeps over a lattice until the objective is within 1e-8 of the best, by blocks without cycles.
    private func lattices(_ context: ReproductionContext, _ found: inout Outcome) throws {
        let (rows, columns, seeds) = (30, 20, 6)
        var sweeps: [LatticePartition: [Double]] = [:]
        for seed in 0..<seeds {
            try context.progress.report("passing messages", seed, of: seeds)
            var generator = SeededGenerator(seed: context.seed &* 100 &+ UInt64(seed), stream: 1171)
            let p = rows * columns
            // Differences of neighbours, weighted at random, and a little of everything.
            var entries: [(row: Int, column: Int, value: Double)] = (0..<p).map { ($0, $0, 0.1) }
            for i in 0..<rows {
                for j in 0..<columns {
                    for (a, b) in [(i + 1, j), (i, j + 1)] where a < rows && b < columns {
                        let (u, v, weight) = (i * columns + j, a * columns + b, 0.5 + generator.uniform())
                        entries += [(u, u, weight), (v, v, weight), (u, v, -weight), (v, u, -weight)]
                    }
                }
            }
            let hessian = try SparseMatrix(rows: p, columns: p, entries: entries)
            let linear = (0..<p).map { _ in generator.normal() }
            let best = try hessian.densified().solvePositiveDefinite(Tensor(linear, shape: [p, 1])).scalars
            let least = -zip(best, linear).reduce(0) { $0 + $1.0 * $1.1 } / 2
            for partition in LatticePartition.allCases {
                let run = try ForestDescent(blocks: partition.blocks(rows: rows, columns: columns)).minimize(
                    hessian: hessian, linear: linear, sweeps: 1000)
                let done = run.values.firstIndex { $0 <= least + 1e-8 * abs(least) }
                sweeps[partition, default: []].append(Double((done ?? 999) + 1))
            }
        }
        let (trees, colours) = (Sample(sweeps[.trees] ?? []), Sample(sweeps[.redBlack] ?? []))
        found.measurements.append(
            Measurement(
                "lattice: sweeps to 1e-8 of the minimum, two trees by message passing", trees, baseline: colours,
                baselineName: "red and black"))
        found.checks.append(
            Check(
                "lattice: trees need two thirds of the sweeps of red and black, or fewer", trees / colours,
                staysBelow: 2 / 3.0)
        )
        found.setting += "; \(seeds) lattices of \(rows) × \(columns) with random weights, whose sweeps cost the same"
    }

    /// Logistic regression with an L1 penalty, by blocks of any 10 of 300 coordinates: what is left above the minimum after 150 steps, by
    /// rules and updates; and, by blocks that hold all that is not 0, how many steps are left once the zeros are identified.
    private func logistic(_ context: ReproductionContext, _ found: inout Outcome) throws {
        let (n, p, seeds, steps) = (200, 300, context.quick ? 6 : 10, 150)
        let (rules, updates) = (ProximalBlockDescent.Rule.allCases, ProximalBlockDescent.Update.allCases)
        // Logarithms to the base 10, by rule and update, one a seed.
        var left = [[[Double]]](
            repeating: [[Double]](repeating: [], count: updates.count), count: rules.count)
        var (newton, searched): ([Double], [Double]) = ([], [])
        for seed in 0..<seeds {
            try context.progress.report("logistic regression", seed, of: seeds)
            var generator = SeededGenerator(seed: context.seed &* 100 &+ UInt64(seed), stream: 1172)
            var (columns, predictors) = ([Double](), [Double](repeating: 0, count: n))
            var last = (0..<n).map { _ in generator.normal() }
            for j in 0..<p {
                last = last.map { 0.5 * $0 + 0.75.squareRoot() * generator.normal() }
                // Widths over two orders of magnitude.
                let width = exponential(4.6 * (generator.uniform() - 0.5))
                columns += last.map { $0 * width }
                if j % 30 == 0 { for i in 0..<n { predictors[i] += (j % 60 == 0 ? 1 : -1) * last[i] } }
            }
            let classes = predictors.map { generator.uniform() < LogisticLoss.sigmoid($0) ? 1.0 : 0 }
            let problem = try Problem(
                DenseDesign(columnMajor: columns, rows: n), LogisticLoss(classes), L1(0.05))
            let exact = try ProximalNewton(tolerance: 1e-13).solve(problem)
            let first = try ProximalBlockDescent(blockSize: 1).trace(problem, iterations: 0).solution.objective
            func excess(_ value: Double) -> Double {
                logarithm(max((value - exact.objective) / (first - exact.objective), 1e-13)) / logarithm(10)
            }
            for (r, rule) in rules.enumerated() {
                for (u, update) in updates.enumerated() {
                    let run = try ProximalBlockDescent(
                        rule: rule, update: update, blockSize: 10, seed: context.seed &+ UInt64(seed)
                    ).trace(problem, iterations: steps)
                    left[r][u].append(excess(run.values.last ?? .nan))
                }
            }
            let whole = exact.support.count + 10
            for update in [ProximalBlockDescent.Update.newton, .lineSearched] {
                let run = try ProximalBlockDescent(update: update, blockSize: whole).trace(problem, iterations: 400)
                let done = run.values.firstIndex { excess($0) < -10 }.map { $0 + 1 } ?? 400
                let more = Double(max(0, done - run.identification))
                if update == .newton { newton.append(more) } else { searched.append(more) }
            }
        }
        func sample(_ rule: ProximalBlockDescent.Rule, _ update: ProximalBlockDescent.Update) -> Sample {
            Sample(left[rules.firstIndex(of: rule) ?? 0][updates.firstIndex(of: update) ?? 0])
        }
        for rule in rules {
            found.measurements.append(
                Measurement(
                    "L1 logistic, log₁₀ of what is left after \(steps) Newton steps, \(rule.rawValue)",
                    sample(rule, .newton), baseline: sample(rule, .gradient),
                    baselineName: "steps by a bound"))
            found.measurements.append(
                Measurement(
                    "L1 logistic, after \(steps) steps by a searched bound, \(rule.rawValue)",
                    sample(rule, .lineSearched)))
        }
        found.measurements.append(
            Measurement(
                "L1 logistic: Newton steps from identified zeros to 1e-10", Sample(newton), baseline: Sample(searched),
                baselineName: "steps by a searched bound, 400 at most"))
        for update in updates {
            let name = "L1 logistic, \(update.rawValue):"
            found.checks.append(
                Check(
                    "\(name) GS is ahead of random", sample(.gaussSouthwell, update) - sample(.random, update),
                    staysBelow: 0))
        }
        found.checks += [
            Check(
                "L1 logistic, Lb: GSL is ahead of GS",
                sample(.gaussSouthwellLipschitz, .gradient) - sample(.gaussSouthwell, .gradient), staysBelow: 0),
            Check(
                "L1 logistic, GSQ: Newton steps leave a tenth of what steps by a searched bound leave, or less",
                sample(.gaussSouthwellQuadratic, .newton) - sample(.gaussSouthwellQuadratic, .lineSearched),
                staysBelow: -1),
            Check(
                "L1 logistic: once zeros are identified, a few Newton steps end", Sample(newton), staysBelow: 6),
            Check(
                "which is a tenth of the steps by a searched bound, or less",
                Sample(newton) - Sample(searched.map { $0 / 10 }),
                staysBelow: 0),
        ]
        found.setting +=
            "; \(seeds) logistic regressions of \(n) rows and \(p) columns of widths over two orders of magnitude, with an L1 penalty, "
            + "blocks of any 10, and of all that matter and 10 more"
    }

    /// Logarithms of `f / f₀` after 500 iterations with the matrix update, by partition, for GSL and cyclic blocks.
    private func fixedBlocks(
        _ context: ReproductionContext, _ repetitions: Int
    ) throws -> [BlockPartition: (greedy: Sample, cyclic: Sample)] {
        var result: [BlockPartition: (greedy: [Double], cyclic: [Double])] = [:]
        for repetition in 0..<repetitions {
            try context.progress.report("fixed blocks", repetition, of: repetitions)
            var generator = SeededGenerator(seed: context.seed &* 100 &+ UInt64(repetition), stream: 117)
            let (hessian, linear, start) = Self.problem(&generator)
            for partition in BlockPartition.allCases {
                func left(_ rule: FixedBlockDescent.Rule) throws -> Double {
                    let run = try FixedBlockDescent(partition: partition, rule: rule, update: .matrix, blockSize: 5)
                        .minimize(hessian: hessian, linear: linear, iterations: 500)
                    return logarithm(max((start + (run.values.last ?? 0)) / start, 1e-13))
                }
                let before = result[partition] ?? ([], [])
                result[partition] = (
                    before.greedy + [try left(.gaussSouthwellLipschitz)], before.cyclic + [try left(.cyclic)]
                )
            }
        }
        return result.mapValues { (Sample($0.greedy), Sample($0.cyclic)) }
    }

    /// Iterations until the coordinates at 0 no longer change, and from there until the objective is within 1e-10 of the best.
    private typealias Identification = (identified: Sample, more: Sample, reached: Sample)

    private func activeSets(
        _ context: ReproductionContext, _ repetitions: Int
    ) throws -> [BoundedBlockDescent.Update: Identification] {
        var result: [BoundedBlockDescent.Update: Identification] = [:]
        for update in BoundedBlockDescent.Update.allCases { result[update] = (Sample([]), Sample([]), Sample([])) }
        for repetition in 0..<repetitions {
            try context.progress.report("active sets", repetition, of: repetitions)
            var generator = SeededGenerator(seed: context.seed &* 100 &+ UInt64(repetition), stream: 1170)
            // A non-negative lasso: 200 rows, 100 correlated columns, about a sixth of them in the solution.
            let (n, p) = (200, 100)
            var a = Tensor<Double>(zeros: [n, p])
            var b = [Double](repeating: 0, count: n)
            for i in 0..<n {
                var last = 0.0
                for j in 0..<p {
                    last = 0.8 * last + 0.6 * generator.normal()
                    a[i, j] = last
                    if j % 10 == 0 { b[i] += last }
                }
                b[i] += generator.normal()
            }
            let hessian = a.multiplied(by: a, transposed: true)
            let linear = a.multiplied(by: Tensor(b, shape: [n, 1]), transposed: true).scalars.map { $0 - 10 }
            let best = try QuadraticModel(gram: hessian).minimize(linear: linear, NonNegativeL1(0), tolerance: 1e-14)
                .coefficients
            var value = 0.0
            for i in 0..<p {
                var inner = 0.0
                for j in 0..<p { inner += hessian[i, j] * best[j] }
                value += best[i] * (inner / 2 - linear[i])
            }
            for update in BoundedBlockDescent.Update.allCases {
                let run = try BoundedBlockDescent(rule: .gaussSouthwellQuadratic, update: update, blockSize: 30)
                    .minimize(
                        hessian: hessian, linear: linear, iterations: 2000)
                let done = run.values.firstIndex { $0 <= value + 1e-10 * abs(value) }.map { $0 + 1 }
                result[update]?.identified.values.append(Double(run.identification))
                result[update]?.more.values.append(Double(max(0, (done ?? 2000) - run.identification)))
                result[update]?.reached.values.append(Double(done ?? 2000))
            }
        }
        return result
    }

    /// Sparse normal numbers plus one, columns scaled by `10 N(0, 1)`, so that norms differ widely; `½‖b‖²` at the start.
    private static func problem(
        _ generator: inout SeededGenerator
    ) -> (hessian: Tensor<Double>, linear: [Double], start: Double) {
        let (n, p) = (200, 1000)
        let density = 10 * logarithm(Double(n)) / Double(n)
        var a = Tensor<Double>(zeros: [n, p])
        var (truth, b) = ([Double](repeating: 0, count: p), [Double](repeating: 0, count: n))
        for j in 0..<p { truth[j] = generator.normal() }
        a.withMutablePointer { a in
            for j in 0..<p {
                let scale = 10 * generator.normal()
                for i in 0..<n where generator.uniform() < density { a[i * p + j] = scale * (generator.normal() + 1) }
                for i in 0..<n { b[i] += a[i * p + j] * truth[j] }
            }
        }
        for i in 0..<n { b[i] += generator.normal() }
        let hessian = a.multiplied(by: a, transposed: true)
        let linear = a.multiplied(by: Tensor(b, shape: [n, 1]), transposed: true).scalars
        return (hessian, linear, b.reduce(0) { $0 + $1 * $1 } / 2)
    }

    private func outcome(
        _ left: [[Sample]], _ updates: [GreedyBlockDescent.Update], _ repetitions: Int,
        _ fixed: [BlockPartition: (greedy: Sample, cyclic: Sample)],
        _ active: [BoundedBlockDescent.Update: Identification]
    ) -> Outcome {
        var rows: [Measurement] = []
        func geometric(_ logarithms: Sample) -> Double { exponential(logarithms.mean) }
        for (r, rule) in Self.rules.enumerated() {
            rows.append(
                Measurement(
                    "f / f₀ after 500 iterations, \(rule.rawValue), matrix update", measured: geometric(left[r][1]),
                    baseline: geometric(left[r][0]), baselineName: "largest eigenvalue"))
        }
        func value(_ rule: GreedyBlockDescent.Rule, _ u: Int) -> Sample {
            left[Self.rules.firstIndex(of: rule) ?? 0][u]
        }
        var checks: [Check] = []
        for (u, update) in updates.enumerated() {
            let name = update.rawValue
            let (plain, diagonal) = (value(.gaussSouthwell, u), value(.gaussSouthwellDiagonal, u))
            let lipschitz = value(.gaussSouthwellLipschitz, u)
            // Differences of logarithms, problem by problem.
            checks += [
                Check("\(name): GS is ahead of random", plain - value(.random, u), staysBelow: 0),
                Check("\(name): GS is ahead of cyclic", plain - value(.cyclic, u), staysBelow: 0),
                Check("\(name): GSD is ahead of GS", diagonal - plain, staysBelow: 0),
                Check("\(name): GSL is ahead of GSD", lipschitz - diagonal, staysBelow: 0),
            ]
        }
        for (r, rule) in Self.rules.enumerated() {
            checks.append(
                Check(
                    "\(rule.rawValue): the matrix update is ahead tenfold", left[r][1] - left[r][0],
                    staysBelow: -logarithm(10)))
        }
        func greedy(_ partition: BlockPartition) -> Sample { fixed[partition]?.greedy ?? Sample([]) }
        for partition in BlockPartition.allCases {
            rows.append(
                Measurement(
                    "f / f₀ after 500 iterations, fixed blocks (\(partition.rawValue)), GSL, matrix update",
                    measured: geometric(greedy(partition)), baseline: fixed[partition].map { geometric($0.cyclic) },
                    baselineName: "cyclic"))
        }
        checks += [
            Check("fixed blocks by curvature are ahead of neighbours", greedy(.sort) - greedy(.order), staysBelow: 0),
            Check("and of mixed ones", greedy(.sort) - greedy(.average), staysBelow: 0),
            Check(
                "blocks of any coordinates are ahead of fixed ones", value(.gaussSouthwellLipschitz, 1) - greedy(.sort),
                staysBelow: 0),
        ]
        let none: Identification = (Sample([]), Sample([]), Sample([]))
        for update in BoundedBlockDescent.Update.allCases {
            let found = active[update] ?? none
            rows.append(
                Measurement(
                    "non-negative lasso, \(update.rawValue): iterations until the zeros are identified",
                    found.identified))
            rows.append(
                Measurement(
                    "non-negative lasso, \(update.rawValue): iterations until 1e-10 of the minimum", found.reached))
        }
        let (gradient, metric) = (active[.projectedGradient] ?? none, active[.twoMetric] ?? none)
        checks += [
            Check(
                "once zeros are identified, two-metric projection needs a tenth of the further iterations of projected "
                    + "gradients", metric.more - Sample(gradient.more.values.map { $0 / 10 }), staysBelow: 0),
            Check("and it identifies them sooner", metric.identified - gradient.identified, staysBelow: 0),
        ]
        return Outcome(
            setting:
                "geometric mean of \(repetitions) least-squares problems of 200 rows and 1000 columns (sparse normal + 1, "
                + "density 10 log n / n, columns scaled by 10 N(0, 1)), blocks of any 5 coordinates, or fixed ones; non-negative "
                + "lasso of 200 rows and 100 columns (neighbours correlated by 0.8), blocks of 30",
            measurements: rows, checks: checks,
            notes: [
                "Unequal column norms are what separates GS from GSL; with equal ones they choose alike.",
                "Searched bounds are remembered by a block's coordinates, over the largest curvature in the block, and never fall. "
                    + "That they leave less than bounds that hold everywhere does not show, nor that GSL is ahead of GS for L1 logistic "
                    + "regression by searched bounds or Newton steps.",
                "f is computed as a difference and is known to about 1e-13 of f₀: smaller values count as that.",
            ])
    }
}
