import BenchmarkHarness
import LacunaTensor

/// The dense products of the BLAS library, in the ways in which they can be asked for: the baseline is the fastest.
final class DenseProducts {
    private struct Layer {
        var shape: Shapes.Matrix
        var weight: Tensor<Float>
        var output: Buffer<Float>
    }

    private let layers: [Layer]
    private let input: Buffer<Float>
    private let count: Int

    init(_ shapes: Shapes, weights: RandomWeights, count: Int) {
        self.count = count
        layers = shapes.groups.joined().map { shape in
            // A copy of its own, as in a model.
            var weight = weights.weight(shape)
            weight.withMutablePointer { _ in }
            return Layer(
                shape: shape, weight: weight, output: Buffer(repeating: 0, count: shape.rows * count))
        }
        let width = shapes.groups.joined().map(\.columns).max() ?? 0
        var generator = SeededGenerator(seed: 2, stream: 7)
        input = Buffer((0..<width * count).map { _ in Float(generator.normal()) })
    }

    func candidates(work: Work) -> [Candidate] {
        [
            // Y[n, rows] = X Wᵀ, cut into pieces by the library's caller.
            Candidate("dense BLAS, X Wᵀ", work: work) { [self] _ in
                for layer in layers {
                    layer.weight.withPointer { w in
                        LinearAlgebra.parallelGemm(
                            m: count, n: layer.shape.rows, k: layer.shape.columns, input.pointer,
                            leadingA: layer.shape.columns, w, leadingB: layer.shape.columns, transposedB: true,
                            into: layer.output.pointer, leadingC: layer.shape.rows)
                    }
                }
            },
            // The same with one piece for each thread.
            Candidate("dense BLAS, X Wᵀ in one piece a thread", work: work) { [self] _ in
                for layer in layers { wholePieces(layer, outputsFirst: false) }
            },
            // Yᵀ[rows, n] = W Xᵀ.
            Candidate("dense BLAS, W Xᵀ in one piece a thread", work: work) { [self] _ in
                for layer in layers { wholePieces(layer, outputsFirst: true) }
            },
        ]
    }

    private func wholePieces(_ layer: Layer, outputsFirst: Bool) {
        let (rows, columns) = (layer.shape.rows, layer.shape.columns)
        let grain = (rows + Parallel.threads - 1) / Parallel.threads
        layer.weight.withPointer { w in
            Parallel.forRanges(rows, grain: grain) { range in
                let piece = w + range.lowerBound * columns
                if outputsFirst {
                    LinearAlgebra.gemm(
                        m: range.count, n: count, k: columns, piece, leadingA: columns, input.pointer,
                        leadingB: columns, transposedB: true,
                        into: layer.output.pointer + range.lowerBound * count, leadingC: count)
                } else {
                    LinearAlgebra.gemm(
                        m: count, n: range.count, k: columns, input.pointer, leadingA: columns, piece,
                        leadingB: columns, transposedB: true, into: layer.output.pointer + range.lowerBound,
                        leadingC: rows)
                }
            }
        }
    }
}
