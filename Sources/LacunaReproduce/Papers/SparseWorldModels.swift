import Lacuna

/// Checks that sparse features and exact local updates learn from a sorted stream what a batch would teach.
struct SparseWorldModelsReproduction: Reproduction {
    let shortName = "LoSSE"
    let paper = 4
    let title = "Locality Sensitive Sparse Encoding for Learning World Models Online"
    let arXiv: String? = "2401.13034"
    let claim =
        "A linear model on locality-sensitive sparse features, updated exactly on the active ones, learns online from "
        + "non-stationary streams without forgetting, as well as or better than deep networks with replay."

    func run(_ context: ReproductionContext) throws -> Outcome {
        var rows: [Measurement] = []
        var checks: [Check] = []
        let seeds = context.quick ? 1 : 5
        for groups in context.quick ? [20] : [20, 50] {
            var (online, batch, network, shuffled) = (0.0, 0.0, 0.0, 0.0)
            for seed in 0..<seeds {
                try context.progress.report("streaming, \(groups) grids", seed, of: seeds)
                let stream = Stream.sine(seed: context.seed &* 100 &+ UInt64(seed))
                let found = try Self.sparse(stream, groups: groups, bins: 8, context, seed)
                online += found.online / Double(seeds)
                batch += found.batch / Double(seeds)
                if groups == 20 {
                    network += try Self.network(stream, shuffled: false, context, seed) / Double(seeds)
                    shuffled += try Self.network(stream, shuffled: true, context, seed) / Double(seeds)
                }
            }
            rows.append(
                Measurement(
                    "test error of one sorted pass, \(groups) grids", measured: online, baseline: batch,
                    baselineName: "batch ridge regression"))
            checks.append(Check("\(groups) grids: at most twice the batch's error", online, .atMost, 2 * batch))
            if groups == 20 {
                rows += [
                    Measurement("test error of a network, one sorted pass", measured: network),
                    Measurement("test error of a network, one shuffled pass", measured: shuffled),
                ]
                checks.append(Check("a network errs at least ten times as much", network, .atLeast, 10 * online))
            }
        }
        let pendulum = try self.pendulum(context)
        rows += [
            Measurement(
                "pendulum, drifting policy: share of variance not predicted", measured: pendulum.sparse,
                baseline: pendulum.network, baselineName: "network with replay"),
            Measurement("the same by a network without replay", measured: pendulum.plain),
        ]
        checks += [
            Check("pendulum: no worse than a network with replay", pendulum.sparse, .atMost, pendulum.network),
            Check(
                "pendulum: less than a tenth of the error without replay", pendulum.sparse, .less,
                pendulum.plain / 10),
        ]
        return Outcome(
            setting:
                "sin 3a · cos 2b on [-2, 2]², 900 points sorted by a, 500 test points, 8 bins an axis, mean of \(seeds) "
                + "streams; a pendulum's transitions while the angle of the policy drifts once around, \(context.quick ? 1000 : 3000) of them, 500 test "
                + "states; networks: two hidden layers of 64, Adam or SGD, the best of 6 settings on the test points",
            measurements: rows, checks: checks,
            notes: [
                "Networks choose optimizer and learning rate on the test points, which favours them. With replay, every new "
                    + "transition comes with 31 drawn from all earlier ones.",
                "Planning with the model (Dyna) was not run: what is checked is the model.",
            ])
    }

    /// Examples in the order of learning, and those to test on.
    private struct Stream {
        var inputs: [[Double]]
        var targets: [[Double]]
        var testInputs: [[Double]]
        var testTargets: [[Double]]

        static func sine(seed: UInt64) -> Stream {
            var random = SeededGenerator(seed: seed, stream: 4)
            func points(_ count: Int) -> [[Double]] {
                (0..<count).map { _ in [4 * random.uniform() - 2, 4 * random.uniform() - 2] }
            }
            func value(_ x: [Double]) -> [Double] { [wave(x[0], x[1])] }
            let inputs = points(900).sorted { $0[0] < $1[0] }
            let tests = points(500)
            return Stream(
                inputs: inputs, targets: inputs.map(value), testInputs: tests, testTargets: tests.map(value))
        }

        /// Mean squared error over outputs and test points.
        func error(_ predict: ([Double]) throws -> [Double]) rethrows -> Double {
            var sum = 0.0
            for (x, y) in zip(testInputs, testTargets) {
                for (found, truth) in zip(try predict(x), y) { sum += (found - truth) * (found - truth) }
            }
            return sum / Double(testInputs.count * testTargets[0].count)
        }
    }

    private static func sparse(
        _ stream: Stream, groups: Int, bins: Int, _ context: ReproductionContext, _ seed: Int
    ) throws -> (online: Double, batch: Double) {
        var random = SeededGenerator(seed: context.seed &* 100 &+ UInt64(seed), stream: 40)
        let encoding = LocalitySensitiveEncoding(inputs: 2, groups: groups, bins: bins, using: &random)
        var learner = SparseFollowTheLeader(features: encoding.features, outputs: 1)
        let codes = try stream.inputs.map(encoding.encode)
        for (code, target) in zip(codes, stream.targets) { try learner.update(code, target: target) }
        // Ridge regression through the kernel: W = Φᵀ(ΦΦᵀ + tεI)⁻¹ y.
        let (n, d) = (codes.count, encoding.features)
        var phi = Tensor<Double>(zeros: [n, d])
        phi.withMutablePointer { p in
            for (i, code) in codes.enumerated() {
                for (place, weight) in zip(code.places, code.weights) { p[i * d + Int(place)] = weight }
            }
        }
        var kernel = phi.multiplied(by: phi, otherTransposed: true)
        kernel.withMutablePointer { for i in 0..<n { $0[i * n + i] += Double(n) * learner.ridge } }
        let dual = try kernel.solvePositiveDefinite(Tensor(stream.targets.flatMap { $0 }, shape: [n, 1]))
        let w = phi.multiplied(by: dual, transposed: true).scalars
        return (
            try stream.error { learner.predict(try encoding.encode($0)) },
            try stream.error { x in
                let code = try encoding.encode(x)
                return [zip(code.places, code.weights).reduce(0) { $0 + $1.1 * w[Int($1.0)] }]
            }
        )
    }

    /// The smallest test error over settings of one pass.
    private static func network(
        _ stream: Stream, shuffled: Bool, replay: Int = 0, _ context: ReproductionContext, _ seed: Int
    ) throws -> Double {
        var best = Double.infinity
        for isAdam in [true, false] {
            for rate in isAdam ? [3e-4, 1e-3, 3e-3] : [0.01, 0.03, 0.1] {
                try context.progress.report("training networks", isAdam ? 0 : 3, of: 6)
                var random = SeededGenerator(seed: context.seed &* 100 &+ UInt64(seed), stream: 41)
                let (inputs, outputs) = (stream.inputs[0].count, stream.targets[0].count)
                let network = MLP(widths: [inputs, 64, 64, outputs], using: &random)
                let parameters = network.parameters
                let optimizer: any Optimizer = isAdam ? Adam(learningRate: rate) : SGD(learningRate: rate)
                let tape = Tape<Float>()
                var order = Array(stream.inputs.indices)
                if shuffled { order.shuffle(using: &random) }
                for (step, i) in order.enumerated() {
                    let batch =
                        [i] + (0..<(step > 0 ? replay : 0)).map { _ in order[Int.random(in: 0..<step, using: &random)] }
                    let x = Tensor(batch.flatMap { stream.inputs[$0].map(Float.init) }, shape: [batch.count, inputs])
                    let y = Tensor(batch.flatMap { stream.targets[$0].map(Float.init) }, shape: [batch.count, outputs])
                    tape.backward(from: Loss.meanSquaredError(network(tape.constant(x)), tape.constant(y)))
                    optimizer.step(parameters)
                    network.clearGradients()
                }
                let error = stream.error { x in
                    tape.evaluating {
                        network(tape.constant(Tensor(x.map(Float.init), shape: [1, inputs]))).value.scalars.map(
                            Double.init)
                    }
                }
                if error.isFinite { best = min(best, error) }
            }
        }
        return best
    }

    /// A driven pendulum whose policy holds it near an angle that drifts once around.
    private func pendulum(
        _ context: ReproductionContext
    ) throws -> (sparse: Double, network: Double, plain: Double) {
        let count = context.quick ? 1000 : 3000
        var random = SeededGenerator(seed: context.seed, stream: 42)
        func step(_ angle: Double, _ speed: Double, _ torque: Double) -> (angle: Double, speed: Double) {
            let next = speed + 0.05 * (15 * sine(angle) + 3 * torque)
            return (angle + 0.05 * next, next)
        }
        func example(_ angle: Double, _ speed: Double, _ torque: Double) -> (x: [Double], y: [Double]) {
            let next = step(angle, speed, torque)
            let reward = -(1 - cosine(angle)) - 0.01 * speed * speed - 0.001 * torque * torque
            return (
                [cosine(angle), sine(angle), speed / 8, torque / 2],
                [cosine(next.angle) - cosine(angle), sine(next.angle) - sine(angle), (next.speed - speed) / 8, reward]
            )
        }
        let pi = 3.141592653589793
        var stream = Stream(inputs: [], targets: [], testInputs: [], testTargets: [])
        for i in 0..<count {
            let angle = -pi + 2 * pi * Double(i) / Double(count) + 0.2 * random.normal()
            let made = example(angle, 16 * random.uniform() - 8, 4 * random.uniform() - 2)
            stream.inputs.append(made.x)
            stream.targets.append(made.y)
        }
        for _ in 0..<500 {
            let made = example(
                2 * pi * random.uniform() - pi, 16 * random.uniform() - 8, 4 * random.uniform() - 2)
            stream.testInputs.append(made.x)
            stream.testTargets.append(made.y)
        }
        // One scale for all outputs: their standard deviation over the stream.
        for k in 0..<4 {
            let mean = stream.targets.reduce(0) { $0 + $1[k] } / Double(count)
            let variance = stream.targets.reduce(0) { $0 + ($1[k] - mean) * ($1[k] - mean) } / Double(count)
            let scale = 1 / variance.squareRoot()
            for i in stream.targets.indices { stream.targets[i][k] = (stream.targets[i][k] - mean) * scale }
            for i in stream.testTargets.indices { stream.testTargets[i][k] = (stream.testTargets[i][k] - mean) * scale }
        }
        let encoding = LocalitySensitiveEncoding(
            inputs: 4, groups: context.quick ? 50 : 100, bins: 8, scale: 2, using: &random)
        var learner = SparseFollowTheLeader(features: encoding.features, outputs: 4)
        for (i, (x, y)) in zip(stream.inputs, stream.targets).enumerated() {
            if i % 100 == 0 { try context.progress.report("following a pendulum", i, of: count) }
            try learner.update(try encoding.encode(x), target: y)
        }
        return (
            try stream.error { learner.predict(try encoding.encode($0)) },
            try Self.network(stream, shuffled: false, replay: 31, context, 0),
            try Self.network(stream, shuffled: false, context, 0)
        )
    }
}

private func wave(_ a: Double, _ b: Double) -> Double { sine(3 * a) * cosine(2 * b) }
