import LacunaIO
import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// Forgetting by fine-tuning with a fading penalty, and what measures it.
@Suite struct UnlearningTests {
    /// One step of plain descent: every parameter moves by rate · γ_t · sign(w) more than without the penalty.
    @Test func thePenaltyIsItsSubgradient() throws {
        final class Probe: TrainingHook {
            var seen: [Int: [Tensor<Float>]] = [:]
            func beforeStep(_ run: TrainingRun) { seen[run.step] = run.model.parameters.map(\.value) }
        }
        func trajectory(_ method: SparseUnlearning?) throws -> (MLP, Probe) {
            let (model, probe) = (network([6, 5, 2]), Probe())
            let hooks: [any TrainingHook] = [probe] + (method.map { [$0] } ?? [])
            try train(model, hooks: hooks, steps: 1, optimizer: SGD(learningRate: 0), rate: 0.1)
            return (model, probe)
        }
        let (plain, start) = try trajectory(nil)
        let (pulled, _) = try trajectory(try SparseUnlearning(gamma: 0.3))
        for (index, before) in start.seen[0]!.enumerated() {
            let (a, b) = (plain.parameters[index].value.scalars, pulled.parameters[index].value.scalars)
            for (i, w) in before.scalars.enumerated() {
                let expected = a[i] - 0.1 * 0.3 * (w > 0 ? 1 : w < 0 ? -1 : 0)
                #expect(abs(b[i] - expected) < 1e-6)
            }
        }
        // Without γ it is fine-tuning, to the bit.
        let (same, _) = try trajectory(try SparseUnlearning(gamma: 0))
        #expect(same.parameters.map(\.value) == plain.parameters.map(\.value))
    }

    @Test func thePenaltyFades() throws {
        let method = try SparseUnlearning(gamma: 2, end: 0.5)
        #expect([0, 0.25, 0.5, 0.9].map { method.gamma(at: $0) } == [2, 1, 0, 0])
        #expect(try SparseUnlearning(gamma: 2).gamma(at: 0.75) == 0.5)
        for (gamma, end) in [(-1.0, 1.0), (.nan, 1), (1, 0), (1, 1.5)] {
            #expect(throws: LacunaError.self) { try SparseUnlearning(gamma: gamma, end: end) }
        }
    }

    /// Soft thresholding by rate · γ_t, which for a weight without a gradient adds up over the run.
    @Test func proximalStepsMakeZeros() throws {
        let model = network([6, 5, 2])
        final class Still: TrainingHook {
            func gradientsReady(_ run: TrainingRun) {
                for parameter in run.model.parameters { parameter.scaleGradient(by: 0) }
            }
        }
        let before = model.layers[0].weight.densified()
        try train(
            model, hooks: [Still(), SparseUnlearning(gamma: 1, isProximal: true)], steps: 4,
            optimizer: SGD(learningRate: 0), rate: 0.1)
        // 0.1 · (1 + 3/4 + 2/4 + 1/4)
        let after = model.layers[0].weight.densified()
        for (a, b) in zip(before.scalars, after.scalars) {
            #expect(abs(b - (a > 0 ? max(a - 0.25, 0) : min(a + 0.25, 0))) < 1e-6)
        }
        #expect(after.scalars.contains(0) && after.scalars.contains { $0 != 0 })
    }

    @Test func attackers() throws {
        // From 0.6 on, four of five members and four of five others are recognised; nothing does better.
        let attack = try MembershipAttack(members: [0.9, 0.8, 0.7, 0.6, 0.2], others: [0.75, 0.5, 0.1, 0.3, 0.4])
        #expect(attack.threshold == 0.6 && abs(attack.balancedAccuracy - 0.8) < 1e-12)
        #expect(attack.shareOfOthers([0.59, 0.6, 0.1, 1]) == 0.5)
        // Who cannot tell calls nobody a member.
        let blind = try MembershipAttack(members: [0.5, 0.5], others: [0.5, 0.5, 0.5])
        #expect(blind.balancedAccuracy == 0.5 && blind.shareOfOthers([0.5, 1]) == 1)
        // Shares of both kinds count, not numbers: 1 of 1 beside 9 of 10.
        let uneven = try MembershipAttack(members: [0.95], others: (0..<10).map { Double($0) / 9 })
        #expect(abs(uneven.balancedAccuracy - 0.95) < 1e-12 && uneven.threshold == 0.95)
        // No threshold lies between equal confidences: 0.9 alone tells 1 of 3 members from the others.
        let level = try MembershipAttack(members: [0.9, 0.5, 0.5], others: [0.5, 0.5, 0.5, 0.1])
        #expect(level.threshold == 0.9 && abs(level.balancedAccuracy - 2.0 / 3) < 1e-12)
        #expect(throws: LacunaError.self) { try MembershipAttack(members: [], others: [0.5]) }
        #expect(throws: LacunaError.self) { try MembershipAttack(members: [.nan], others: [0.5]) }
    }

    private static func examples(_ count: Int, seed: UInt64) throws -> LabelledExamples {
        var generator = SeededGenerator(seed: seed)
        let x = Tensor<Float>(normal: [count, 6], using: &generator)
        return try LabelledExamples(
            inputs: x, labels: (0..<count).map { x[$0, 0] > 0 ? 1 : 0 }, classes: 2)
    }

    @Test func splits() throws {
        let all = try Self.examples(50, seed: 1)
        let split = try ForgetSplit(all, share: 0.3, seed: 4)
        #expect(split.forget.count == 15 && split.retain.count == 35)
        let rows = { (examples: LabelledExamples) in (0..<examples.count).map { examples.inputs[$0, 0] } }
        #expect(Set(rows(split.forget) + rows(split.retain)) == Set(rows(all)))
        #expect(try rows(ForgetSplit(all, share: 0.3, seed: 4).forget) == rows(split.forget))
        #expect(try rows(ForgetSplit(all, share: 0.3, seed: 5).forget) != rows(split.forget))
        let chosen = try ForgetSplit(all, forgetting: [3, 7, 3])
        #expect(rows(chosen.forget) == [all.inputs[3, 0], all.inputs[7, 0]])
        for share in [0, 1, 0.001] { #expect(throws: LacunaError.self) { try ForgetSplit(all, share: share, seed: 1) } }
        #expect(throws: LacunaError.self) { try ForgetSplit(all, forgetting: [50]) }
    }

    /// A network that has learned by heart what it was given is known by it, one that was not given it is not.
    @Test func reports() throws {
        var generator = SeededGenerator(seed: 6)
        let x = Tensor<Float>(normal: [90, 6], using: &generator)
        let noise = try LabelledExamples(
            inputs: x, labels: (0..<90).map { _ in Int32.random(in: 0..<2, using: &generator) }, classes: 2)
        let test = noise.selecting(60..<90)
        let split = try ForgetSplit(noise.prefix(60), forgetting: 0..<20)
        let unseen = try LabelledExamples(inputs: test.inputs, labels: test.labels, classes: 2)
        func trained(_ examples: LabelledExamples) throws -> UnlearningReport {
            let model = network([6, 64, 2])
            try Trainer(
                model: model, optimizer: Adam(), source: ShuffledBatches(examples, batchSize: 20, seed: 1),
                plan: TrainingPlan(steps: 400, learningRate: .constant(0.01)),
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
            ).train()
            return try UnlearningReport(of: model, forget: split.forget, retain: split.retain, test: unseen)
        }
        let (whole, retrained) = (try trained(noise.prefix(60)), try trained(split.retain))
        #expect(whole.forgetAccuracy > 0.95 && whole.membershipEfficacy < 0.3)
        #expect(retrained.forgetAccuracy < 0.8 && retrained.membershipEfficacy > 0.4 && retrained.retainAccuracy > 0.95)
        #expect(whole.gap(to: whole) == 0)
        let expected =
            (abs(whole.forgetAccuracy - retrained.forgetAccuracy) + abs(whole.retainAccuracy - retrained.retainAccuracy)
                + abs(whole.testAccuracy - retrained.testAccuracy)
                + abs(whole.membershipEfficacy - retrained.membershipEfficacy)) / 4
        #expect(abs(retrained.gap(to: whole) - expected) < 1e-12 && expected > 0.1)
    }

    /// In a configuration a phase of unlearning trains on the retained rows alone, and what it forgot is reported.
    @Test func phasesForget() throws {
        var generator = SeededGenerator(seed: 7)
        var text = "a,b,c,d,kind\n"
        for i in 0..<150 {
            let x = (0..<4).map { _ in generator.normal() }
            text += x.map { "\($0)" }.joined(separator: ",") + ",\(["red", "blue", "green"][i % 3])\n"
        }
        let path = "/tmp/lacuna-forget-\(UInt64.random(in: 0...UInt64.max)).csv"
        try AtomicFile.write(text, to: path)
        defer { try? FileSystem.remove(path) }
        func job(_ forget: String, _ phases: String) throws -> TrainingJob {
            try TrainingJob(
                ConfigurationFile(
                    text: """
                        data.kind = "csv"
                        data.path = "\(path)"
                        data.batch = 20
                        \(forget)
                        model.kind = "mlp"
                        model.hidden = [48, 48]
                        optimizer.learning_rate = 0.01
                        training.epochs = 60
                        \(phases)
                        """, file: "t.toml"), fetch: { _ in "" })
        }
        let phases = """
            [[phase]]
            method.name = "dense"
            [[phase]]
            method.name = "unlearn"
            method.gamma = 3e-3
            """
        let run = try job("data.forget_class = \"blue\"", phases)
        let report = try run.run(directory: nil)
        let values = { (step: Int) in report.metrics.last { $0.step <= step && $0["forget_accuracy"] != nil } }
        let (before, after) = (values(report.steps / 2), report.evaluation)
        #expect(try #require(before?["forget_accuracy"]) > 0.9)
        #expect(try #require(after?["forget_accuracy"]) < 0.3)
        #expect(try #require(after?["retain_accuracy"]) > 0.5 && after?["membership_efficacy"] != nil)
        let random = try job("data.forget = 0.2", phases)
        #expect(random.summary.contains("24 to forget"))
        for (forget, phases) in [
            ("", phases), ("data.forget = 0.2", ""), ("data.forget = 2", phases),
            ("data.forget = 0.2\ndata.forget_class = \"blue\"", phases), ("data.forget_class = \"grey\"", phases),
        ] {
            #expect(throws: LacunaError.self) { try job(forget, phases) }
        }
    }
}
