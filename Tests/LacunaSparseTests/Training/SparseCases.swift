import LacunaSparse
import LacunaTensor

/// Patterns with what products stumble over: empty and full rows, single entries, ragged sizes, very long rows.
struct SparseCase: CustomStringConvertible, Sendable {
    let rows: Int
    let columns: Int
    let density: Double
    var description: String { "\(rows)x\(columns) at \(density)" }

    static let all = [
        SparseCase(rows: 1, columns: 1, density: 1), SparseCase(rows: 3, columns: 5, density: 0.4),
        SparseCase(rows: 17, columns: 64, density: 0.5), SparseCase(rows: 40, columns: 130, density: 0.1),
        SparseCase(rows: 530, columns: 67, density: 0.05), SparseCase(rows: 65, columns: 700, density: 0.02),
        SparseCase(rows: 33, columns: 257, density: 0.9), SparseCase(rows: 9, columns: 300, density: 0),
        SparseCase(rows: 2, columns: 5000, density: 0.3), SparseCase(rows: 700, columns: 90, density: 0.3),
    ]

    /// Every seventh row is empty, every eleventh full.
    func mask(seed: UInt64) -> SparsePattern {
        var generator = SeededGenerator(seed: seed, stream: UInt64(rows * 31 + columns))
        let draws = (0..<rows * columns).map { _ in generator.uniform() }
        return SparsePattern(rows: rows, columns: columns) { r, c in
            if density == 0 || r % 7 == 3 { return false }
            return r % 11 == 5 || draws[r * columns + c] < density
        }
    }

    func matrix<Scalar: SparseScalar>(seed: UInt64, of: Scalar.Type = Scalar.self) -> SparseMatrix<Scalar> {
        var generator = SeededGenerator(seed: seed, stream: 7)
        let pattern = mask(seed: seed)
        return try! SparseMatrix(pattern, values: generator.awkward(pattern.count))
    }
}

extension SeededGenerator {
    /// Normal numbers, among them zeros, subnormal and large ones.
    mutating func awkward<Scalar: BinaryFloatingPoint>(_ count: Int) -> [Scalar] {
        (0..<count).map { _ in
            switch next() % 32 {
            case 0: 0
            case 1: -0.0
            case 2: Scalar(normal()) * (Scalar.self == Float.self ? 0x1p-140 : 0x1p-1060)
            case 3: Scalar(normal()) * 1000
            default: Scalar(normal())
            }
        }
    }
}

/// Whether two sums agree, given the sum of the magnitudes of their terms.
func agree<Scalar: BinaryFloatingPoint>(_ found: Scalar, _ expected: Double, magnitude: Double) -> Bool {
    let precision = Scalar.self == Float.self ? 4e-6 : 1e-13
    let floor = Scalar.self == Float.self ? 1e-36 : 1e-300
    return (Double(found) - expected).magnitude <= precision * magnitude + floor
}
