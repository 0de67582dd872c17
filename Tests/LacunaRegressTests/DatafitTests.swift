import LacunaRegress
import LacunaTensor
import Testing

/// Gradients by finite differences, conjugates by their definition.
@Suite struct DatafitTests {
    private static let rows = 7

    private static func datafits() throws -> [any Datafit] {
        let y = [0.5, -1, 2, 3, -0.2, 4, 0]
        let w: [Double] = [1, 2, 0, 0.5, 1, 1, 3]
        return [
            try SquaredLoss(y), try SquaredLoss(y, weights: w), try SquaredLoss(tasks: [y, y.reversed()], weights: w),
            try LogisticLoss([0, 1, 1, 0, 1, 0, 1], weights: w), try HuberLoss(y, delta: 0.8, weights: w),
            try PoissonLoss([0, 1, 2, 0, 5, 1, 0.5], weights: w),
            try MultinomialLoss(classes: [0, 1, 2, 2, 1, 0, 1], count: 3, weights: w),
        ]
    }

    @Test(arguments: 0..<7) func derivatives(index: Int) throws {
        let datafit = try Self.datafits()[index]
        let size = datafit.rows * datafit.outputs
        var random = SeededGenerator(seed: UInt64(index))
        let eta = (0..<size).map { _ in random.normal() }
        var gradient = [Double](repeating: 0, count: size)
        var curvature = gradient
        datafit.gradient(eta, into: &gradient)
        datafit.curvature(eta, into: &curvature)
        for i in 0..<size {
            func slope(_ at: Double) -> (value: Double, gradient: Double) {
                var point = eta
                point[i] += at
                var g = gradient
                datafit.gradient(point, into: &g)
                return (datafit.value(point), g[i])
            }
            let (above, below) = (slope(1e-5), slope(-1e-5))
            #expect(abs((above.value - below.value) / 2e-5 - gradient[i]) < 1e-8)
            let second = (above.gradient - below.gradient) / 2e-5
            // Huber's and the multinomial curvatures are upper bounds; the others exact.
            let isBound = datafit is HuberLoss || datafit is MultinomialLoss
            #expect(isBound ? second <= curvature[i] + 1e-8 : abs(second - curvature[i]) < 1e-8)
            if let bound = datafit.curvatureBound {
                #expect(second <= bound * datafit.weights[i % datafit.rows] + 1e-8)
            }
        }
        #expect(abs(datafit.weights.reduce(0, +) - 1) < 1e-12)
    }

    /// Fenchel and Young: `F*(g) = g·η - F(η)` at the gradient, and no other `η` exceeds `F*(s g)`.
    @Test(arguments: 0..<7) func conjugates(index: Int) throws {
        let datafit = try Self.datafits()[index]
        let size = datafit.rows * datafit.outputs
        var random = SeededGenerator(seed: 50 + UInt64(index))
        let eta = (0..<size).map { _ in random.normal() }
        var g = eta
        datafit.gradient(eta, into: &g)
        func product(_ a: [Double], _ s: Double) -> Double { zip(a, g).reduce(0) { $0 + s * $1.0 * $1.1 } }
        #expect(abs(datafit.conjugate(gradient: g, scale: 1) - (product(eta, 1) - datafit.value(eta))) < 1e-10)
        for s in [1, 0.9, 0.3, 0] {
            let conjugate = datafit.conjugate(gradient: g, scale: s)
            for _ in 0..<200 {
                let other = eta.map { $0 + 3 * random.normal() }
                #expect(product(other, s) - datafit.value(other) <= conjugate + 1e-10)
            }
        }
    }

    @Test func interceptsAlone() throws {
        let y = [1.0, 2, 4, 9]
        #expect(try abs(SquaredLoss(y).interceptsAlone()[0] - 4) < 1e-14)
        #expect(try abs(SquaredLoss(y, weights: [1, 1, 0, 0]).interceptsAlone()[0] - 1.5) < 1e-14)
        #expect(try abs(LogisticLoss([1, 0, 1, 1]).interceptsAlone()[0] - logarithm(3)) < 1e-12)
        #expect(try abs(PoissonLoss(y).interceptsAlone()[0] - logarithm(4)) < 1e-12)
        let three = try MultinomialLoss(classes: [0, 1, 1, 2, 2, 2], count: 3).interceptsAlone()
        #expect(abs(three[1] - three[0] - logarithm(2)) < 1e-10 && abs(three[2] - three[0] - logarithm(3)) < 1e-10)
        // Without the other class the best constant is infinite; the answer stays finite.
        #expect(try LogisticLoss([1, 1]).interceptsAlone()[0].isFinite)
    }

    @Test func unusableTargetsAndWeights() {
        #expect(throws: LacunaError.self) { try SquaredLoss([]) }
        #expect(throws: LacunaError.self) { try SquaredLoss([1, .nan]) }
        #expect(throws: LacunaError.self) { try SquaredLoss([1, 2], weights: [1]) }
        #expect(throws: LacunaError.self) { try SquaredLoss([1, 2], weights: [1, -1]) }
        #expect(throws: LacunaError.self) { try SquaredLoss([1, 2], weights: [0, 0]) }
        #expect(throws: LacunaError.self) { try SquaredLoss([1, 2], weights: [1, .infinity]) }
        #expect(throws: LacunaError.self) { try SquaredLoss(tasks: [[1, 2], [1]]) }
        #expect(throws: LacunaError.self) { try LogisticLoss([0, 1, 2]) }
        #expect(throws: LacunaError.self) { try LogisticLoss([0, 1, -1]) }
        #expect(throws: LacunaError.self) { try PoissonLoss([0, -1]) }
        #expect(throws: LacunaError.self) { try PoissonLoss([0, .infinity]) }
        #expect(throws: LacunaError.self) { try HuberLoss([0], delta: 0) }
        #expect(throws: LacunaError.self) { try MultinomialLoss(classes: [0, 3], count: 3) }
        #expect(throws: LacunaError.self) { try MultinomialLoss(classes: [0, -1], count: 3) }
    }
}
