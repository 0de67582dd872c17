import LacunaLearn
import LacunaModels
import LacunaTensor
import Testing

@testable import LacunaInfer

/// Compares the gradient of a number with central differences in Double.
func expectGradients(
    _ start: Tensor<Double>, step: Double = 1e-6, tolerance: Double = 1e-5,
    _ function: (Variable<Double>) -> Variable<Double>
) {
    let tape = Tape<Double>()
    let x = tape.variable(start)
    tape.backward(from: function(x))
    let gradient = x.gradient?.scalars ?? Array(repeating: 0, count: start.count)
    func value(_ place: Int, _ change: Double) -> Double {
        var moved = start.scalars
        moved[place] += change
        let tape = Tape<Double>()
        return tape.withoutRecording { function(tape.constant(Tensor(moved, shape: start.shape))).item }
    }
    for place in 0..<start.count {
        let found = (value(place, step) - value(place, -step)) / (2 * step)
        #expect(abs(found - gradient[place]) < tolerance * (1 + abs(found)), "\(place): \(found), \(gradient[place])")
    }
}

struct RoutingLossTests {
    private static func normal(_ shape: [Int], seed: UInt64) -> Tensor<Double> {
        var random = SeededGenerator(seed: seed)
        return Tensor((0..<shape.reduce(1, *)).map { _ in random.normal() }, shape: shape)
    }

    private func item(_ x: Tensor<Double>, _ function: (Variable<Double>) -> Variable<Double>) -> Double {
        let tape = Tape<Double>()
        return tape.withoutRecording { function(tape.constant(x)).item }
    }

    /// Scores of 0 are a coin: ln 2. Sharp and equal ones cost nothing, sharp and opposite ones the sharpness.
    @Test func neighbours() {
        #expect(
            abs(item(Tensor(zeros: [4, 3])) { RoutingLoss.locality($0, length: 4) } - logarithm(2)) < 1e-12)
        let alike = Tensor<Double>([2, -1, 2, -1], shape: [2, 2])
        #expect(item(alike) { RoutingLoss.locality($0, length: 2) } < 1e-12)
        let opposite = Tensor<Double>([2, -2], shape: [2, 1])
        // Target σ(200) = 1 for a logit of -200.
        #expect(abs(item(opposite) { RoutingLoss.locality($0, length: 2) } - 200) < 1e-9)
        // By hand, with α = 1, and only within sequences.
        let x = Self.normal([5, 2], seed: 1)
        func sigmoid(_ z: Double) -> Double { 1 / (1 + exponential(-z)) }
        var sum = 0.0
        for t in [0, 1, 3] {
            for e in 0..<2 {
                let (target, p) = (sigmoid(x[t, e]), sigmoid(x[t + 1, e]))
                sum -= target * logarithm(p) + (1 - target) * logarithm(1 - p)
            }
        }
        #expect(abs(item(x) { RoutingLoss.locality($0, length: 3, sharpness: 1) } - sum / 6) < 1e-12)
        #expect(item(x) { RoutingLoss.locality($0, length: 1) } == 0)
        expectGradients(x) { RoutingLoss.locality($0, length: 3, sharpness: 1) }
    }

    /// The union of chunks in closed form.
    @Test func chunks() {
        func loss(_ p: Tensor<Double>, length: Int, chunk: Int) -> Double {
            item(p) { RoutingLoss.chunk($0, length: length, chunk: chunk) }
        }
        let even = Tensor<Double>(repeating: 0.1, shape: [64, 10])
        #expect(abs(loss(even, length: 64, chunk: 64) - (1 - power(0.9 + 1e-5, 64))) < 1e-12)
        #expect(abs(loss(even, length: 64, chunk: 64) - 0.99882) < 1e-5)
        var same = Tensor<Double>(zeros: [8, 8])
        var each = Tensor<Double>(zeros: [8, 8])
        for t in 0..<8 {
            same[t, 3] = 1
            each[t, t] = 1
        }
        #expect(abs(loss(same, length: 8, chunk: 8) - 1.0 / 8) < 1e-4)
        #expect(abs(loss(each, length: 8, chunk: 8) - 1) < 1e-4)
        // In chunks of 4, each uses half of the experts; chunks end with their sequence.
        #expect(abs(loss(each, length: 8, chunk: 4) - 0.5) < 1e-4)
        #expect(abs(loss(each, length: 3, chunk: 8) - 8.0 / 24) < 1e-4)
        let p = Self.normal([6, 3], seed: 2).map { 0.3 / (1 + exponential(-$0)) }
        expectGradients(p) { RoutingLoss.chunk($0, length: 4, chunk: 3) }
    }

    @Test func sharesAddUpToOne() {
        let tape = Tape<Double>()
        let rectified = tape.constant(Tensor<Double>([1, 0, 3, 0, 0, 0], shape: [2, 3]))
        let shares = RoutingLoss.shares(rectified).value
        #expect(abs(shares[0, 0] - 0.25) < 1e-4 && shares[0, 1] == 0 && abs(shares[0, 2] - 0.75) < 1e-4)
        #expect((0..<3).allSatisfy { shares[1, $0] == 0 })
    }

    /// 1 where shares or choices are even, the number of experts where all is on one; the gradient goes through shares alone.
    @Test func balance() {
        let even = Tensor<Double>(repeating: 0.25, shape: [4, 4])
        #expect(abs(item(even) { RoutingLoss.balance($0, chosen: [[0], [0], [0], [1]]) } - 1) < 1e-12)
        let x = Self.normal([4, 4], seed: 3)
        #expect(
            abs(item(x) { RoutingLoss.balance($0.softmax(), chosen: [[0], [1], [2], [3]]) } - 1) < 1e-12)
        var one = Tensor<Double>(zeros: [2, 4])
        (one[0, 2], one[1, 2]) = (1, 1)
        #expect(abs(item(one) { RoutingLoss.balance($0, chosen: [[2], [2]]) } - 4) < 1e-12)
        expectGradients(x) { RoutingLoss.balance($0.softmax(), chosen: [[0, 1], [1, 2], [1], [3]]) }
        let logits = Tensor<Double>([0, 0, 1, 2], shape: [2, 2])
        let second = logarithm(exponential(1) + exponential(2))
        #expect(
            abs(item(logits) { RoutingLoss.size($0) } - (logarithm(2) * logarithm(2) + second * second) / 2) < 1e-12)
    }

    @Test func heads() {
        let even = Tensor<Double>(repeating: 0.2, shape: [3, 2, 5])
        #expect(abs(item(even) { RoutingLoss.uniformity($0) } - logarithm(5)) < 1e-8)
        #expect(abs(item(even) { RoutingLoss.ambiguity($0) } - 0.8) < 1e-12)
        let sure = Tensor<Double>([1, 0, 0, 1], shape: [2, 1, 2])
        #expect(item(sure) { RoutingLoss.ambiguity($0) } == 0)
        // Each of two experts has half of the rows.
        #expect(abs(item(sure) { RoutingLoss.uniformity($0) } - logarithm(2)) < 1e-8)
        expectGradients(Self.normal([3, 2, 4], seed: 4)) { x in
            let gates = x.reshaped([6, 4]).softmax().reshaped([3, 2, 4])
            return RoutingLoss.uniformity(gates) + RoutingLoss.ambiguity(gates)
        }
    }

    /// Constant, then multiplied by the ratio of two windows, up to the cap, linearly over the next window.
    @Test func weightsFollowTheirTerms() throws {
        var weight = try AdaptiveWeight(initial: 2, constantSteps: 8, window: 4, leastGrowth: 1.5, cap: 2)
        for _ in 0..<4 { weight.note(1) }
        #expect(weight.value == 2)
        // Twice as large, and the constant time is over.
        for _ in 0..<4 { weight.note(2) }
        #expect(abs(weight.value - (2 + 2 * 0.25)) < 1e-12)
        for _ in 0..<3 { weight.note(1) }
        #expect(abs(weight.value - 4) < 1e-12)
        weight.note(1)
        // Half as large: from 4 down to 2.
        #expect(abs(weight.value - (4 - 0.5)) < 1e-12)
        for _ in 0..<4 { weight.note(1.0001) }
        // Grown by nearly nothing: by the least growth, to 3.
        #expect(abs(weight.value - (2 + 0.25)) < 1e-12)
        var copy = try AdaptiveWeight(initial: 2, constantSteps: 8, window: 4, leastGrowth: 1.5, cap: 2)
        try copy.restore(weight.state)
        #expect(copy == weight)
        #expect(throws: LacunaError.self) { try copy.restore(.null) }
        #expect(throws: LacunaError.self) { try AdaptiveWeight(window: 0) }
    }
}
