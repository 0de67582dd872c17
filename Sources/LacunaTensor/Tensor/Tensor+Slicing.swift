extension Tensor {
    /// The part of the tensor within a range of one dimension: `x[axis: 0, 2..<5]`, `x[axis: -1, ..<10]`. A copy; writing to it
    /// writes the tensor's entries, and the shapes must agree.
    ///
    /// - Parameters:
    ///   - axis: 0..<rank; negative ones count from the end.
    ///   - range: Within the dimension's length.
    /// - Complexity: O(entries of the part).
    public subscript(axis axis: Int, range: some RangeExpression<Int>) -> Tensor {
        get {
            let (cut, range) = sliceCut(axis, range)
            var result = Tensor(uninitialized: cut.shape(with: range.count))
            withPointer { from in
                result.withMutablePointer { to in
                    let part = range.count * cut.inner
                    for o in 0..<cut.outer {
                        let start = (o * cut.length + range.lowerBound) * cut.inner
                        (to + o * part).update(from: from + start, count: part)
                    }
                }
            }
            return result
        }
        set {
            let (cut, range) = sliceCut(axis, range)
            require(
                newValue.shape == cut.shape(with: range.count),
                "shape \(newValue.shape) written to a part of shape \(cut.shape(with: range.count))")
            newValue.withPointer { from in
                withMutablePointer { to in
                    let part = range.count * cut.inner
                    for o in 0..<cut.outer {
                        let start = (o * cut.length + range.lowerBound) * cut.inner
                        (to + start).update(from: from + o * part, count: part)
                    }
                }
            }
        }
    }

    private func sliceCut(_ axis: Int, _ range: some RangeExpression<Int>) -> (AxisCut, Range<Int>) {
        let cut = AxisCut(shape, axis)
        let whole = 0..<cut.length
        // Of a range without a lower or upper bound this takes the dimension's.
        let range = range.relative(to: whole)
        require(
            range.lowerBound >= 0 && range.upperBound <= cut.length, "\(range) of dimension \(axis) of shape \(shape)")
        return (cut, range)
    }

    /// The parts one after another along a dimension.
    ///
    /// - Parameter axis: 0..<rank; negative ones count from the end.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there are none, or their other dimensions differ.
    /// - Complexity: O(entries of all).
    public static func concatenated(_ parts: [Tensor], axis: Int = 0) throws -> Tensor {
        guard let first = parts.first else {
            throw LacunaError.invalidArgument("parts", reason: "need at least one tensor")
        }
        guard (-first.rank..<first.rank).contains(axis) else {
            throw LacunaError.invalidArgument("axis", reason: "dimension \(axis) of shape \(first.shape)")
        }
        let cut = AxisCut(first.shape, axis)
        for part in parts {
            guard part.rank == first.rank, AxisCut(part.shape, axis).shape(with: 0) == cut.shape(with: 0) else {
                throw LacunaError.invalidArgument(
                    "parts", reason: "shapes \(first.shape) and \(part.shape) differ beyond dimension \(axis)")
            }
        }
        var result = Tensor(uninitialized: cut.shape(with: parts.reduce(0) { $0 + AxisCut($1.shape, axis).length }))
        var start = 0
        for part in parts {
            let length = AxisCut(part.shape, axis).length
            result[axis: axis, start..<start + length] = part
            start += length
        }
        return result
    }

    /// A copy of rows `range` of a matrix.
    public func rows(_ range: Range<Int>) -> Tensor {
        require(rank == 2, "rows of shape \(shape)")
        return self[axis: 0, range]
    }

    /// A row of a matrix, [columns].
    public func row(_ index: Int) -> [Scalar] {
        require(rank == 2 && shape[0] > index && index >= 0, "row \(index) of shape \(shape)")
        return withPointer { Array(UnsafeBufferPointer(start: $0 + index * shape[1], count: shape[1])) }
    }

    /// A column of a matrix, [rows].
    public func column(_ index: Int) -> [Scalar] {
        require(rank == 2 && shape[1] > index && index >= 0, "column \(index) of shape \(shape)")
        return withPointer { p in (0..<shape[0]).map { p[$0 * shape[1] + index] } }
    }

    /// The rows of a matrix at `indices`, in that order; one may come more than once.
    public func selectingRows(_ indices: some Collection<Int>) -> Tensor {
        require(
            rank == 2 && indices.allSatisfy { $0 >= 0 && $0 < shape[0] }, "rows that shape \(shape) does not have")
        var result = Tensor(uninitialized: [indices.count, columns])
        let width = columns
        withPointer { source in
            result.withMutablePointer { target in
                for (i, row) in indices.enumerated() {
                    (target + i * width).update(from: source + row * width, count: width)
                }
            }
        }
        return result
    }
}
