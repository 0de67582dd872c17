import LacunaSparse
import LacunaTensor
import Testing

@Suite struct ProximalTests {
    private typealias Operator = (UnsafeMutablePointer<Float>, Int, Float) -> Void

    private func apply(_ operation: Operator, to v: [Float], _ parameter: Float) -> [Double] {
        var x = v
        x.withUnsafeMutableBufferPointer { operation($0.baseAddress!, v.count, parameter) }
        return x.map(Double.init)
    }

    /// No random step away from the result lowers `½‖x - v‖² + g(x)`.
    private func expectMinimum(_ operation: Operator, _ g: ([Double]) -> Double, parameter: Float, seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let v = (0..<8).map { _ in Float(generator.normal()) }
        func objective(_ x: [Double]) -> Double {
            zip(x, v).reduce(g(x)) { $0 + 0.5 * ($1.0 - Double($1.1)) * ($1.0 - Double($1.1)) }
        }
        let best = apply(operation, to: v, parameter)
        let value = objective(best)
        for trial in 0..<300 {
            var other = best
            let step = trial % 3 == 0 ? 1 : 0.05
            for i in 0..<8 where Bool.random(using: &generator) {
                other[i] = trial % 5 == 0 ? 0 : other[i] + step * generator.normal()
            }
            #expect(objective(other) >= value - 1e-6)
        }
    }

    @Test(arguments: 0..<5 as Range<UInt64>) func resultsAreMinima(seed: UInt64) {
        for threshold in [Float(0), 0.3, 1, 10] {
            let weight = Double(threshold)
            expectMinimum(
                { Proximal.softThreshold($0, count: $1, threshold: $2) },
                { weight * $0.reduce(0) { $0 + abs($1) } }, parameter: threshold, seed: seed)
            expectMinimum(
                { Proximal.hardThreshold($0, count: $1, threshold: $2) },
                { weight * weight / 2 * Double($0.filter { $0 != 0 }.count) }, parameter: threshold, seed: seed)
            expectMinimum(
                { Proximal.groupSoftThreshold($0, count: $1, threshold: $2) },
                { weight * $0.reduce(0) { $0 + $1 * $1 }.squareRoot() }, parameter: threshold, seed: seed)
        }
    }

    /// A point of a convex set is the nearest one to `v` if no point of the set lies beyond it as seen from `v`.
    @Test(arguments: 0..<20 as Range<UInt64>) func projections(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let v = (0..<12).map { _ in Float(2 * generator.normal()) }
        for radius in [Float(0), 0.5, 1, 100] {
            let r = Double(radius)
            let simplex = apply({ Proximal.projectOntoSimplex($0, count: $1, radius: $2) }, to: v, radius)
            #expect(simplex.allSatisfy { $0 >= 0 } && abs(simplex.reduce(0, +) - r) < 1e-5 * max(1, r))
            let ball = apply({ Proximal.projectOntoL1Ball($0, count: $1, radius: $2) }, to: v, radius)
            let norm = v.reduce(0) { $0 + Double(abs($1)) }
            #expect(ball.reduce(0) { $0 + abs($1) } <= min(r, norm) + 1e-5 * max(1, r))
            func beyond(_ x: [Double], _ corner: [Double]) -> Double {
                (0..<12).reduce(0) { $0 + (Double(v[$1]) - x[$1]) * (corner[$1] - x[$1]) }
            }
            for i in 0..<12 {
                var corner = [Double](repeating: 0, count: 12)
                corner[i] = r
                #expect(beyond(simplex, corner) < 1e-4 * max(1, r))
                #expect(beyond(ball, corner) < 1e-4 * max(1, r))
                corner[i] = -r
                #expect(beyond(ball, corner) < 1e-4 * max(1, r))
            }
        }
    }

    @Test func closedForms() {
        #expect(
            apply({ Proximal.softThreshold($0, count: $1, threshold: $2) }, to: [3, -2, 0.5, 1], 1) == [2, -1, 0, 0])
        #expect(
            apply({ Proximal.hardThreshold($0, count: $1, threshold: $2) }, to: [3, -2, 0.5, 1], 1) == [3, -2, 0, 0])
        #expect(apply({ Proximal.projectOntoSimplex($0, count: $1, radius: $2) }, to: [1, 1, -5], 1) == [0.5, 0.5, 0])
        #expect(apply({ Proximal.projectOntoL1Ball($0, count: $1, radius: $2) }, to: [3, -2, 0], 1) == [1, 0, 0])
        #expect(apply({ Proximal.projectOntoL1Ball($0, count: $1, radius: $2) }, to: [0.25, -0.5], 1) == [0.25, -0.5])
        var nothing: [Float] = [.nan]
        Proximal.softThreshold(&nothing, count: 1, threshold: 1)
        #expect(nothing[0].isNaN)
        Proximal.projectOntoSimplex(&nothing, count: 0)
        Proximal.projectOntoL1Ball(&nothing, count: 0)
        Proximal.groupSoftThreshold(&nothing, count: 0, threshold: 1)
    }
}
