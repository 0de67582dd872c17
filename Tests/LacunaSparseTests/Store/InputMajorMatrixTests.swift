import LacunaTensor
import Testing

@testable import LacunaSparse

/// Products that read the weights of active inputs alone, against sums in double precision.
@Suite struct InputMajorMatrixTests {
    @Test(
        arguments: [ValueType.f32, .bf16, .f16],
        [(1, 1), (7, 5), (64, 30), (65, 31), (300, 97), (2000, 260), (0, 4), (3, 0)])
    func equalsTheSumOverActiveInputs(values: ValueType, shape: (Int, Int)) throws {
        let (rows, columns) = shape
        var generator = SeededGenerator(seed: UInt64(rows * 7 + columns))
        let weight = Tensor<Float>(normal: [rows, columns], using: &generator)
        let matrix = try InputMajorMatrix(weight, values: values)
        #expect(matrix.rows == rows && matrix.columns == columns)
        #expect(matrix.byteCount == rows * columns * (values == .f32 ? 4 : 2))
        // As any stored matrix: decoded, and with every input.
        let rounded = StoreCases.rounded(weight, nil, values)
        #expect(matrix.densified().scalars == rounded && matrix.storedCount == rows * columns)
        let ones = matrix.multiplied(by: [Float](repeating: 1, count: columns))
        for r in 0..<rows {
            let sum = (0..<columns).reduce(0.0) { $0 + Double(rounded[r * columns + $1]) }
            #expect(abs(Double(ones[r]) - sum) < 1e-4)
        }
        for share in [0.0, 0.1, 0.5, 1.0] {
            let active = (0..<columns).filter { _ in generator.uniform() < share }.shuffled(using: &generator)
            // What is not active may be anything.
            var x = [Float](repeating: .nan, count: columns)
            for c in active { x[c] = Float(generator.normal()) }
            let found = try matrix.multiplied(by: x, activeInputs: active)
            for r in 0..<rows {
                var (sum, size) = (0.0, 0.0)
                for c in active {
                    let term = Double(rounded[r * columns + c]) * Double(x[c])
                    sum += term
                    size += abs(term)
                }
                if abs(Double(found[r]) - sum) > 1e-6 * size { Issue.record("output \(r) of \(shape)") }
            }
            let threads = Parallel.threads
            defer { Parallel.threads = threads }
            Parallel.threads = 3
            #expect(try matrix.multiplied(by: x, activeInputs: active) == found)
        }
    }

    @Test func refusesWhatDoesNotFit() throws {
        let weight = Tensor<Float>(zeros: [3, 4])
        for values in [ValueType.int8, .int4] {
            #expect(throws: LacunaError.self) { try InputMajorMatrix(weight, values: values) }
        }
        #expect(throws: LacunaError.self) { try InputMajorMatrix(Tensor<Float>(zeros: [3]), values: .f32) }
        let matrix = try InputMajorMatrix(weight, values: .f32)
        #expect(throws: LacunaError.self) { try matrix.multiplied(by: [1, 2, 3], activeInputs: []) }
        #expect(throws: LacunaError.self) { try matrix.multiplied(by: [1, 2, 3, 4], activeInputs: [4]) }
        #expect(throws: LacunaError.self) { try matrix.multiplied(by: [1, 2, 3, 4], activeInputs: [-1]) }
        #expect(try matrix.multiplied(by: [1, 2, 3, 4], activeInputs: [0, 0]) == [0, 0, 0])
    }
}
