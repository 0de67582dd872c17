import LacunaSparse
import LacunaTensor

/// A sparse matrix of either type of numbers.
final class MatrixObject: @unchecked Sendable {
    enum Content {
        case float(SparseMatrix<Float>)
        case double(SparseMatrix<Double>)
    }

    let content: Content

    init(_ matrix: SparseMatrix<Float>) { content = .float(matrix) }
    init(_ matrix: SparseMatrix<Double>) { content = .double(matrix) }

    var pattern: SparsePattern {
        switch content {
        case .float(let matrix): matrix.pattern
        case .double(let matrix): matrix.pattern
        }
    }
}

private func bothOf(
    _ a: MatrixObject, _ b: MatrixObject,
    float: (SparseMatrix<Float>, SparseMatrix<Float>) throws -> SparseMatrix<Float>,
    double: (SparseMatrix<Double>, SparseMatrix<Double>) throws -> SparseMatrix<Double>
) throws -> MatrixObject {
    switch (a.content, b.content) {
    case (.float(let a), .float(let b)): try MatrixObject(float(a, b))
    case (.double(let a), .double(let b)): try MatrixObject(double(a, b))
    default: throw refused("b", "has numbers of another type than a")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_matrix_csr")
public func lacunaMatrixCsr(
    _ type: Int32, _ rows: Int64, _ columns: Int64, _ count: Int64, _ startBits: Int32, _ starts: UnsafeRawPointer?,
    _ indexBits: Int32, _ indices: UnsafeRawPointer?, _ values: UnsafeRawPointer?, _ borrow: Int32,
    _ matrix: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let pattern = try SparsePattern.foreign(
            rows: rows, columns: columns, count: count, startBits: startBits, starts, indexBits: indexBits, indices,
            borrowed: borrow != 0)
        let object: MatrixObject
        switch type {
        case 0:
            object = try MatrixObject(
                SparseMatrix<Float>(
                    pattern, buffer: .foreign(values, count: pattern.count, borrowed: borrow != 0, for: "values")))
        case 1:
            object = try MatrixObject(
                SparseMatrix<Double>(
                    pattern, buffer: .foreign(values, count: pattern.count, borrowed: borrow != 0, for: "values")))
        default: throw refused("type", "is \(type), not LACUNA_FLOAT32 or LACUNA_FLOAT64")
        }
        try give(object, matrix, "matrix")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_matrix_view")
public func lacunaMatrixView(
    _ matrix: OpaquePointer?, _ type: UnsafeMutablePointer<Int32>?, _ rows: UnsafeMutablePointer<Int64>?,
    _ columns: UnsafeMutablePointer<Int64>?, _ count: UnsafeMutablePointer<Int64>?,
    _ starts: UnsafeMutablePointer<UnsafePointer<Int64>?>?, _ indices: UnsafeMutablePointer<UnsafePointer<UInt32>?>?,
    _ values: UnsafeMutablePointer<UnsafeRawPointer?>?
) -> Int32 {
    guarded {
        let object = try Objects.get(matrix, MatrixObject.self, "matrix")
        let pattern = object.pattern
        rows?.pointee = Int64(pattern.rows)
        columns?.pointee = Int64(pattern.columns)
        count?.pointee = Int64(pattern.count)
        // The pattern keeps these where they are as long as the object lives.
        pattern.withCompressedRows { rowStarts, columnIndices in
            starts?.pointee = UnsafeRawPointer(rowStarts.baseAddress)?.assumingMemoryBound(to: Int64.self)
            indices?.pointee = columnIndices.baseAddress
        }
        switch object.content {
        case .float(let matrix):
            type?.pointee = 0
            matrix.withValues { values?.pointee = UnsafeRawPointer($0.baseAddress) }
        case .double(let matrix):
            type?.pointee = 1
            matrix.withValues { values?.pointee = UnsafeRawPointer($0.baseAddress) }
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_matrix_times_dense")
public func lacunaMatrixTimesDense(
    _ matrix: OpaquePointer?, _ transposed: Int32, _ n: Int64, _ b: UnsafeRawPointer?, _ leading: Int64,
    _ result: UnsafeMutableRawPointer?, _ resultLeading: Int64
) -> Int32 {
    func multiply<Scalar: SparseScalar>(_ matrix: SparseMatrix<Scalar>) throws {
        let n = try Arguments.count(n, "n")
        let (inner, outer) =
            transposed != 0 ? (matrix.rows, matrix.columns) : (matrix.columns, matrix.rows)
        if n == 0 || outer == 0 { return }
        let leading = try Arguments.count(leading, "leading", atLeast: n)
        let resultLeading = try Arguments.count(resultLeading, "result_leading", atLeast: n)
        let out = try UnsafeMutablePointer(
            mutating: Arguments.numbers(UnsafeRawPointer(result), of: Scalar.self, "result"))
        if inner == 0 {
            for row in 0..<outer { (out + row * resultLeading).update(repeating: 0, count: n) }
            return
        }
        let dense = try Arguments.numbers(b, of: Scalar.self, "b")
        if n == 1 && leading == 1 && resultLeading == 1 {
            if transposed != 0 {
                matrix.multiplyTransposed(vector: dense, into: out)
            } else {
                matrix.multiply(vector: dense, into: out)
            }
            return
        }
        try MachineMemory.require(shape: [inner, n], of: Scalar.self, for: "a product with \(n) columns")
        matrix.multiply(
            dense: dense, leading: leading, columns: n, transposed: transposed != 0, into: out,
            leading: resultLeading)
    }
    return guarded {
        switch try Objects.get(matrix, MatrixObject.self, "matrix").content {
        case .float(let matrix): try multiply(matrix)
        case .double(let matrix): try multiply(matrix)
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_matrix_times_matrix")
public func lacunaMatrixTimesMatrix(
    _ a: OpaquePointer?, _ b: OpaquePointer?, _ product: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let a = try Objects.get(a, MatrixObject.self, "a")
        let b = try Objects.get(b, MatrixObject.self, "b")
        try give(
            bothOf(a, b, float: { try $0.multiplied(by: $1) }, double: { try $0.multiplied(by: $1) }), product,
            "product")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_matrix_times_matrix_at")
public func lacunaMatrixTimesMatrixAt(
    _ a: OpaquePointer?, _ b: OpaquePointer?, _ mask: OpaquePointer?, _ complemented: Int32,
    _ product: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let a = try Objects.get(a, MatrixObject.self, "a")
        let b = try Objects.get(b, MatrixObject.self, "b")
        let others = complemented != 0
        // Each thread has a place for every column.
        let width = b.pattern.columns
        try MachineMemory.require(
            shape: [width, Parallel.threads], of: Int.self, for: "a product of \(width) columns at given places")
        // The product's places are the mask's: the arrays of these may have been lent, to the mask alone.
        let given = try Objects.get(mask, MatrixObject.self, "mask").pattern
        let places = others ? given : try given.owned()
        try give(
            bothOf(
                a, b, float: { try $0.multiplied(by: $1, at: places, complemented: others) },
                double: { try $0.multiplied(by: $1, at: places, complemented: others) }),
            product, "product")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_matrix_sampled")
public func lacunaMatrixSampled(
    _ mask: OpaquePointer?, _ left: UnsafeRawPointer?, _ right: UnsafeRawPointer?, _ depth: Int64,
    _ product: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    func sampled<Scalar: SparseScalar>(_ mask: SparseMatrix<Scalar>) throws -> SparseMatrix<Scalar> {
        let depth = try Arguments.count(depth, "depth")
        func tensor(_ pointer: UnsafeRawPointer?, _ rows: Int, _ name: String) throws -> Tensor<Scalar> {
            var tensor = try Tensor<Scalar>(checking: [rows, depth], for: name)
            guard rows * depth > 0 else { return tensor }
            let numbers = try Arguments.numbers(pointer, of: Scalar.self, name)
            tensor.withMutablePointer { $0.update(from: numbers, count: rows * depth) }
            return tensor
        }
        // As of a product at a mask's places: see there.
        let places = try mask.pattern.owned()
        if depth == 0 || mask.count == 0 { return SparseMatrix(places, repeating: 0) }
        return SparseMatrix.sampled(
            try tensor(left, mask.rows, "left"), try tensor(right, mask.columns, "right"), at: places)
    }
    return guarded {
        switch try Objects.get(mask, MatrixObject.self, "mask").content {
        case .float(let mask): try give(MatrixObject(sampled(mask)), product, "product")
        case .double(let mask): try give(MatrixObject(sampled(mask)), product, "product")
        }
    }
}
