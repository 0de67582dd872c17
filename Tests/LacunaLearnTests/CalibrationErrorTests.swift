import LacunaLearn
import LacunaTensor
import Testing

/// Closed forms of the calibration error.
@Suite struct CalibrationErrorTests {
    @Test func rightButHalfSureIsAHalf() throws {
        let rows = Tensor<Float>([0.5, 0.3, 0.2, 0.2, 0.5, 0.3], shape: [2, 3])
        #expect(try abs(Classification.calibrationError(rows, [0, 1]) - 0.5) < 1e-6)
        #expect(try abs(Classification.calibrationError(rows, [1, 0]) - 0.5) < 1e-6)
        // Of both kinds in one bin: right in a half of the cases, as it says.
        #expect(try Classification.calibrationError(rows, [0, 0]) < 1e-6)
    }

    /// Labels drawn as the probabilities say.
    @Test func honestProbabilitiesAreCalibrated() throws {
        var generator = SeededGenerator(seed: 1)
        let n = 40_000
        var rows = Tensor<Float>(zeros: [n, 2])
        let labels = (0..<n).map { row -> Int32 in
            let p = generator.uniform()
            (rows[row, 0], rows[row, 1]) = (Float(p), Float(1 - p))
            return generator.uniform() < p ? 0 : 1
        }
        #expect(try Classification.calibrationError(rows, labels) < 0.02)
        // Said too surely: p is halved towards the larger, the accuracy stays.
        var sharp = rows
        for row in 0..<n {
            let best = rows[row, 0] > 0.5 ? 0 : 1
            sharp[row, best] = (1 + rows[row, best]) / 2
            sharp[row, 1 - best] = 1 - sharp[row, best]
        }
        // Sureness is then 0.875 in the mean and accuracy 0.75.
        #expect(try abs(Classification.calibrationError(sharp, labels) - 0.125) < 0.01)
    }

    /// Bins (0, 1/2] and (1/2, 1]: by hand. With one bin errors of different sign cancel.
    @Test func binsAreTakenApart() throws {
        let rows = Tensor<Float>([0.4, 0.3, 0.3, 0.5, 0.25, 0.25, 0.9, 0.05, 0.05, 1, 0, 0], shape: [4, 3])
        let labels: [Int32] = [0, 0, 1, 0]
        // Right, right | wrong, right: |2 - 0.9| + |1 - 1.9| over 4; in one bin |3 - 2.8| over 4.
        #expect(try abs(Classification.calibrationError(rows, labels, bins: 2) - 0.5) < 1e-6)
        #expect(try abs(Classification.calibrationError(rows, labels, bins: 1) - 0.05) < 1e-6)
        #expect(try Classification.calibrationError(Tensor(zeros: [0, 3]), []) == 0)
    }

    @Test func refusesWhatAreNoProbabilities() {
        let rows = Tensor<Float>([2, -1, 0.5, 0.5], shape: [2, 2])
        #expect(throws: LacunaError.self) { try Classification.calibrationError(rows, [0, 1]) }
        let good = Tensor<Float>([0.5, 0.5], shape: [1, 2])
        #expect(throws: LacunaError.self) { try Classification.calibrationError(good, [2]) }
        #expect(throws: LacunaError.self) { try Classification.calibrationError(good, [0, 1]) }
        #expect(throws: LacunaError.self) { try Classification.calibrationError(good, [0], bins: 0) }
    }
}
