extension Tensor {
    // MARK: All entries

    /// The sum of all entries, added up in double precision.
    public func sum() -> Scalar { Scalar(total()) }

    /// The mean of all entries; NaN of none.
    public func mean() -> Scalar { Scalar(total() / Double(count)) }

    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    private func total() -> Double {
        let count = count
        return withPointer { p in
            // Four sums, so that one addition need not wait for the one before it.
            var (s0, s1, s2, s3) = (0.0, 0.0, 0.0, 0.0)
            var i = 0
            while i + 4 <= count {
                s0 += Double(p[i])
                s1 += Double(p[i + 1])
                s2 += Double(p[i + 2])
                s3 += Double(p[i + 3])
                i += 4
            }
            while i < count {
                s0 += Double(p[i])
                i += 1
            }
            return (s0 + s1) + (s2 + s3)
        }
    }

    /// The Euclidean norm of all entries, of a matrix the Frobenius norm.
    ///
    /// It neither overflows nor vanishes where the norm itself does not.
    public func norm() -> Scalar {
        let count = count
        return withPointer { p in
            var largest = Scalar(0)
            for i in 0..<count {
                if p[i].isNaN { return .nan }
                largest = Swift.max(largest, p[i].magnitude)
            }
            if largest == 0 || !largest.isFinite { return largest }
            var sum = 0.0
            for i in 0..<count {
                let ratio = Double(p[i] / largest)
                sum += ratio * ratio
            }
            return largest * Scalar(sum.squareRoot())
        }
    }

    /// The largest entry; nil if there is none, NaN if any entry is.
    public func max() -> Scalar? { argmax().map { index in withPointer { $0[index] } } }

    /// The smallest entry; nil if there is none, NaN if any entry is.
    public func min() -> Scalar? { argmin().map { index in withPointer { $0[index] } } }

    /// The index in row-major order of the largest entry, the first of several; nil if there is none. NaN counts as largest.
    public func argmax() -> Int? {
        count == 0 ? nil : withPointer { Tensor.best($0, count: count, stride: 1, isLargest: true) }
    }

    /// The index in row-major order of the smallest entry, the first of several; nil if there is none. NaN counts as smallest.
    public func argmin() -> Int? {
        count == 0 ? nil : withPointer { Tensor.best($0, count: count, stride: 1, isLargest: false) }
    }

    // MARK: Along a dimension

    /// The sums along a dimension, which disappears, or becomes 1 if it is kept: of a matrix [m, n], axis 0 gives [n] and axis 1
    /// gives [m]. Added up in double precision.
    ///
    /// - Parameters:
    ///   - axis: 0..<rank; negative ones count from the end.
    ///   - keepingAxis: Whether the dimension stays with a length of 1, so that the result can be broadcast to this shape:
    ///     `x - x.mean(axis: 1, keepingAxis: true)`.
    public func sum(axis: Int, keepingAxis: Bool = false) -> Tensor {
        sums(AxisCut(shape, axis), keepingAxis, dividedBy: 1)
    }

    /// The means along a dimension: as ``sum(axis:keepingAxis:)``, divided by its length; NaN if that is 0.
    public func mean(axis: Int, keepingAxis: Bool = false) -> Tensor {
        let cut = AxisCut(shape, axis)
        return sums(cut, keepingAxis, dividedBy: Double(cut.length))
    }

    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    private func sums(_ cut: AxisCut, _ keepingAxis: Bool, dividedBy divisor: Double) -> Tensor {
        var result = Tensor(uninitialized: cut.shapeWithout(keepingAxis))
        let sums = Buffer<Double>(uninitialized: cut.inner)
        withPointer { from in
            result.withMutablePointer { to in
                for o in 0..<cut.outer {
                    sums.pointer.update(repeating: 0, count: cut.inner)
                    for k in 0..<cut.length {
                        let p = from + (o * cut.length + k) * cut.inner
                        for i in 0..<cut.inner { sums.pointer[i] += Double(p[i]) }
                    }
                    for i in 0..<cut.inner { to[o * cut.inner + i] = Scalar(sums.pointer[i] / divisor) }
                }
            }
        }
        return result
    }

    /// The largest entries along a dimension, shaped as ``sum(axis:keepingAxis:)``; NaN where any entry is.
    ///
    /// - Precondition: The dimension is not empty.
    public func max(axis: Int, keepingAxis: Bool = false) -> Tensor { extremes(axis, keepingAxis, isLargest: true) }

    /// The smallest entries along a dimension, shaped as ``sum(axis:keepingAxis:)``; NaN where any entry is.
    ///
    /// - Precondition: The dimension is not empty.
    public func min(axis: Int, keepingAxis: Bool = false) -> Tensor { extremes(axis, keepingAxis, isLargest: false) }

    /// Where along a dimension the largest entries are, the first of several, for every index of the other dimensions in
    /// row-major order: of a matrix [m, n], axis 1 gives the best column of each row. NaN counts as largest.
    ///
    /// - Precondition: The dimension is not empty.
    public func argmax(axis: Int) -> [Int] { places(axis, isLargest: true) }

    /// Where along a dimension the smallest entries are, as ``argmax(axis:)``. NaN counts as smallest.
    ///
    /// - Precondition: The dimension is not empty.
    public func argmin(axis: Int) -> [Int] { places(axis, isLargest: false) }

    private func places(_ axis: Int, isLargest: Bool) -> [Int] {
        let cut = AxisCut(shape, axis)
        require(cut.length > 0, "an extreme along dimension \(axis) of \(shape), which is empty")
        return withPointer { p in
            var result: [Int] = []
            result.reserveCapacity(cut.outer * cut.inner)
            for o in 0..<cut.outer {
                for i in 0..<cut.inner {
                    result.append(
                        Tensor.best(
                            p + o * cut.length * cut.inner + i, count: cut.length, stride: cut.inner,
                            isLargest: isLargest))
                }
            }
            return result
        }
    }

    private func extremes(_ axis: Int, _ keepingAxis: Bool, isLargest: Bool) -> Tensor {
        let cut = AxisCut(shape, axis)
        var result = Tensor(uninitialized: cut.shapeWithout(keepingAxis))
        let places = places(axis, isLargest: isLargest)
        withPointer { from in
            result.withMutablePointer { to in
                for (j, place) in places.enumerated() {
                    to[j] = from[(j / cut.inner * cut.length + place) * cut.inner + j % cut.inner]
                }
            }
        }
        return result
    }

    /// The first index of the best of `count` entries, a NaN at once; `count` is not 0.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    private static func best(_ p: UnsafePointer<Scalar>, count: Int, stride: Int, isLargest: Bool) -> Int {
        var (index, value) = (0, p[0])
        if value.isNaN { return 0 }
        for i in 1..<count {
            let next = p[i * stride]
            if next.isNaN { return i }
            if isLargest ? next > value : next < value { (index, value) = (i, next) }
        }
        return index
    }
}

/// A shape around one of its dimensions: [outer, length, inner].
struct AxisCut {
    let outer: Int
    let length: Int
    let inner: Int
    private let shape: [Int]
    private let axis: Int

    /// - Parameter axis: Negative ones count from the end.
    init(_ shape: [Int], _ axis: Int) {
        require((-shape.count..<shape.count).contains(axis), "dimension \(axis) of shape \(shape)")
        self.shape = shape
        self.axis = axis < 0 ? axis + shape.count : axis
        outer = shape[..<self.axis].reduce(1, *)
        length = shape[self.axis]
        inner = shape[(self.axis + 1)...].reduce(1, *)
    }

    /// The shape with that dimension of another length.
    func shape(with length: Int) -> [Int] {
        var result = shape
        result[axis] = length
        return result
    }

    /// The shape without that dimension, or with a 1 in its place.
    func shapeWithout(_ isKept: Bool) -> [Int] {
        var result = shape(with: 1)
        if !isKept { result.remove(at: axis) }
        return result
    }
}
