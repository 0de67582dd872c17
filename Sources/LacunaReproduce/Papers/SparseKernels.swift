import Lacuna

/// Checks that a kernel on a grid of frequencies becomes sparse by likelihood alone, also across agents.
struct SparseKernelsReproduction: Reproduction {
    let shortName = "SLIM-KL"
    let paper = 38
    let title = "Sparsity-Aware Distributed Learning for Gaussian Processes with Linear Multiple Kernel"
    let arXiv: String? = "2309.08201"
    let claim =
        "Learning the weights of a grid of spectral kernels gives sparse solutions and better predictions than common "
        + "kernels, and agents that exchange quantised weights only learn as well as one that has all data."

    private static let (count, ahead, components) = (150, 20, 200)

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 10)).map { context.seed &* 100 &+ UInt64($0) }
        var found: [String: [Double]] = [:]
        func add(_ name: String, _ value: Double) { found[name, default: []].append(value) }
        func sample(_ name: String) -> Sample { Sample(found[name] ?? []) }
        for (index, seed) in seeds.enumerated() {
            try context.progress.report("learning kernels", index, of: seeds.count)
            var random = SeededGenerator(seed: seed, stream: 38)
            let (x, y) = Self.series(&random)
            let (n, noise) = (Self.count, 0.01)
            let (train, test) = (x.rows(0..<n), x.rows(n..<n + Self.ahead))
            let target = Array(y[..<n])
            func error(_ means: [Double]) -> Double { Self.error(means, y[n...]) }
            let grid = try SpectralGrid(count: Self.components)
            let central = try SparseKernelLearner(iterations: 300, tolerance: 0).fit(grid, train, target, noise: noise)
            add("rise", zip(central.objectives.dropFirst(), central.objectives).map { ($0 - $1) / abs($1) }.max() ?? 0)
            add("objective", central.objectives.last ?? .nan)
            add("active", Double(central.active().count))
            add("near", Self.near(central.weights))
            add(
                "error",
                error(
                    try SparseKernelModel(grid, weights: central.weights, x: train, y: target, noise: noise)
                        .predict(test).means))
            add("zero", error([Double](repeating: 0, count: Self.ahead)))
            add("squared exponential", error(try Self.squaredExponential(target, noise: noise)))
            let mixture = try SpectralMixtureLearner(restarts: context.quick ? 3 : 10, seed: seed).fit(
                target, noise: noise)
            add("mixture", error(try mixture.predict(after: target, steps: Self.ahead).means))
            add("noise", try SmootherNoise.variance(of: y).squareRoot())
            try conic(seed, add)
            // Three agents with a third of the record each.
            let agents = (0..<3).map { j in
                ConsensusKernelLearner.Agent(
                    x: train.rows(50 * j..<50 * j + 50), y: Array(target[50 * j..<50 * j + 50]))
            }
            for (name, resolution) in [("agents", 0.0), ("quantised", 1e-3)] {
                let found = try ConsensusKernelLearner(
                    rounds: 60, updates: 10, resolution: resolution, seed: seed
                ).fit(grid, agents, noise: noise)
                add("\(name) active", Double(found.active().count))
                add("\(name) near", Self.near(found.weights))
                let parts = try agents.map {
                    try SparseKernelModel(grid, weights: found.weights, x: $0.x, y: $0.y, noise: noise).predict(test)
                }
                add("\(name) error", error(SparseKernelModel.Prediction.fused(parts).means))
                add("\(name) messages", Double(found.messages) / Double(found.rounds * 3 * Self.components))
            }
        }
        var rows = [
            Measurement("negative log likelihood (twice)", sample("objective")),
            Measurement("components above 1e-3 of the largest, of 200", sample("active")),
            Measurement("share of weight within two places of the two frequencies", sample("near")),
            Measurement(
                "error 20 steps ahead", sample("error"), baseline: sample("squared exponential"),
                baselineName: "squared exponential kernel"),
            Measurement(
                "error 20 steps ahead, again", sample("error"), baseline: sample("mixture"),
                baselineName: "spectral mixture of 4, frequencies learnt"),
            Measurement("error of predicting 0", sample("zero")),
            Measurement(
                "objective, 60 times and 40 frequencies", sample("separable"), baseline: sample("conic"),
                baselineName: "log det linearised 25 times, each problem solved"),
            Measurement(
                "three agents: fused error", sample("agents error"), baseline: sample("error"),
                baselineName: "all data in one place"),
            Measurement("three agents: components", sample("agents active")),
            Measurement("three agents: share of weight near the frequencies", sample("agents near")),
            Measurement(
                "quantised to 0.001: fused error", sample("quantised error"),
                baseline: sample("agents error"), baselineName: "exact messages"),
            Measurement("quantised: share of messages that are not 0", sample("quantised messages")),
            Measurement("noise deviation by the smoother (0.1 is true)", sample("noise")),
        ]
        var checks = [
            Check("no update raises the objective", sample("rise").values.max() ?? .nan, .atMost, 1e-9),
            Check("at most 15 of 200 components stay", sample("active"), staysBelow: 15),
            Check("at least 90 % of the weight is near the true frequencies", sample("near"), exceeds: 0.9),
            Check("the error ahead is below 0.2", sample("error"), staysBelow: 0.2),
            Check(
                "and below that of a squared exponential kernel", sample("error") - sample("squared exponential"),
                staysBelow: 0),
            Check(
                "and at most a tenth above that of a spectral mixture", sample("error") / sample("mixture"),
                staysBelow: 1.1),
            Check(
                "solving the linearised problems, as the authors do, ends within a thousandth of the same objective",
                Sample(zip(sample("separable").values, sample("conic").values).map { abs($0 - $1) / abs($1) }),
                staysBelow: 1e-3),
            Check("agents err at most twice as much", sample("agents error") / sample("error"), staysBelow: 2),
            Check("they keep at most 30 components", sample("agents active"), staysBelow: 30),
            Check(
                "quantising adds less than half", sample("quantised error") / sample("agents error"), staysBelow: 1.5),
            Check("and most messages become 0", sample("quantised messages"), staysBelow: 0.5),
        ]
        var missing: [String] = []
        try measured(context, &rows, &checks, &missing)
        return Outcome(
            setting:
                "sin(2π 0.05 t) + ½ sin(2π 0.12 t) + 0.1 noise at 150 times, 20 steps ahead; 200 frequencies from 0 to 0.5, "
                + "300 updates; agents hold 50 consecutive times each; \(seeds.count) draws. Measured series: five stretches of 150 values "
                + "and 20 more of each, without their line and in units of their deviation, noise by the smoother",
            measurements: rows, checks: checks,
            notes: [
                "All kernels are told the noise. The squared exponential one has the likelihood's best scale and length of a grid of 4 × 8; the "
                    + "spectral mixture begins \(context.quick ? 3 : 10) times, 200 steps each.",
                "The authors solve blocks of cone programs; here each weight has a scalar problem of its own, with the same "
                    + "stationary points.",
                "Stretches of a series overlap, so that its five errors are not independent. Electrocardiograms were not run.",
                "Agents hold consecutive times. Were each given every third, all would see the aliases of the frequencies, and "
                    + "no message could tell them apart.",
            ], missing: missing)
    }

    private static func error(_ means: [Double], _ truth: ArraySlice<Double>) -> Double {
        (zip(means, truth).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(means.count)).squareRoot()
    }

    /// The objective that separable updates reach, and what solutions of the linearised problems reach.
    private func conic(_ seed: UInt64, _ add: (String, Double) -> Void) throws {
        var random = SeededGenerator(seed: seed, stream: 39)
        let (x, y) = Self.series(&random)
        let (train, target) = (x.rows(0..<60), Array(y[..<60]))
        let grid = try SpectralGrid(count: 40)
        for (name, iterations, updates) in [("separable", 1500, 1), ("conic", 25, 60)] {
            let learnt = try SparseKernelLearner(
                iterations: iterations, tolerance: 1e-12, linearizedUpdates: updates
            ).fit(grid, train, target, noise: 0.01)
            add(name, learnt.objectives.last ?? .nan)
        }
    }

    /// Carbon dioxide, sunspots and unemployment, 20 steps ahead.
    private func measured(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check], _ missing: inout [String]
    ) throws {
        var (all, mixtures, smooth): ([Double], [Double], [Double]) = ([], [], [])
        let names = [("co2", "ppm"), ("sunspots", "number"), ("unemployment", "percent")]
        for (place, (name, column)) in names.enumerated() {
            guard let series = try RealData.series(name, column) else {
                missing.append(RealData.isMissing("series/\(name).csv", "that series was not run"))
                continue
            }
            var errors: [[Double]] = [[], [], []]
            var kept: [Double] = []
            let stretches = 5
            for k in 0..<stretches {
                try context.progress.report("measured series", place * stretches + k, of: 3 * stretches, name)
                let start = k * (series.count - Self.count - Self.ahead) / (stretches - 1)
                let (target, truth) = Self.standardized(Array(series[start..<start + Self.count + Self.ahead]))
                let noise = try max(SmootherNoise.variance(of: target), 1e-4)
                let x = Tensor((1...Self.count + Self.ahead).map(Double.init), shape: [Self.count + Self.ahead, 1])
                let grid = try SpectralGrid(count: Self.components)
                let train = x.rows(0..<Self.count)
                let learnt = try SparseKernelLearner(iterations: context.quick ? 100 : 300, tolerance: 0).fit(
                    grid, train, target, noise: noise)
                let model = try SparseKernelModel(grid, weights: learnt.weights, x: train, y: target, noise: noise)
                let mixture = try SpectralMixtureLearner(restarts: context.quick ? 2 : 10, seed: context.seed).fit(
                    target, noise: noise)
                errors[0].append(
                    Self.error(try model.predict(x.rows(Self.count..<Self.count + Self.ahead)).means, truth[...]))
                errors[1].append(
                    Self.error(try mixture.predict(after: target, steps: Self.ahead).means, truth[...]))
                errors[2].append(Self.error(try Self.squaredExponential(target, noise: noise), truth[...]))
                kept.append(Double(learnt.active().count))
            }
            rows += [
                Measurement(
                    "\(name): error 20 steps ahead", Sample(errors[0]), baseline: Sample(errors[1]),
                    baselineName: "spectral mixture"),
                Measurement("\(name): that of a squared exponential kernel", Sample(errors[2])),
                Measurement("\(name): components above 1e-3 of the largest, of 200", Sample(kept)),
            ]
            checks.append(Check("\(name): at most a quarter of 200 components stay", Sample(kept), staysBelow: 50))
            all += errors[0]
            mixtures += errors[1]
            smooth += errors[2]
        }
        guard !all.isEmpty else { return }
        func ratio(_ others: [Double]) -> Sample { Sample(zip(all, others).map { logarithm($0 / $1) }) }
        checks += [
            Check(
                "measured series: less error than a squared exponential kernel, in the geometric mean", ratio(smooth),
                staysBelow: 0),
            Check(
                "measured series: at most a tenth more than a spectral mixture", ratio(mixtures),
                staysBelow: logarithm(1.1)),
        ]
    }

    /// The first values without the line through them, in units of their deviation from it; and what follows, seen the same way.
    private static func standardized(_ values: [Double]) -> (target: [Double], truth: [Double]) {
        let n = Double(count)
        let (middle, mean) = ((n - 1) / 2, values[..<count].reduce(0, +) / n)
        var (cross, square) = (0.0, 0.0)
        for t in 0..<count {
            cross += (Double(t) - middle) * (values[t] - mean)
            square += (Double(t) - middle) * (Double(t) - middle)
        }
        let rest = values.indices.map { values[$0] - mean - cross / square * (Double($0) - middle) }
        let deviation = (rest[..<count].reduce(0) { $0 + $1 * $1 } / n).squareRoot()
        let scaled = rest.map { $0 / deviation }
        return (Array(scaled[..<count]), Array(scaled[count...]))
    }

    private static func series(_ random: inout SeededGenerator) -> (x: Tensor<Double>, y: [Double]) {
        let (pi, total) = (3.141592653589793, count + ahead)
        let y = (1...total).map { t in
            sine(2 * pi * 0.05 * Double(t)) + 0.5 * sine(2 * pi * 0.12 * Double(t)) + 0.1 * random.normal()
        }
        return (Tensor((1...total).map(Double.init), shape: [total, 1]), y)
    }

    /// Share of the weight within two grid places of 0.05 and 0.12.
    private static func near(_ weights: [Double]) -> Double {
        let spacing = 0.5 / Double(components - 1)
        var sum = 0.0
        for (i, weight) in weights.enumerated() {
            let frequency = spacing * Double(i)
            if min(abs(frequency - 0.05), abs(frequency - 0.12)) <= 2 * spacing { sum += weight }
        }
        return sum / weights.reduce(0, +)
    }

    /// What a Gaussian process predicts with the squared exponential kernel whose scale and length maximise the likelihood on a grid.
    private static func squaredExponential(_ y: [Double], noise: Double) throws -> [Double] {
        let n = y.count
        var best = (value: Double.infinity, means: [Double]())
        for scale in [0.1, 0.3, 1, 3] {
            for length in [0.5, 1, 2, 3, 4, 6, 10, 20] {
                let kernel = (0..<n + ahead).map { scale * exponential(-Double($0 * $0) / (2 * length * length)) }
                var c = Tensor<Double>(zeros: [n, n])
                for i in 0..<n { for j in 0..<n { c[i, j] = kernel[abs(i - j)] + (i == j ? noise : 0) } }
                let l = try c.cholesky()
                let inner = l.solveTriangular(Tensor(y, shape: [n, 1]))
                var value = inner.scalars.reduce(0) { $0 + $1 * $1 }
                for i in 0..<n { value += 2 * logarithm(l[i, i]) }
                if value < best.value {
                    let alpha = l.solveTriangular(inner, transposed: true)
                    best = (
                        value, (0..<ahead).map { k in (0..<n).reduce(0) { $0 + kernel[n + k - $1] * alpha[$1, 0] } }
                    )
                }
            }
        }
        return best.means
    }
}
