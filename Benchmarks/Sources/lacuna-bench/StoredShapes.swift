import BenchmarkHarness
import LacunaSparse
import LacunaTensor

/// Matrices in one storage, with an input and outputs for `count` vectors.
final class StoredShapes {
    typealias Group = [(matrix: any StoredMatrix, output: UnsafeMutablePointer<Float>)]

    let storage: Storage
    let count: Int
    private let groups: [Group]
    private let input: Buffer<Float>
    private let outputs: [Buffer<Float>]

    init(_ shapes: Shapes, _ storage: Storage, weights: RandomWeights, count: Int = 1) throws {
        self.storage = storage
        self.count = count
        let matrices = try weights.matrices(shapes, storage)
        outputs = matrices.joined().map { Buffer(repeating: 0, count: $0.rows * count) }
        var next = outputs.makeIterator()
        groups = matrices.map { group in group.compactMap { matrix in next.next().map { (matrix, $0.pointer) } } }
        var generator = SeededGenerator(seed: 2, stream: 7)
        let width = shapes.groups.joined().map(\.columns).max() ?? 0
        input = Buffer((0..<width * count).map { _ in Float(generator.normal()) })
    }

    /// What a product with one vector reads.
    var byteCount: Int { groups.joined().reduce(0) { $0 + $1.matrix.byteCount } }

    /// All products with one vector.
    func multiplyVector() {
        for group in groups { Product.gemv(group.map { ($0.matrix, $0.output) }, x: input.pointer) }
    }

    /// All products with `count` vectors.
    func multiplyMatrix() {
        for group in groups { Product.gemm(group.map { ($0.matrix, $0.output) }, x: input.pointer, count: count) }
    }

    /// Checks the outputs of the last products against sums in double precision over the decoded matrices: a fast
    /// product that is wrong must not enter a table.
    ///
    /// - Throws: `LacunaError.numerical` naming the storage.
    func verify() throws {
        // Products in reduced precision round their input as well.
        let tolerance =
            switch storage.values {
            case .f32: 1e-4
            case .bf16: 0.004
            case .f16: 0.001
            case .int8, .int4: 0.03
            }
        for (matrix, output) in [groups.first, groups.last].compactMap({ $0 }).joined() {
            let row = Buffer<Float>(uninitialized: matrix.columns)
            var error = 0.0
            var norm = 0.0
            for r in stride(from: 0, to: matrix.rows, by: max(1, matrix.rows / 24)) {
                matrix.decode(rows: r..<r + 1, into: row.pointer)
                for t in Set([0, count - 1]) {
                    let x = input.pointer + t * matrix.columns
                    var sum = 0.0
                    for c in 0..<matrix.columns { sum += Double(row.pointer[c]) * Double(x[c]) }
                    let difference = sum - Double(output[t * matrix.rows + r])
                    error += difference * difference
                    norm += sum * sum
                }
            }
            let relative = (error / max(norm, .leastNormalMagnitude)).squareRoot()
            guard relative <= tolerance else {
                throw LacunaError.numerical(
                    operation: "\(storage.name) [\(matrix.rows), \(matrix.columns)]",
                    reason: "the product is off by \(relative) of its norm")
            }
        }
    }
}
