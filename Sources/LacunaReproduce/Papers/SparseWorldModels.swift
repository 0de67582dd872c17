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
        var (rows, checks): ([Measurement], [Check]) = ([], [])
        try sorted(context, &rows, &checks)
        try pendulum(context, &rows, &checks)
        try control(context, &rows, &checks)
        return Outcome(
            setting:
                "sin 3a · cos 2b on [-2, 2]², 900 points sorted by a, 500 test points, 8 bins an axis; a pendulum's transitions while "
                + "the angle of the policy drifts once around, \(context.quick ? 1000 : 3000) of them, 500 test states, saved and "
                + "read halfway; a point in four places, learnt one after the other from 250 random steps each, steered by imagined "
                + "rollouts; \(Self.seeds(context).count) seeds; networks: two hidden layers of 64, Adam or SGD, the best of 6 settings "
                + "on the test points, or of 3 rates of Adam by the distance that they steer to",
            measurements: rows, checks: checks,
            notes: [
                "Networks choose optimizer and learning rate on the test points, which favours them. With replay, every new "
                    + "transition comes with 31 drawn from all earlier ones.",
                "Controls are planned anew at every step, by random rollouts in the model; a policy is not learnt.",
            ])
    }

    private static func seeds(_ context: ReproductionContext) -> [UInt64] {
        (0..<5).map { context.seed &* 100 &+ $0 }
    }

    private func sorted(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        for groups in context.quick ? [20] : [20, 50] {
            var (online, batch, network, shuffled): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
            for (place, seed) in Self.seeds(context).enumerated() {
                try context.progress.report("streaming, \(groups) grids", place, of: Self.seeds(context).count)
                let stream = Stream.waves(seed: seed)
                let found = try Self.sparse(stream, groups: groups, bins: 8, seed: seed)
                online.append(found.online)
                batch.append(found.batch)
                if groups == 20 && (!context.quick || place < 3) {
                    network.append(try Self.network(stream, seed: seed, context))
                    shuffled.append(try Self.network(stream, shuffled: true, seed: seed, context))
                }
            }
            rows.append(
                Measurement(
                    "test error of one sorted pass, \(groups) grids", Sample(online), baseline: Sample(batch),
                    baselineName: "batch ridge regression"))
            checks.append(
                Check(
                    "\(groups) grids: at most twice the batch's error", Sample(online) / Sample(batch), staysBelow: 2))
            if groups == 20 {
                rows += [
                    Measurement("test error of a network, one sorted pass", Sample(network)),
                    Measurement("test error of a network, one shuffled pass", Sample(shuffled)),
                ]
                checks.append(
                    Check(
                        "a network errs at least ten times as much",
                        Sample(zip(network, online).map { $0 / $1 }), exceeds: 10))
            }
        }
    }

    /// Four places, one after the other; then back to all of them.
    private func control(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        var (sparse, known, replay, plain, still): ([Double], [Double], [Double], [Double], [Double]) = (
            [], [], [], [], []
        )
        for (place, seed) in Self.seeds(context).enumerated() {
            try context.progress.report("steering", place, of: Self.seeds(context).count)
            var random = SeededGenerator(seed: seed, stream: 44)
            let steps = RotatingField.experience(perPlace: 250, using: &random)
            var model = OnlineWorldModel(
                states: [-1.4...1.4, -1.4...1.4], actions: [-1...1, -1...1], using: &random)
            var stream = Stream(inputs: [], targets: [], testInputs: [], testTargets: [])
            for step in steps {
                try model.learn(state: step.state, action: step.action, next: step.next, reward: 0)
                stream.inputs.append(step.state + step.action)
                stream.targets.append(zip(step.next, step.state).map { 10 * ($0 - $1) })
            }
            sparse.append(
                try RotatingField.control(seed: seed) { states, actions in
                    try zip(states, actions).map { try model.predict(state: $0, action: $1).state }
                })
            known.append(RotatingField.control(seed: seed) { zip($0, $1).map(RotatingField.next) })
            still.append(RotatingField.control(seed: seed) { states, _ in states })
            func steered(replay: Int) throws -> Double {
                try [3e-4, 1e-3, 3e-3].map { rate in
                    let predict = try Self.trained(stream, isAdam: true, rate: rate, replay: replay, seed: seed)
                    return RotatingField.control(seed: seed) { states, actions in
                        let changes = predict(zip(states, actions).map { $0 + $1 })
                        return zip(states, changes).map { zip($0, $1).map { $0 + $1 / 10 } }
                    }
                }.min() ?? .infinity
            }
            replay.append(try steered(replay: 31))
            plain.append(try steered(replay: 0))
        }
        rows += [
            Measurement(
                "steering in four places: mean distance from the goal", Sample(sparse), baseline: Sample(replay),
                baselineName: "network with replay"),
            Measurement("the same by a network without replay", Sample(plain)),
            Measurement("the same with the true dynamics", Sample(known)),
            Measurement("the same with random actions", Sample(still)),
        ]
        checks += [
            Check(
                "steering: at most a tenth farther off than by a network with replay", Sample(sparse) / Sample(replay),
                staysBelow: 1.1),
            Check(
                "at most a fifth farther off than with the true dynamics", Sample(sparse) / Sample(known),
                staysBelow: 1.2),
            Check("nearer than by a network without replay", Sample(plain) - Sample(sparse), exceeds: 0),
        ]
    }

    /// Examples in the order of learning, and those to test on.
    fileprivate struct Stream {
        var inputs: [[Double]]
        var targets: [[Double]]
        var testInputs: [[Double]]
        var testTargets: [[Double]]

        static func waves(seed: UInt64) -> Stream {
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
        _ stream: Stream, groups: Int, bins: Int, seed: UInt64
    ) throws -> (online: Double, batch: Double) {
        var random = SeededGenerator(seed: seed, stream: 40)
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
        _ stream: Stream, shuffled: Bool = false, replay: Int = 0, seed: UInt64, _ context: ReproductionContext
    ) throws -> Double {
        var best = Double.infinity
        for isAdam in [true, false] {
            for rate in isAdam ? [3e-4, 1e-3, 3e-3] : [0.01, 0.03, 0.1] {
                try context.progress.report("training networks", isAdam ? 0 : 3, of: 6)
                let predict = try trained(
                    stream, shuffled: shuffled, isAdam: isAdam, rate: rate, replay: replay, seed: seed)
                let error = stream.error { predict([$0])[0] }
                if error.isFinite { best = min(best, error) }
            }
        }
        return best
    }

    /// A network after one pass: outputs for several inputs.
    private static func trained(
        _ stream: Stream, shuffled: Bool = false, isAdam: Bool, rate: Double, replay: Int, seed: UInt64
    ) throws -> ([[Double]]) -> [[Double]] {
        var random = SeededGenerator(seed: seed, stream: 41)
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
        return { batch in
            tape.evaluating {
                let x = Tensor(batch.flatMap { $0.map(Float.init) }, shape: [batch.count, inputs])
                let found = network(tape.constant(x)).value.scalars
                return batch.indices.map { i in (0..<outputs).map { Double(found[i * outputs + $0]) } }
            }
        }
    }

    /// A driven pendulum whose policy holds it near an angle that drifts once around.
    private func pendulum(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        var (sparse, network, plain, apart): ([Double], [Double], [Double], Double) = ([], [], [], 0)
        for (place, seed) in Self.seeds(context).prefix(context.quick ? 2 : 5).enumerated() {
            try context.progress.report("following a pendulum", place, of: context.quick ? 2 : 5)
            let stream = Stream.pendulum(count: context.quick ? 1000 : 3000, seed: seed)
            let found = try follow(stream, groups: context.quick ? 50 : 100, seed: seed)
            sparse.append(found.error)
            apart = max(apart, found.apart)
            network.append(try Self.network(stream, replay: 31, seed: seed, context))
            plain.append(try Self.network(stream, seed: seed, context))
        }
        rows += [
            Measurement(
                "pendulum, drifting policy: share of variance not predicted", Sample(sparse), baseline: Sample(network),
                baselineName: "network with replay"),
            Measurement("the same by a network without replay", Sample(plain)),
            Measurement("largest difference of predictions after being saved and read halfway", measured: apart),
        ]
        checks += [
            Check("pendulum: no worse than a network with replay", Sample(sparse) / Sample(network), staysBelow: 1),
            Check(
                "pendulum: less than a tenth of the error without replay", Sample(sparse) / Sample(plain),
                staysBelow: 0.1),
            Check("a model that was saved and read learns on as if it had not been", apart, .atMost, 0),
        ]
    }

    /// The error at the end, and how far a model that was saved and read halfway is from one that was not.
    private func follow(_ stream: Stream, groups: Int, seed: UInt64) throws -> (error: Double, apart: Double) {
        var random = SeededGenerator(seed: seed, stream: 43)
        // What the pendulum shows of itself and what is done to it are all within ±1.
        var model = OnlineWorldModel(
            states: [-1...1, -1...1, -1...1], actions: [-1...1], groups: groups, bins: 8, spread: 2, using: &random)
        var other = model
        for (i, (x, y)) in zip(stream.inputs, stream.targets).enumerated() {
            if i == stream.inputs.count / 2 {
                let folder = ChildProcess.environment["TMPDIR"] ?? "/tmp"
                let path = FileSystem.join(folder, "lacuna-pendulum-\(UInt64.random(in: 0 ... .max))")
                defer { try? FileSystem.remove(path) }
                try model.save(to: path)
                other = try OnlineWorldModel(contentsOf: path)
            }
            let (state, next) = (Array(x[0..<3]), (0..<3).map { x[$0] + y[$0] })
            try model.learn(state: state, action: [x[3]], next: next, reward: y[3])
            if i >= stream.inputs.count / 2 {
                try other.learn(state: state, action: [x[3]], next: next, reward: y[3])
            }
        }
        func predict(_ model: OnlineWorldModel, _ x: [Double]) throws -> [Double] {
            let found = try model.predict(state: Array(x[0..<3]), action: [x[3]])
            return (0..<3).map { found.state[$0] - x[$0] } + [found.reward]
        }
        var apart = 0.0
        for x in stream.testInputs {
            for (a, b) in zip(try predict(model, x), try predict(other, x)) { apart = max(apart, abs(a - b)) }
        }
        return (try stream.error { try predict(model, $0) }, apart)
    }
}

extension SparseWorldModelsReproduction.Stream {
    /// Changes of what a pendulum shows of itself, and rewards, in units of their standard deviations.
    fileprivate static func pendulum(count: Int, seed: UInt64) -> Self {
        var random = SeededGenerator(seed: seed, stream: 42)
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
        var stream = Self(inputs: [], targets: [], testInputs: [], testTargets: [])
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
        return stream
    }
}

private func wave(_ a: Double, _ b: Double) -> Double { sine(3 * a) * cosine(2 * b) }
