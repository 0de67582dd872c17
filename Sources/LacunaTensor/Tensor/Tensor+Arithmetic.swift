// Arithmetic entry by entry. The matrix product is `multiplied(by:)`.
extension Tensor {
    /// Entry by entry, after broadcasting: see ``broadcast(_:_:)``. As of arrays in general, `*` is entry by entry too; the matrix
    /// product is ``multiplied(by:transposed:otherTransposed:)``.
    ///
    /// - Precondition: The shapes can be broadcast to one.
    public static func + (a: Tensor, b: Tensor) -> Tensor { combined(a, b, .sum) }
    /// Entry by entry, after broadcasting: see ``broadcast(_:_:)``.
    public static func - (a: Tensor, b: Tensor) -> Tensor { combined(a, b, .difference) }
    /// Entry by entry, after broadcasting: see ``broadcast(_:_:)``. The matrix product is
    /// ``multiplied(by:transposed:otherTransposed:)``.
    public static func * (a: Tensor, b: Tensor) -> Tensor { combined(a, b, .product) }
    /// Entry by entry, after broadcasting: see ``broadcast(_:_:)``.
    public static func / (a: Tensor, b: Tensor) -> Tensor { combined(a, b, .quotient) }

    /// Every entry and a number.
    public static func + (a: Tensor, b: Scalar) -> Tensor { combined(a, Tensor([b], shape: []), .sum) }
    /// Every entry less a number.
    public static func - (a: Tensor, b: Scalar) -> Tensor { combined(a, Tensor([b], shape: []), .difference) }
    /// Every entry times a number.
    public static func * (a: Tensor, b: Scalar) -> Tensor { combined(a, Tensor([b], shape: []), .product) }
    /// Every entry divided by a number.
    public static func / (a: Tensor, b: Scalar) -> Tensor { combined(a, Tensor([b], shape: []), .quotient) }
    /// A number and every entry.
    public static func + (a: Scalar, b: Tensor) -> Tensor { combined(Tensor([a], shape: []), b, .sum) }
    /// A number less every entry.
    public static func - (a: Scalar, b: Tensor) -> Tensor { combined(Tensor([a], shape: []), b, .difference) }
    /// A number times every entry.
    public static func * (a: Scalar, b: Tensor) -> Tensor { combined(Tensor([a], shape: []), b, .product) }
    /// A number divided by every entry.
    public static func / (a: Scalar, b: Tensor) -> Tensor { combined(Tensor([a], shape: []), b, .quotient) }

    /// Adds a tensor that can be broadcast to this one's shape.
    public static func += (a: inout Tensor, b: Tensor) { a.combine(with: b, .sum) }
    /// Subtracts a tensor that can be broadcast to this one's shape.
    public static func -= (a: inout Tensor, b: Tensor) { a.combine(with: b, .difference) }
    /// Multiplies, entry by entry, by a tensor that can be broadcast to this one's shape.
    public static func *= (a: inout Tensor, b: Tensor) { a.combine(with: b, .product) }
    /// Divides, entry by entry, by a tensor that can be broadcast to this one's shape.
    public static func /= (a: inout Tensor, b: Tensor) { a.combine(with: b, .quotient) }
    /// Adds a number to every entry.
    public static func += (a: inout Tensor, b: Scalar) { a.combine(with: Tensor([b], shape: []), .sum) }
    /// Subtracts a number from every entry.
    public static func -= (a: inout Tensor, b: Scalar) { a.combine(with: Tensor([b], shape: []), .difference) }
    /// Multiplies every entry by a number.
    public static func *= (a: inout Tensor, b: Scalar) { a.combine(with: Tensor([b], shape: []), .product) }
    /// Divides every entry by a number.
    public static func /= (a: inout Tensor, b: Scalar) { a.combine(with: Tensor([b], shape: []), .quotient) }

    /// Every entry with its sign turned.
    public static prefix func - (a: Tensor) -> Tensor { a.map { -$0 } }

    /// The tensor with `transform` applied to every entry.
    ///
    /// - Complexity: O(count).
    @inlinable
    public func map<Result: TensorScalar>(_ transform: (Scalar) throws -> Result) rethrows -> Tensor<Result> {
        var result = Tensor<Result>(uninitialized: shape)
        let count = count
        try withPointer { from in
            try result.withMutablePointer { to in for i in 0..<count { to[i] = try transform(from[i]) } }
        }
        return result
    }

    /// Whether two tensors have one shape and differ nowhere by more than `tolerance` times the largest magnitude of either, at
    /// least `tolerance`. Entries that are not finite are never close to anything.
    public func isApproximatelyEqual(to other: Tensor, tolerance: Scalar) -> Bool {
        guard shape == other.shape else { return false }
        let (a, b) = (scalars, other.scalars)
        let scale = zip(a, b).reduce(Scalar(1)) { Swift.max($0, $1.0.magnitude, $1.1.magnitude) }
        return scale.isFinite && zip(a, b).allSatisfy { ($0 - $1).magnitude <= tolerance * scale }
    }

    // MARK: Broadcasting

    /// The shape to which two tensors are stretched before they are combined entry by entry, or nil if there is none.
    ///
    /// Shapes are compared from their last dimension; a dimension of 1, or one that is missing in front, is repeated as often as
    /// the other tensor asks. So a number, a row [n] and a column [m, 1] go with a matrix [m, n].
    public static func broadcast(_ a: [Int], _ b: [Int]) -> [Int]? {
        var result: [Int] = []
        for i in 0..<Swift.max(a.count, b.count) {
            let (x, y) = (i < a.count ? a[a.count - 1 - i] : 1, i < b.count ? b[b.count - 1 - i] : 1)
            guard x == y || x == 1 || y == 1 else { return nil }
            result.append(x == 1 ? y : x)
        }
        return result.reversed()
    }

    /// The operations that are loops of their own.
    private enum Operation {
        case sum, difference, product, quotient
    }

    private static func combined(_ a: Tensor, _ b: Tensor, _ operation: Operation) -> Tensor {
        guard let shape = broadcast(a.shape, b.shape) else {
            fatalError("shapes \(a.shape) and \(b.shape) cannot be broadcast to one")
        }
        var result = Tensor(uninitialized: shape)
        a.withPointer { x in
            b.withPointer { y in
                result.withMutablePointer { combine(x, a.shape, y, b.shape, into: $0, shape, operation) }
            }
        }
        return result
    }

    private mutating func combine(with other: Tensor, _ operation: Operation) {
        let shape = shape
        require(
            Tensor.broadcast(shape, other.shape) == shape, "shape \(other.shape) cannot be broadcast to \(shape)")
        // `other` keeps its storage: where it is this tensor's, writing makes this one another.
        other.withPointer { y in
            withMutablePointer { Tensor.combine($0, shape, y, other.shape, into: $0, shape, operation) }
        }
    }

    /// `target = a ∘ b`, where `target` may be `a`.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    private static func combine(
        _ a: UnsafePointer<Scalar>, _ aShape: [Int], _ b: UnsafePointer<Scalar>, _ bShape: [Int],
        into target: UnsafeMutablePointer<Scalar>, _ shape: [Int], _ operation: Operation
    ) {
        switch operation {
        case .sum: forEachRun(a, aShape, b, bShape, target, shape) { $0 + $1 }
        case .difference: forEachRun(a, aShape, b, bShape, target, shape) { $0 - $1 }
        case .product: forEachRun(a, aShape, b, bShape, target, shape) { $0 * $1 }
        case .quotient: forEachRun(a, aShape, b, bShape, target, shape) { $0 / $1 }
        }
    }

    /// Walks the result in runs along which each operand either goes along or stays.
    @inline(__always)
    private static func forEachRun(
        _ a: UnsafePointer<Scalar>, _ aShape: [Int], _ b: UnsafePointer<Scalar>, _ bShape: [Int],
        _ target: UnsafeMutablePointer<Scalar>, _ shape: [Int], _ operation: (Scalar, Scalar) -> Scalar
    ) {
        let count = shape.reduce(1, *)
        if count == 0 { return }
        let (aSteps, bSteps) = (steps(of: aShape, in: shape), steps(of: bShape, in: shape))
        // The trailing dimensions that each operand has entirely, or of which it has one entry, are a single run.
        var outer = shape.count
        var length = 1
        var (aMoves, bMoves) = (false, false)
        while outer > 0 {
            let dimension = outer - 1
            if shape[dimension] > 1 {
                let moves = (aSteps[dimension] > 0, bSteps[dimension] > 0)
                if length == 1 { (aMoves, bMoves) = moves } else if moves != (aMoves, bMoves) { break }
            }
            length *= shape[dimension]
            outer -= 1
        }
        var index = [Int](repeating: 0, count: outer)
        var (x, y) = (0, 0)
        for start in stride(from: 0, to: count, by: length) {
            let (p, q, r) = (a + x, b + y, target + start)
            switch (aMoves, bMoves) {
            case (true, true): for i in 0..<length { r[i] = operation(p[i], q[i]) }
            case (true, false):
                let value = q[0]
                for i in 0..<length { r[i] = operation(p[i], value) }
            case (false, true):
                let value = p[0]
                for i in 0..<length { r[i] = operation(value, q[i]) }
            case (false, false): for i in 0..<length { r[i] = operation(p[0], q[0]) }
            }
            var dimension = outer - 1
            while dimension >= 0 {
                index[dimension] += 1
                (x, y) = (x + aSteps[dimension], y + bSteps[dimension])
                if index[dimension] < shape[dimension] { break }
                x -= aSteps[dimension] * shape[dimension]
                y -= bSteps[dimension] * shape[dimension]
                index[dimension] = 0
                dimension -= 1
            }
        }
    }

    /// How far an operand moves along each dimension of the result: 0 where it is repeated.
    private static func steps(of operand: [Int], in shape: [Int]) -> [Int] {
        var result = [Int](repeating: 0, count: shape.count)
        var step = 1
        for i in 0..<operand.count {
            let length = operand[operand.count - 1 - i]
            result[shape.count - 1 - i] = length == 1 ? 0 : step
            step *= length
        }
        return result
    }
}
