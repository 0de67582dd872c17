import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

/// A random decoder with columns of unlike lengths, and tokens for it.
enum Skip {
    static let configuration = TransformerConfiguration(
        vocabularySize: 60, hiddenSize: 32, intermediateSizes: [64, 64], headCount: 4, keyValueHeadCount: 2,
        headSize: 8,
        maximumPositions: 128, tiedEmbeddings: true, endTokens: [2])

    static func decoder(seed: UInt64 = 1, values: ValueType = .f32) throws -> Transformer {
        var generator = SeededGenerator(seed: seed, stream: 9)
        let decoder = try Transformer(random: configuration, seed: seed)
        return try decoder.sparsified { _, matrix in
            let scales = (0..<matrix.columns).map { _ in Float(0.5 + 1.5 * generator.uniform()) }
            let scaled = matrix.densified().scalars.enumerated().map { $1 * scales[$0 % matrix.columns] }
            return try WeightStore.make(
                Tensor(scaled, shape: [matrix.rows, matrix.columns]), layout: .dense, values: values)
        }
    }

    static func tokens(_ count: Int, seed: UInt64) -> [Int] {
        var generator = SeededGenerator(seed: seed, stream: 4)
        return (0..<count).map { _ in Int(generator.next() % 60) }
    }

    static func calibration(length: Int = 64, sequences: Int = 8) throws -> CalibrationSet {
        try CalibrationSet(text: tokens(length * sequences, seed: 3), sequences: sequences, length: length)
    }

    /// The largest difference, over the largest magnitude of the reference.
    static func error(_ a: Tensor<Float>, _ reference: Tensor<Float>) -> Float {
        precondition(a.shape == reference.shape)
        let largest = reference.scalars.map(abs).max() ?? 0
        return zip(a.scalars, reference.scalars).map { abs($0 - $1) }.max()! / largest
    }

    static func gaussian(_ shape: [Int], seed: UInt64) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed)
        return Tensor(normal: shape, using: &generator)
    }
}
