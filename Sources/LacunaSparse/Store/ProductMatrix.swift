import LacunaTensor

/// A matrix kept as the product of two others, `A = F G`: low rank (a tall and a wide factor), codes of a dictionary
/// (sparse codes times dense atoms), or a sparse core between block-diagonal wrappers (a product one of whose factors is a
/// product).
///
/// Products go through the factors and never see `A`: one with a vector reads what the factors store and takes as long as
/// products with both. Rows of `A` share the work of `G`, so that products are made whole
/// (``StoredMatrix/isMultipliedWhole``); asking for single ranges of rows repeats it.
public final class ProductMatrix: StoredMatrix, Sendable {
    /// `F` [rows, inner].
    public let left: any StoredMatrix
    /// `G` [inner, columns].
    public let right: any StoredMatrix

    /// - Throws: `LacunaError.invalidArgument` if the factors do not fit each other.
    public init(_ left: any StoredMatrix, _ right: any StoredMatrix) throws {
        guard left.columns == right.rows else {
            throw LacunaError.invalidArgument(
                "factors",
                reason: "a matrix of \(left.columns) columns does not multiply one of \(right.rows) rows")
        }
        self.left = left
        self.right = right
    }

    /// The product of two or more factors in the order of writing: the last is the first to meet a vector.
    ///
    /// - Throws: `LacunaError.invalidArgument` for fewer than two factors, and for factors that do not fit each other.
    public convenience init(factors: [any StoredMatrix]) throws {
        guard factors.count >= 2 else {
            throw LacunaError.invalidArgument("factors", reason: "\(factors.count) of them make no product")
        }
        let rest = factors.dropFirst()
        try self.init(factors[0], rest.count == 1 ? rest.first! : ProductMatrix(factors: Array(rest)))
    }

    /// All factors, those of products among them included.
    public var factors: [any StoredMatrix] {
        [left, right].flatMap { ($0 as? ProductMatrix)?.factors ?? [$0] }
    }

    public var rows: Int { left.rows }
    public var columns: Int { right.columns }
    public var storedCount: Int { left.storedCount + right.storedCount }
    public var byteCount: Int { left.byteCount + right.byteCount }
    public var inputEncoding: InputEncoding { .float }
    public var isMultipliedWhole: Bool { true }

    /// The product, with the values of the factor that takes most bytes.
    public var format: StorageFormat {
        let largest = left.byteCount >= right.byteCount ? left : right
        return StorageFormat(StorageLayout(ProductLayout()), largest.format.values)
    }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        let inner = Buffer<Float>(uninitialized: max(right.rows, 1))
        let encoded = EncodedInput(input.floats.baseAddress!, count: columns, encodings: right.inputEncoding)
        right.multiply(encoded, rows: 0..<right.rows, into: inner.pointer)
        left.multiply(
            EncodedInput(inner.pointer, count: right.rows, encodings: left.inputEncoding), rows: rows, into: output)
    }

    public func multiply(
        matrix x: UnsafePointer<Float>, count n: Int, into y: UnsafeMutablePointer<Float>, leadingY: Int
    ) {
        let inner = Buffer<Float>(uninitialized: max(n * right.rows, 1))
        right.multiply(matrix: x, count: n, into: inner.pointer, leadingY: right.rows)
        left.multiply(matrix: inner.pointer, count: n, into: y, leadingY: leadingY)
    }

    /// Rows of `G` that are decoded at a time.
    private static let tile = 256

    /// - Complexity: O(rows · inner · columns), and all of `G` is decoded.
    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        let (count, inner, width) = (rows.count, right.rows, columns)
        let outer = Buffer<Float>(uninitialized: max(count * inner, 1))
        left.decode(rows: rows, into: outer.pointer)
        if inner == 0 { output.update(repeating: 0, count: count * width) }
        let tile = Buffer<Float>(uninitialized: max(min(inner, Self.tile) * width, 1))
        for first in stride(from: 0, to: inner, by: Self.tile) {
            let part = first..<min(first + Self.tile, inner)
            right.decode(rows: part, into: tile.pointer)
            LinearAlgebra.gemm(
                m: count, n: width, k: part.count, outer.pointer + first, leadingA: inner, tile.pointer,
                leadingB: width,
                beta: first == 0 ? 0 : 1, into: output, leadingC: width)
        }
    }
}
