import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct CompressionPlanTests {
    @Test func targetsAreReadAsPeopleWriteThem() throws {
        #expect(try CompressionPlan.Target("50%") == .sparsity(0.5))
        #expect(try CompressionPlan.Target("0.6") == .sparsity(0.6))
        #expect(try CompressionPlan.Target("2:4") == .pattern(.nm(n: 2, m: 4)))
        #expect(try CompressionPlan.Target("4:8").sparsity == 0.5)
        for words in ["", "half", "100%", "0", "-5%", "1.5", "rows", "4:2", "nan"] {
            #expect(throws: LacunaError.self, "\(words)") { try CompressionPlan.Target(words) }
        }
        for words in ["50%", "0.625", "1:4"] {
            let target = try CompressionPlan.Target(words)
            #expect(try CompressionPlan.Target(target.words) == target)
        }
    }

    @Test func effortsAreReadAsPeopleWriteThem() throws {
        #expect(try CompressionPlan.Effort("400steps") == .steps(400))
        #expect(try CompressionPlan.Effort("90s") == .seconds(90))
        #expect(try CompressionPlan.Effort("1.5 min") == .seconds(90))
        #expect(try CompressionPlan.Effort("4h") == .seconds(14_400))
        #expect(try CompressionPlan.Effort("none") == .steps(0))
        for words in ["", "20", "min", "-5min", "2.5steps", "soon", "nans", "infh", "1e300s"] {
            #expect(throws: LacunaError.self, "\(words)") { try CompressionPlan.Effort(words) }
        }
        for words in ["400steps", "20min", "0s"] {
            let effort = try CompressionPlan.Effort(words)
            #expect(try CompressionPlan.Effort(effort.words) == effort)
        }
    }

    @Test func everySettingIsKept() throws {
        var plan = try CompressionPlan(target: "4:8", values: .int4, healing: "20min")
        (plan.head, plan.methods, plan.budgets) = (.int8, ["wanda"], [.searched, .owl])
        (plan.sequences, plan.sequenceLength, plan.heldOutTokens) = (9, 33, 77)
        plan.reconstruction = Reconstruction(steps: 3, learningRate: 0.25, batch: 2)
        plan.healing = Healing(window: 40, batch: 3, learningRate: 0.125, teacherWeight: 0.75, clipNorm: 2)
        (plan.reconstruction.precision, plan.healing.precision) = (.bf16, .f32)
        (plan.control, plan.evaluationTokens, plan.seed) = (true, 99, .max)
        let text = plan.json.serialized()
        let read = try CompressionPlan(JSONFields(JSONValue(parsing: text), file: "plan"))
        #expect(read == plan)
    }

    @Test func whatMakesNoPlanIsRefused() throws {
        func refused(_ change: (inout CompressionPlan) -> Void) throws {
            var plan = try CompressionPlan(target: "50%")
            try plan.validate()
            change(&plan)
            #expect(throws: LacunaError.self) { try plan.validate() }
        }
        try refused { $0.target = .sparsity(0) }
        try refused { $0.target = .sparsity(1) }
        try refused { $0.effort = .steps(-1) }
        try refused { $0.effort = .seconds(.infinity) }
        try refused { $0.methods = [] }
        try refused { $0.methods = ["wander"] }
        // Methods that replace a matrix or cut out neurons leave no mask to train under.
        try refused { $0.methods = ["lowrank"] }
        try refused { $0.methods = ["cfsp"] }
        try refused { $0.budgets = [] }
        try refused { $0.sequences = 1 }
        try refused { $0.heldOutTokens = 1 }
        try refused { $0.evaluationTokens = 1 }
        try refused { $0.reconstruction.batch = 0 }
        try refused { $0.healing.learningRate = 0 }
        try refused { $0.healing.window = 1 }
        try refused { $0.healing.teacherWeight = -0.1 }
    }
}

@Suite struct CompressionTextTests {
    private func tokens(_ count: Int, seed: UInt64) -> [Int] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in Int.random(in: 0..<1000, using: &generator) }
    }

    @Test func everySourceGivesItsEnd() throws {
        let (a, b) = (tokens(1000, seed: 1), tokens(300, seed: 2))
        let text = try CompressionText(sources: [a, b], evaluation: tokens(200, seed: 3), heldOut: 80)
        // Forty each, but no more than a tenth.
        #expect(text.heldOut == Array(a.suffix(40) + b.suffix(30)))
        #expect(text.training == Array(a.dropLast(40) + b.dropLast(30)))
        #expect(text.evaluation == tokens(200, seed: 3))
    }

    @Test func whatIsMeasuredIsNotLearned() throws {
        let general = tokens(2000, seed: 1)
        var measured = tokens(64 * 32, seed: 4)
        #expect(CompressionText.sharedPieces(of: measured, in: general) == 0)
        // One piece of 64, at a place that is no multiple of its length.
        measured.replaceSubrange(96..<128, with: general[501..<533])
        #expect(CompressionText.sharedPieces(of: measured, in: general) == 1.0 / 64)
        _ = try CompressionText(sources: [general], evaluation: measured)
        // The first and the last piece that there is.
        measured.replaceSubrange(0..<32, with: general[..<32])
        measured.replaceSubrange(32..<64, with: general[(2000 - 32)...])
        #expect(CompressionText.sharedPieces(of: measured, in: general) == 3.0 / 64)
        #expect(throws: LacunaError.self) { try CompressionText(sources: [general], evaluation: measured) }
        #expect(throws: LacunaError.self) { try CompressionText(sources: [general], evaluation: general) }
    }

    @Test func textsThatAreTooShortAreRefused() throws {
        let general = tokens(500, seed: 1)
        #expect(throws: LacunaError.self) { try CompressionText(sources: [], evaluation: tokens(9, seed: 2)) }
        #expect(throws: LacunaError.self) { try CompressionText(sources: [general], evaluation: [1]) }
        #expect(throws: LacunaError.self) {
            try CompressionText(sources: [tokens(9, seed: 3)], evaluation: tokens(9, seed: 2))
        }
    }
}
