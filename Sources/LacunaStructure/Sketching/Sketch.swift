import LacunaRegress
import LacunaTensor

/// A random linear map `S` [rows, inputRows] that shortens tall matrices and keeps lengths in expectation: `E[Sᵀ S] = I`.
///
/// A sketch is its seed: applying it again, to the target after the matrix, gives the same map.
public protocol Sketch: Sendable {
    /// Rows of a sketch.
    var rows: Int { get }
    /// Rows of what is sketched.
    var inputRows: Int { get }
    /// `S x` [rows, columns] for `x` [inputRows, columns].
    func apply(_ x: Tensor<Double>) -> Tensor<Double>
}

/// Independent normal entries of variance `1 / rows`.
///
/// - Complexity: O(rows · inputRows · columns).
public struct GaussianSketch: Sketch {
    /// Rows after and before.
    public let rows, inputRows: Int
    /// Decides the entries.
    public let seed: UInt64

    /// - Precondition: Both numbers of rows are above 0.
    public init(rows: Int, inputRows: Int, seed: UInt64 = 0) {
        require(rows > 0 && inputRows > 0)
        (self.rows, self.inputRows, self.seed) = (rows, inputRows, seed)
    }

    public func apply(_ x: Tensor<Double>) -> Tensor<Double> {
        require(x.rows == inputRows)
        let c = x.columns
        var result = Tensor<Double>(zeros: [rows, c])
        let deviation = 1 / Double(rows).squareRoot()
        // Bands of rows with a stream each: a band of the map is a megabyte at most, or one row.
        let band = max(1, min(rows, (1 << 17) / inputRows))
        result.withMutablePointer { out in
            x.withPointer { x in
                Parallel.forRanges(rows, grain: band) { range in
                    var generator = SeededGenerator(seed: seed, stream: 0x6A055 &+ UInt64(range.lowerBound))
                    let map = Tensor<Double>(
                        normal: [range.count, inputRows], standardDeviation: deviation, using: &generator)
                    map.withPointer {
                        LinearAlgebra.gemm(
                            m: range.count, n: c, k: inputRows, $0, leadingA: inputRows, x, leadingB: c,
                            into: out + range.lowerBound * c, leadingC: c)
                    }
                }
            }
        }
        return result
    }
}

/// `nonzeros` entries `±1/√nonzeros` in each column, in different rows: CountSketch for one, OSNAP for more.
///
/// Touches each number of its input `nonzeros` times, but a few large entries that share a row stay confused: single
/// coefficients of a sketched regression can be far off.
///
/// Kenneth Clarkson, David Woodruff, "Low Rank Approximation and Regression in Input Sparsity Time", arXiv 1207.6365; Jelani
/// Nelson, Huy Nguyen, "OSNAP: Faster Numerical Linear Algebra Algorithms via Sparser Subspace Embeddings", arXiv 1211.1002.
public struct SparseSketch: Sketch {
    /// Rows after and before, and entries of a column that are not 0.
    public let rows, inputRows, nonzeros: Int
    /// Rows and signs [inputRows, nonzeros].
    private let places: [Int32]
    private let signs: [Double]

    /// - Parameter nonzeros: 1 for CountSketch; at most `rows`.
    public init(rows: Int, inputRows: Int, nonzeros: Int = 1, seed: UInt64 = 0) {
        require(rows > 0 && inputRows > 0 && nonzeros > 0 && nonzeros <= rows)
        (self.rows, self.inputRows, self.nonzeros) = (rows, inputRows, nonzeros)
        var generator = SeededGenerator(seed: seed, stream: 0xC0047)
        let size = 1 / Double(nonzeros).squareRoot()
        var (places, signs): ([Int32], [Double]) = ([], [])
        places.reserveCapacity(inputRows * nonzeros)
        signs.reserveCapacity(inputRows * nonzeros)
        for i in 0..<inputRows {
            while places.count < (i + 1) * nonzeros {
                let place = Int32(Int.random(in: 0..<rows, using: &generator))
                if places[(i * nonzeros)...].contains(place) { continue }
                places.append(place)
                signs.append(generator.next() % 2 == 0 ? size : -size)
            }
        }
        (self.places, self.signs) = (places, signs)
    }

    public func apply(_ x: Tensor<Double>) -> Tensor<Double> {
        require(x.rows == inputRows)
        let c = x.columns
        var result = Tensor<Double>(zeros: [rows, c])
        result.withMutablePointer { out in
            x.withPointer { x in
                for i in 0..<inputRows {
                    for k in i * nonzeros..<(i + 1) * nonzeros {
                        kernels.axpy_f64(signs[k], x + i * c, out + Int(places[k]) * c, c)
                    }
                }
            }
        }
        return result
    }

    /// The same for a sparse matrix.
    ///
    /// - Complexity: O(stored values · nonzeros + rows · columns).
    public func apply(_ x: SparseDesign) -> Tensor<Double> {
        require(x.rows == inputRows)
        let c = x.columns
        var result = Tensor<Double>(zeros: [rows, c])
        result.withMutablePointer { out in
            x.transpose.forEachEntry { j, i, stored in
                let value = stored * (x.inverseScales?[j] ?? 1)
                for k in i * nonzeros..<(i + 1) * nonzeros { out[Int(places[k]) * c + j] += signs[k] * value }
            }
        }
        return result
    }
}

/// Entries `±√(q/rows)` with probability `1/q`, 0 otherwise: most of a dense projection left out.
///
/// Ping Li, Trevor Hastie, Kenneth Church, "Very Sparse Random Projections", KDD 2006, who propose `q = √inputRows`.
///
/// - Complexity: O(rows · inputRows / q · columns) in expectation.
public struct VerySparseProjection: Sketch {
    /// Rows after and before.
    public let rows, inputRows: Int
    /// q, 1 or more.
    public let rarity: Double
    /// Decides the entries.
    public let seed: UInt64

    /// - Parameter rarity: One in so many entries is not 0; the root of the rows for nil.
    public init(rows: Int, inputRows: Int, rarity: Double? = nil, seed: UInt64 = 0) {
        require(rows > 0 && inputRows > 0 && rarity ?? 1 >= 1)
        (self.rows, self.inputRows, self.seed) = (rows, inputRows, seed)
        self.rarity = rarity ?? Double(inputRows).squareRoot()
    }

    public func apply(_ x: Tensor<Double>) -> Tensor<Double> {
        require(x.rows == inputRows)
        let c = x.columns
        var result = Tensor<Double>(zeros: [rows, c])
        let size = (rarity / Double(rows)).squareRoot()
        result.withMutablePointer { out in
            x.withPointer { x in
                var generator = SeededGenerator(seed: seed, stream: 0x5BA25E)
                // From one entry to the next: gaps are geometric.
                let denser = min(logarithm(1 - 1 / rarity), -1e-300)
                var at = 0.0
                while true {
                    if rarity > 1 { at += (logarithm(1 - generator.uniform()) / denser).rounded(.down) }
                    guard at < Double(rows * inputRows) else { break }
                    let (i, r) = Int(at).quotientAndRemainder(dividingBy: rows)
                    kernels.axpy_f64(generator.next() % 2 == 0 ? size : -size, x + i * c, out + r * c, c)
                    at += 1
                }
            }
        }
        return result
    }
}
