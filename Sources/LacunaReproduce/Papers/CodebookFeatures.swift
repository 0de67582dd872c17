import Lacuna

/// Checks that a network whose hidden layer is a choice of codes keeps its accuracy, and can be read and steered by
/// them.
struct CodebookFeaturesReproduction: Reproduction {
    let shortName = "Codebooks"
    let paper = 76
    let title = "Codebook Features: Sparse and Discrete Interpretability for Neural Networks"
    let arXiv: String? = "2310.17230"
    let claim =
        "Replacing hidden states by a few codes of a codebook costs little accuracy; on a finite state machine codes stand for "
        + "states, and setting a code sets the state."

    private static let states = 100
    private static let edges = 10

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 1500 : 3000
        let kinds: [(name: String, codes: Int?, k: Int)] = [
            ("none", nil, 1), ("300", 300, 1), ("50", 50, 1), ("300, four at once", 300, 4),
        ]
        var accuracy = [Sample](repeating: Sample(), count: kinds.count)
        var (distinct, steered, steeredFew) = (Sample(), Sample(), Sample())
        for index in 0..<seeds {
            try context.progress.report("networks", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            let machine = Machine(seed: seed)
            for (i, kind) in kinds.enumerated() {
                let network = try Network(codes: kind.codes, k: kind.k, seed: seed)
                try train(network, machine, steps: steps, seed: seed)
                let tape = Tape<Float>()
                let (logits, ids) = tape.evaluating { () -> (Tensor<Float>, [Int32]) in
                    let out = network(tape.constant(Machine.inputs(Array(0..<Self.states))))
                    return (out.logits.value, out.ids)
                }
                accuracy[i].values.append(machine.accuracy(logits, of: Array(0..<Self.states)))
                guard kind.k == 1, kind.codes != nil else { continue }
                if i == 1 { distinct.values.append(Double(Set(ids).count)) }
                // The code of another state, forced on every input.
                let forced = tape.evaluating {
                    network(
                        tape.constant(Machine.inputs(Array(0..<Self.states))),
                        forced: (0..<Self.states).map { ids[($0 + 37) % Self.states] }
                    ).logits.value
                }
                let score = machine.accuracy(forced, of: (0..<Self.states).map { ($0 + 37) % Self.states })
                if i == 1 { steered.values.append(score) } else { steeredFew.values.append(score) }
            }
        }
        return Outcome(
            setting:
                "a machine of 100 states with 10 edges each, states as two digits; networks 20-128-32-100 with a codebook before "
                + "the last layer, \(steps) steps of 256 samples; \(seeds) seeds",
            measurements: [
                accuracy[1].measured("true edges among the ten best, 300 codes", against: accuracy[0], "no codebook"),
                accuracy[3].measured("the same with four of 300 codes at once", against: accuracy[0], "no codebook"),
                accuracy[2].measured("the same with 50 codes for 100 states", against: accuracy[1], "300 codes"),
                distinct.measured("codes in use for 100 states, of 300"),
                steered.measured(
                    "true edges of a state whose code is forced, 300 codes", against: steeredFew, "50 codes"),
            ],
            checks: [
                Check("300 codes keep the accuracy within 0.03", (accuracy[0] - accuracy[1]).high, .less, 0.03),
                Check("four codes at once do as well", (accuracy[0] - accuracy[3]).high, .less, 0.03),
                Check("nearly every state has a code of its own", distinct.low, .greater, 90),
                Check("forcing a state's code gives its edges", steered.low, .greater, 0.95),
                Check("50 codes cannot tell 100 states apart", accuracy[2].high, .less, 0.85),
            ])
    }

    private func train(_ network: Network, _ machine: Machine, steps: Int, seed: UInt64) throws {
        var plan = TrainingPlan(
            steps: steps, learningRate: .warmUp(steps: 100, then: .cosine(from: 3e-3, to: 1e-4, steps: steps)))
        plan.seed = seed
        plan.logEvery = steps
        let trainer = try Trainer(
            model: network, optimizer: Adam(learningRate: 3e-3), source: machine.batches(of: 256, seed: seed),
            plan: plan,
            loss: { batch, tape in
                let out = network(tape.constant(batch.inputs))
                let loss = Loss.crossEntropy(out.logits, labels: batch.labels)
                return out.reconstruction.map { loss + $0 } ?? loss
            })
        try trainer.train()
    }

    /// Two digits of a state, through a hidden layer, into the codebook, into the next state's logits.
    private final class Network: Module {
        let hidden, narrow, output: Linear
        let codebook: Codebook?

        init(codes: Int?, k: Int, seed: UInt64) throws {
            var generator = SeededGenerator(seed: seed, stream: 0x76)
            hidden = Linear(inputDimensions: 20, outputDimensions: 128, using: &generator)
            narrow = Linear(inputDimensions: 128, outputDimensions: 32, using: &generator)
            output = Linear(inputDimensions: 32, outputDimensions: states, using: &generator)
            codebook = try codes.map { try Codebook(dimensions: 32, codes: $0, k: k, seed: seed) }
        }

        func callAsFunction(
            _ x: Variable<Float>, forced: [Int32]? = nil
        ) -> (logits: Variable<Float>, ids: [Int32], reconstruction: Variable<Float>?) {
            let state = narrow(hidden(x).relu())
            guard let codebook else { return (output(state), [], nil) }
            let out = codebook(state, forced: forced)
            return (output(out.values), out.ids, out.reconstructionLoss)
        }
    }

    private struct Machine: Sendable {
        let edges: [[Int]]

        init(seed: UInt64) {
            var generator = SeededGenerator(seed: seed, stream: 0xF5A)
            var all: [[Int]] = []
            for _ in 0..<states {
                all.append(Array((0..<states).shuffled(using: &generator).prefix(CodebookFeaturesReproduction.edges)))
            }
            edges = all
        }

        static func inputs(_ list: [Int]) -> Tensor<Float> {
            var x = Tensor<Float>(zeros: [list.count, 20])
            for (t, s) in list.enumerated() { (x[t, s / 10], x[t, 10 + s % 10]) = (1, 1) }
            return x
        }

        func batches(of size: Int, seed: UInt64) -> Batches { Batches(machine: self, size: size, seed: seed) }

        /// Share of the ten best logits that are true edges of a state.
        func accuracy(_ logits: Tensor<Float>, of wanted: [Int]) -> Double {
            var right = 0
            for (t, state) in wanted.enumerated() {
                let best = (0..<states).sorted { logits[t, $0] > logits[t, $1] }.prefix(
                    CodebookFeaturesReproduction.edges)
                right += best.count { edges[state].contains($0) }
            }
            return Double(right) / Double(wanted.count * CodebookFeaturesReproduction.edges)
        }

        struct Batches: BatchSource {
            let machine: Machine
            let size: Int
            let seed: UInt64
            var batchesPerEpoch: Int? { nil }

            func batch(step: Int) -> (inputs: Tensor<Float>, labels: [Int32]) {
                var generator = SeededGenerator(seed: seed, stream: 0xBA &+ UInt64(step))
                let list = (0..<size).map { _ in Int.random(in: 0..<states, using: &generator) }
                return (inputs(list), list.map { Int32(machine.edges[$0].randomElement(using: &generator)!) })
            }
        }
    }
}
