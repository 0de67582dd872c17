import Lacuna

/// Checks that control variates on critical variables reduce the tests that a rare event's rate takes.
struct AdaptiveTestingReproduction: Reproduction {
    let shortName = "ATSCV"
    let paper = 5
    let title =
        "Adaptive Testing for Connected and Automated Vehicles with Sparse Control Variates in Overtaking Scenarios"
    let arXiv: String? = "2207.09259"
    let claim =
        "Adjusting test results by regression on likelihood ratios of the critical variables alone takes about 30 times "
        + "fewer tests of an automated vehicle than importance sampling without adjustment."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let repetitions = context.quick ? 200 : 2000
        let settings = [(spacing: 0.5, fuzz: 0.12), (spacing: 0.25, fuzz: 0.05), (spacing: 0.25, fuzz: 0)]
        var rows: [Measurement] = []
        var gains: [Double] = []
        var bias = 0.0
        var exact = 0.0
        for (place, setting) in settings.enumerated() {
            let tail = try RareTail(spacing: setting.spacing)
            let truth = RareTail.rate(threshold: 2.75, fuzz: setting.fuzz)
            let (plain, adjusted) = try estimates(
                context, tail, setting.fuzz, shift: 0, repetitions, part: place)
            let (before, after) = (
                RareTail.relative(plain, to: truth), RareTail.relative(adjusted, to: truth)
            )
            let name = "surrogates \(setting.spacing) apart, event blurred by \(setting.fuzz)"
            rows.append(
                Measurement(
                    "relative standard deviation, \(name)", measured: after.deviation, baseline: before.deviation,
                    baselineName: "importance sampling"))
            let gain = before.deviation * before.deviation / (after.deviation * after.deviation)
            if setting.fuzz > 0 {
                rows.append(Measurement("times fewer tests, \(name)", measured: gain))
                gains.append(gain)
                bias = max(bias, abs(after.mean - 1))
            } else {
                exact = after.deviation
            }
        }
        let tail = try RareTail(spacing: 0.25)
        let truth = RareTail.rate(threshold: 2.75, fuzz: 0.05)
        let (plain, adjusted) = try estimates(context, tail, 0.05, shift: 0.3, repetitions, part: settings.count)
        let (dense, denseAdjusted) = (RareTail.relative(plain, to: truth), RareTail.relative(adjusted, to: truth))
        rows.append(
            Measurement(
                "relative standard deviation, ratios of all 21 variables", measured: denseAdjusted.deviation,
                baseline: dense.deviation, baselineName: "importance sampling"))
        let sparse = rows[2].measured
        rows.append(
            Measurement(
                "relative standard deviation of as many tests from nature (crude Monte Carlo)",
                measured: ((1 - truth) / truth / 1000).squareRoot()))
        let following = try self.following(context)
        rows += following.rows
        // A sampler with less to say: every step of a proposal is natural half of the time.
        let weaker = try self.following(context, natural: 0.5)
        rows.append(Measurement("following, proposals half natural: times fewer tests", measured: weaker.gain))
        return Outcome(
            setting:
                "event s ≥ 2.75 + fuzz · x₃ with one critical normal variable among 21; proposals are the natural "
                + "distribution beyond bounds from 1.5 to 3.5; 1000 tests, \(repetitions) repetitions. Following: 20 steps of half a second behind "
                + "a vehicle that may brake, three surrogate drivers, 2000 tests, \(context.quick ? 60 : 200) repetitions",
            measurements: rows,
            checks: [
                Check("coarse surrogates, blurred event: fewer tests", gains[0], .greater, 1.2),
                Check("finer surrogates, sharper event: less than half the tests", gains[1], .greater, 2),
                Check("an event that the surrogates span is estimated without variance", exact, .less, 1e-9),
                Check("the bias is below 1 %", bias, .less, 0.01),
                Check(
                    "ratios of all variables instead of the critical one: larger deviation", denseAdjusted.deviation,
                    .greater, 1.5 * sparse),
                Check("following another vehicle: fewer tests", following.gain, .greater, 1.2),
                Check("there, 30 times fewer tests than importance sampling", following.gain, .atLeast, 30),
            ],
            notes: [
                "The authors' figure is for their overtaking simulation and vehicle, which are not public; ours are for these. Thirty "
                    + "times fewer tests mean that the controls explain 97 % of the variance: how much they do depends on how well "
                    + "proposals span the event, from nothing to everything, as the rows show.",
                "Proposals for following are the best there are for each surrogate, and importance sampling with them needs "
                    + "thousands of times fewer tests than nature. That is not why the adjustment gains little: weaker "
                    + "samplers leave more variance, but none that the controls explain any better.",
            ])
    }

    /// A vehicle that none of the surrogates is, behind one that may brake.
    private func following(
        _ context: ReproductionContext, natural: Double = 0.1
    ) throws -> (rows: [Measurement], gain: Double) {
        let repetitions = context.quick ? 60 : 200
        let scenario = try FollowingScenario(
            surrogates: [
                .init(headway: 1, braking: 2), .init(headway: 1, braking: 2.5), .init(headway: 1, braking: 3),
            ], natural: natural)
        let vehicle = FollowingScenario.Driver(headway: 0.9, braking: 2.4, inertia: 0.2)
        var (plain, adjusted, stepwise, tests) = ([Double](), [Double](), [Double](), 0.0)
        var critical = 0.0
        for repetition in 0..<repetitions {
            try context.progress.report("following", repetition, of: repetitions)
            var generator = SeededGenerator(seed: context.seed &* 10_000 &+ UInt64(repetition), stream: 57)
            let results = scenario.tests(2000, of: vehicle, using: &generator)
            plain.append(try SparseControlVariates(scenario.mixture, adjustment: .none).estimate(results).rate)
            let found = try SparseControlVariates(scenario.mixture).estimate(results)
            adjusted.append(found.rate)
            stepwise.append(
                try SparseControlVariates(scenario.mixture, adjustment: .stepwise(steps: 6)).estimate(results).rate)
            tests += 2000 * (found.relativeHalfWidth / 0.3) * (found.relativeHalfWidth / 0.3) / Double(repetitions)
            critical += results.reduce(0) { $0 + Double($1.stratum) } / 2000 / Double(repetitions)
        }
        let truth = plain.reduce(0, +) / Double(repetitions)
        let (before, after) = (RareTail.relative(plain, to: truth), RareTail.relative(adjusted, to: truth))
        let steps = RareTail.relative(stepwise, to: truth)
        let gain = before.deviation * before.deviation / (after.deviation * after.deviation)
        let name = "following"
        return (
            [
                Measurement("\(name): collisions a scenario", measured: truth),
                Measurement("\(name): critical steps of \(FollowingScenario.steps)", measured: critical),
                Measurement(
                    "\(name): relative standard deviation", measured: after.deviation, baseline: before.deviation,
                    baselineName: "importance sampling"),
                Measurement(
                    "\(name): that with controls step by step", measured: steps.deviation, baseline: before.deviation,
                    baselineName: "importance sampling"),
                Measurement("\(name): mean over that of importance sampling", measured: after.mean),
                Measurement("\(name): the same, controls step by step", measured: steps.mean),
                Measurement("\(name): times fewer tests", measured: gain),
                Measurement(
                    "\(name): tests to a relative half-width of 0.3", measured: tests,
                    baseline: (1.959964 / 0.3) * (1.959964 / 0.3) * (1 - truth) / truth,
                    baselineName: "crude Monte Carlo"),
            ], gain
        )
    }

    private func estimates(
        _ context: ReproductionContext, _ tail: RareTail, _ fuzz: Double, shift: Double, _ repetitions: Int, part: Int
    ) throws -> (plain: [Double], adjusted: [Double]) {
        var (plain, adjusted) = ([Double](), [Double]())
        for repetition in 0..<repetitions {
            if repetition % 20 == 0 {
                try context.progress.report("testing", part * repetitions + repetition, of: 4 * repetitions)
            }
            var generator = SeededGenerator(
                seed: context.seed &* 10_000 &+ UInt64(repetition), stream: UInt64(50 + part))
            let tests = tail.tests(1000, thresholds: [2.75], fuzz: fuzz, shift: shift, using: &generator)
            plain.append(try SparseControlVariates(tail.mixture, adjustment: .none).estimate(tests).rate)
            adjusted.append(try SparseControlVariates(tail.mixture).estimate(tests).rate)
        }
        return (plain, adjusted)
    }
}
