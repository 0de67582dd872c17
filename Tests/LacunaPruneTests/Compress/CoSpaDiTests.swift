import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct CoSpaDiTests {
    /// A matrix whose rows are sums of `count` of `atoms` directions, as its inputs see it, and the inputs.
    private func planted(rows: Int = 96, width: Int = 32, atoms: Int = 24, count: Int = 3) throws -> (
        weight: Tensor<Float>, statistics: InputStatistics, inputs: Tensor<Float>
    ) {
        let layer = LayerFixture(outputs: rows, inputs: width, tokens: 600, seed: 5)
        let space = try WhitenedSpace(layer.statistics, damping: 0)
        var generator = SeededGenerator(seed: 6)
        let dictionary = Tensor<Double>(normal: [atoms, width], using: &generator)
        var codes = Tensor<Double>(zeros: [rows, atoms])
        for row in 0..<rows {
            for atom in Array(0..<atoms).shuffled(using: &generator).prefix(count) {
                codes[row, atom] = generator.normal()
            }
        }
        let weight = space.restored(codes.multiplied(by: dictionary))
        return (Tensor<Float>(weight), layer.statistics, layer.inputs)
    }

    private func error(_ x: Tensor<Float>, _ a: Tensor<Float>, _ b: Tensor<Float>) -> Double {
        let (y, z) = (
            x.multiplied(by: a, otherTransposed: true).scalars, x.multiplied(by: b, otherTransposed: true).scalars
        )
        return zip(y, z).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
            / y.reduce(0.0) { $0 + Double($1 * $1) }
    }

    @Test func unionsOfSubspacesFitBetterThanOne() throws {
        let (weight, statistics, inputs) = try planted()
        let request = CompressionRequest(name: "w", sparsity: 0.4)
        let method = CoSpaDi(iterations: 20, damping: 0)
        let found = try method.compress(weight, statistics: statistics, request: request)
        let rival = try LowRank(damping: 0).compress(weight, statistics: statistics, request: request)
        let blind = try CoSpaDi(iterations: 20, isWhitened: false).compress(weight, statistics: nil, request: request)
        let errors = [found, rival, blind].map { error(inputs, weight, $0.densified()) }
        #expect(errors[0] < 0.25 * errors[1], "\(errors)")
        #expect(errors[0] < 0.5 * errors[2], "\(errors)")
        // What is saved is bytes, positions included.
        // (Rows of the mask are filled up to words of 64 bits, and have a 32-bit offset each.)
        #expect(Double(found.byteCount) <= 0.6 * Double(4 * weight.count) + 96 * 12)
        // The error that is made small is that of the outputs.
        let space = try WhitenedSpace(statistics, damping: 0)
        let size = try method.size(saving: 0.4, rows: 96, columns: 32, bits: 32)
        let last = try #require(method.factored(space.whitened(Tensor<Double>(weight)), size).errors.last)
        #expect(abs(last - errors[0]) < 1e-3 * last)
    }

    @Test func errorsNeverRiseAndEveryRowHasItsCoefficients() throws {
        var generator = SeededGenerator(seed: 2)
        let matrix = Tensor<Double>(normal: [40, 16], using: &generator)
        let (codes, atoms, errors) = try CoSpaDi(iterations: 15).factored(matrix, .init(atoms: 10, coefficients: 4))
        #expect(errors.count == 15)
        #expect(zip(errors, errors.dropFirst()).allSatisfy { $1 <= $0 * (1 + 1e-12) }, "\(errors)")
        #expect(errors.last! < 0.9 * errors[0])
        for row in 0..<40 { #expect((0..<10).count { codes[row, $0] != 0 } == 4) }
        for k in 0..<10 {
            #expect(abs((0..<16).reduce(0) { $0 + atoms[k, $1] * atoms[k, $1] } - 1) < 1e-12)
        }
        // The error is the matrix's, not that of residuals gone stale.
        let product = codes.multiplied(by: atoms)
        let lost = zip(matrix.scalars, product.scalars).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        #expect(abs(lost / matrix.scalars.reduce(0) { $0 + $1 * $1 } - errors.last!) < 1e-12)
    }

    @Test func aMatrixOfLowRankIsReproduced() throws {
        var generator = SeededGenerator(seed: 9)
        let matrix = Tensor<Double>(normal: [30, 3], using: &generator).multiplied(
            by: Tensor(normal: [3, 12], using: &generator))
        let errors = try CoSpaDi(iterations: 5).factored(matrix, .init(atoms: 8, coefficients: 3)).errors
        #expect(errors.last! < 1e-16)
    }

    @Test func sizesFollowTheBytes() throws {
        let size = try CoSpaDi(ratio: 2).size(saving: 0.5, rows: 192, columns: 64, bits: 16)
        // 0.5 · 192 · 64 / (64 + 192 / 2 + 192 / 16) = 35.7
        #expect(size == .init(atoms: 35, coefficients: 17))
        #expect(throws: LacunaError.self) { try CoSpaDi().size(saving: 0.999, rows: 8, columns: 8, bits: 16) }
        #expect(throws: LacunaError.self) { try CoSpaDi(ratio: 0.5).size(saving: 0.5, rows: 64, columns: 64, bits: 16) }
        #expect(throws: LacunaError.self) {
            try CoSpaDi().factored(Tensor([.nan, 1], shape: [1, 2]), .init(atoms: 1, coefficients: 1))
        }
    }

    @Test func seedsChooseTheStart() throws {
        var generator = SeededGenerator(seed: 2)
        let matrix = Tensor<Double>(normal: [24, 10], using: &generator)
        func atoms(_ seed: UInt64) throws -> Tensor<Double> {
            try CoSpaDi(iterations: 1, seed: seed).factored(matrix, .init(atoms: 6, coefficients: 2)).atoms
        }
        #expect(try atoms(1) == atoms(1))
        #expect(try atoms(1) != atoms(2))
    }
}
