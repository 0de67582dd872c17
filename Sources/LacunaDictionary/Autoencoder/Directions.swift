import LacunaLearn
import LacunaTensor

/// What is done to the directions of a dictionary as rows of a matrix.
enum Directions {
    /// Scales every row to norm 1. A row of zeros stays.
    static func normalize(_ p: UnsafeMutablePointer<Float>, rows: Int, columns: Int) {
        let norms = norms(p, rows: rows, columns: columns)
        var factors = norms.map { $0 > 0 ? 1 / $0 : 1 }
        let kernels = Float.kernels
        factors.withUnsafeMutableBufferPointer { factors in
            let factors = factors.baseAddress
            Parallel.forRanges(rows, grain: max(1, (1 << 16) / max(columns, 1))) { range in
                let row = p + range.lowerBound * columns
                kernels.pointee.multiply_column(row, factors! + range.lowerBound, row, range.count, columns, 0)
            }
        }
    }

    /// The Euclidean norm of every row.
    static func norms(_ p: UnsafePointer<Float>, rows: Int, columns: Int) -> [Float] {
        dots(p, p, rows: rows, columns: columns).map { $0.squareRoot() }
    }

    /// The inner product of every row of `p` with the same row of `q`.
    static func dots(_ p: UnsafePointer<Float>, _ q: UnsafePointer<Float>, rows: Int, columns: Int) -> [Float] {
        var result = [Float](repeating: 0, count: rows)
        let kernels = Float.kernels
        result.withUnsafeMutableBufferPointer { result in
            let target = result.baseAddress
            Parallel.forRanges(rows, grain: max(1, (1 << 16) / max(columns, 1))) { range in
                kernels.pointee.row_dots(
                    p + range.lowerBound * columns, q + range.lowerBound * columns, target! + range.lowerBound,
                    range.count, columns, 0)
            }
        }
        return result
    }

    /// Takes from every row of `gradient` its component along the direction, which has norm 1: what moves a direction
    /// only over the sphere.
    static func project(
        _ gradient: UnsafeMutablePointer<Float>, tangentTo p: UnsafePointer<Float>, rows: Int, columns: Int
    ) {
        var factors = dots(gradient, p, rows: rows, columns: columns).map { -$0 }
        let kernels = Float.kernels
        factors.withUnsafeMutableBufferPointer { factors in
            let factors = factors.baseAddress
            Parallel.forRanges(rows, grain: max(1, (1 << 16) / max(columns, 1))) { range in
                kernels.pointee.multiply_column(
                    p + range.lowerBound * columns, factors! + range.lowerBound,
                    gradient + range.lowerBound * columns, range.count, columns, 1)
            }
        }
    }

    /// `√(mean over tokens and features of (g·d)²)` from the moments of the directions, without their products.
    ///
    /// - Parameter sum: Adds up numbers over all tokens of a batch, of which these may be a part.
    static func rootMeanSquareSlope(
        _ gradients: Tensor<Float>, _ decoder: Parameter<Float>, sum: ([Double]) throws -> [Double]
    ) rethrows -> Double {
        let (tokens, d, width) = (gradients.rows, gradients.columns, decoder.shape[0])
        var moments = Tensor<Float>(zeros: [d, d])
        moments.withMutablePointer { m in
            LinearAlgebra.accumulateGram(decoder.buffer.pointer, rows: width, columns: d, into: m)
            for i in 0..<d { for j in 0..<i { m[j * d + i] = m[i * d + j] } }
        }
        let image = gradients.multiplied(by: moments)
        let squares = gradients.withPointer { g in image.withPointer { dots(g, $0, rows: tokens, columns: d) } }
        let total = squares.reduce(0.0) { $0 + Double($1) }
        let all = try sum([total, Double(tokens)])
        return all[1] > 0 ? (max(0, all[0]) / (all[1] * Double(width))).squareRoot() : 0
    }
}
