import CLacuna
import LacunaTensor

extension Variable {
    /// Rotates pairs of the first `heads` heads of every row by angles that grow with the row's position; the columns
    /// behind them stay as they are. Pair `i` of a head is its entries `i` and `i + dimensions / 2`.
    ///
    /// Jianlin Su and others, "RoFormer: Enhanced Transformer with Rotary Position Embedding", arXiv 2104.09864.
    ///
    /// - Parameters:
    ///   - positions: One for each row, from 0.
    ///   - base: The angle of pair `i` is `position · base^(-2 i / dimensions)`.
    public func rotated(positions: [Int32], heads: Int, dimensions: Int, base: Double = 10_000) -> Variable {
        rotated(
            positions: positions, heads: heads, dimensions: dimensions,
            frequencies: (0..<dimensions / 2).map { power(base, -2 * Double($0) / Double(dimensions)) })
    }

    /// The same with angles `position · frequencies[i]`, one frequency a pair: as contexts are extended.
    public func rotated(positions: [Int32], heads: Int, dimensions: Int, frequencies: [Double]) -> Variable {
        let (r, c) = (rows, columns)
        require(
            positions.count == r && heads * dimensions <= c && dimensions == 2 * frequencies.count,
            "bad shape for rotation")
        let half = dimensions / 2
        let length = Int(positions.max() ?? 0) + 1
        let cosines = tape.pool.take(length * half)
        let sines = tape.pool.take(length * half)
        for (i, frequency) in frequencies.enumerated() {
            for position in 0..<length {
                cosines.pointer[position * half + i] = Scalar(cosine(Double(position) * frequency))
                sines.pointer[position * half + i] = Scalar(sine(Double(position) * frequency))
            }
        }
        let (k, rest) = (Scalar.kernels, c - heads * dimensions)
        func run(_ x: UnsafePointer<Scalar>, _ y: UnsafeMutablePointer<Scalar>, _ sign: Double, _ add: Int32) {
            positions.withUnsafeBufferPointer { positions in
                spreadRows(r, c) { first, rows in
                    for head in 0..<heads {
                        k.pointee.rotate(
                            x + first * c + head * dimensions, positions.baseAddress! + first, cosines.pointer,
                            sines.pointer, sign, y + first * c + head * dimensions, rows, c, dimensions, add)
                    }
                    if rest > 0 {
                        for row in first..<first + rows {
                            k.pointee.affine(1, x + (row + 1) * c - rest, 0, y + (row + 1) * c - rest, rest, add)
                        }
                    }
                }
            }
        }
        let y = tape.output(shape, self)
        run(UnsafePointer(pointer), y.pointer, 1, 0)
        tape.record(y) { [self] dy in accumulate { dx, add in run(dy, dx, -1, add) } }
        return y
    }
}
