import CLacuna
import LacunaTensor

extension Variable {
    /// The same numbers under another shape of the same size.
    public func reshaped(_ newShape: [Int]) -> Variable {
        require(newShape.reduce(1, *) == count, "cannot reshape \(shape) to \(newShape)")
        let y = Variable(
            shape: newShape, tape: tape, storage: storage, needsGradient: needsGradient && tape.isRecording)
        tape.record(y) { [self] dy in addToGradient(dy, times: 1) }
        return y
    }

    /// [n, ...] as [n, rest].
    public func flattened() -> Variable {
        require(!shape.isEmpty)
        return reshaped([shape[0], shape.dropFirst().reduce(1, *)])
    }

    /// Dimension `i` of the result is dimension `order[i]` of this.
    public func permuted(_ order: [Int]) -> Variable {
        require(order.sorted() == Array(shape.indices), "\(order) is no order of the dimensions of \(shape)")
        var strides = Array(repeating: 1, count: shape.count)
        for d in shape.indices.dropLast().reversed() { strides[d] = strides[d + 1] * shape[d + 1] }
        return strided(order.map { shape[$0] }, order.map { strides[$0] }, offset: 0, coversAll: true)
    }

    /// The transpose of a matrix.
    public func transposed() -> Variable { permuted([1, 0]) }

    /// Columns `range` of every row.
    public func sliced(columns range: Range<Int>) -> Variable {
        require(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of \(shape)")
        return strided(
            Array(shape.dropLast()) + [range.count],
            [columns, 1], offset: range.lowerBound, coversAll: range.count == columns,
            walk: [rows, range.count])
    }

    /// Entries `range` along the first dimension.
    public func sliced(rows range: Range<Int>) -> Variable {
        require(range.lowerBound >= 0 && range.upperBound <= shape[0], "rows \(range) of \(shape)")
        let width = shape.dropFirst().reduce(1, *)
        return strided(
            [range.count] + shape.dropFirst(), [width, 1], offset: range.lowerBound * width,
            coversAll: range.count == shape[0], walk: [range.count, width])
    }

    private func strided(
        _ newShape: [Int], _ strides: [Int], offset: Int, coversAll: Bool, walk: [Int]? = nil
    ) -> Variable {
        let y = tape.output(newShape, self)
        let k = Scalar.kernels
        let walk = walk ?? newShape
        if y.count == 0 { return y }
        k.pointee.permute(pointer + offset, y.pointer, walk, strides, Int32(walk.count), 0)
        tape.record(y) { [self] dy in
            accumulate { dx, add in
                if add == 0 && !coversAll { dx.update(repeating: 0, count: count) }
                k.pointee.unpermute(
                    dy, dx + offset, walk, strides, Int32(walk.count), coversAll ? add : 1)
            }
        }
        return y
    }

    /// Rows of several variables side by side: [..., a] and [..., b] become [..., a + b].
    public static func concatenated(columns parts: [Variable]) -> Variable {
        require(!parts.isEmpty && parts.allSatisfy { $0.rows == parts[0].rows }, "parts of different rows")
        let (rows, width) = (parts[0].rows, parts.reduce(0) { $0 + $1.columns })
        return joined(parts, Array(parts[0].shape.dropLast()) + [width]) { part, offset in
            ([rows, part.columns], [width, 1], offset)
        } advance: {
            $0.columns
        }
    }

    /// Variables one after the other along the first dimension.
    public static func concatenated(rows parts: [Variable]) -> Variable {
        let width = parts[0].shape.dropFirst().reduce(1, *)
        require(
            !parts.isEmpty && parts.allSatisfy { $0.shape.dropFirst() == parts[0].shape.dropFirst() },
            "parts of different shapes")
        return joined(parts, [parts.reduce(0) { $0 + $1.shape[0] }] + parts[0].shape.dropFirst()) { part, offset in
            ([part.shape[0], width], [width, 1], offset)
        } advance: {
            $0.count
        }
    }

    private static func joined(
        _ parts: [Variable], _ shape: [Int], _ place: (Variable, Int) -> (walk: [Int], strides: [Int], offset: Int),
        advance: (Variable) -> Int
    ) -> Variable {
        let tape = parts[0].tape
        let needed = tape.isRecording && parts.contains(where: \.needsGradient)
        let y = Variable(
            shape: shape, tape: tape, storage: tape.pool.take(shape.reduce(1, *)), needsGradient: needed)
        let k = Scalar.kernels
        var offset = 0
        var places: [(walk: [Int], strides: [Int], offset: Int)] = []
        for part in parts {
            let place = place(part, offset)
            places.append(place)
            if part.count > 0 {
                k.pointee.unpermute(part.pointer, y.pointer + place.offset, place.walk, place.strides, 2, 0)
            }
            offset += advance(part)
        }
        tape.record(y) { dy in
            for (part, place) in zip(parts, places) where part.count > 0 {
                part.accumulate { d, add in
                    k.pointee.permute(dy + place.offset, d, place.walk, place.strides, 2, add)
                }
            }
        }
        return y
    }

    /// Variables of one shape, one below the other along a new first dimension.
    public static func stacked(_ parts: [Variable]) -> Variable {
        require(!parts.isEmpty, "nothing to stack")
        return concatenated(rows: parts.map { $0.reshaped([1] + $0.shape) })
    }

    /// Every row with `before` entries in front of it and `after` behind it, all of them `value`.
    public func paddedColumns(before: Int = 0, after: Int = 0, with value: Scalar = 0) -> Variable {
        require(before >= 0 && after >= 0 && !shape.isEmpty, "cannot pad \(shape) by \(before) and \(after)")
        func filler(_ width: Int) -> [Variable] {
            width == 0 ? [] : [tape.constant(Tensor(repeating: value, shape: Array(shape.dropLast()) + [width]))]
        }
        let parts = filler(before) + [self] + filler(after)
        return parts.count == 1 ? self : .concatenated(columns: parts)
    }

    /// With `before` more entries along the first dimension in front and `after` behind, all of them `value`.
    public func paddedRows(before: Int = 0, after: Int = 0, with value: Scalar = 0) -> Variable {
        require(before >= 0 && after >= 0 && !shape.isEmpty, "cannot pad \(shape) by \(before) and \(after)")
        func filler(_ rows: Int) -> [Variable] {
            rows == 0 ? [] : [tape.constant(Tensor(repeating: value, shape: [rows] + shape.dropFirst()))]
        }
        let parts = filler(before) + [self] + filler(after)
        return parts.count == 1 ? self : .concatenated(rows: parts)
    }

    // MARK: Gather and scatter

    /// Rows `indices` of a table [rows, width]: an embedding. Returns [indices, width].
    public func gathered(_ indices: [Int32]) -> Variable {
        require(shape.count == 2, "rows are gathered from a matrix")
        let width = shape[1]
        require(indices.allSatisfy { $0 >= 0 && Int($0) < shape[0] }, "an index outside 0..<\(shape[0])")
        let y = tape.output([indices.count, width], self)
        let (table, target) = (pointer, y.pointer)
        indices.withUnsafeBufferPointer { indices in
            spreadRows(indices.count, width) {
                Scalar.kernels.pointee.gather_rows(table, indices.baseAddress! + $0, target + $0 * width, $1, width)
            }
        }
        tape.record(y) { [self] dy in
            accumulateRows(indices) { Scalar.kernels.pointee.scatter_add_rows(dy, indices, $0, indices.count, width) }
        }
        return y
    }

    /// Columns `indices` of rows [..., width]: [..., indices.count].
    @_specialize(where Scalar == Float)
    public func gathered(columns indices: [Int32]) -> Variable {
        let (n, width, count) = (rows, columns, indices.count)
        require(indices.allSatisfy { $0 >= 0 && Int($0) < width }, "a column outside 0..<\(width)")
        let y = tape.output(shape.dropLast() + [count], self)
        for r in 0..<n {
            let (source, target) = (pointer + r * width, y.pointer + r * count)
            for j in 0..<count { target[j] = source[Int(indices[j])] }
        }
        tape.record(y) { [self] dy in
            accumulateAdding { dx in
                for r in 0..<n {
                    let (source, target) = (dy + r * count, dx + r * width)
                    for j in 0..<count { target[Int(indices[j])] += source[j] }
                }
            }
        }
        return y
    }

    /// A matrix of `count` rows, row `i` being the sum of the rows of this one whose index is `i`.
    public func scattered(_ indices: [Int32], into count: Int) -> Variable {
        require(shape.count == 2 && indices.count == shape[0], "one index a row")
        require(indices.allSatisfy { $0 >= 0 && Int($0) < count }, "an index outside 0..<\(count)")
        let width = shape[1]
        let y = tape.output([count, width], self)
        y.pointer.update(repeating: 0, count: y.count)
        Scalar.kernels.pointee.scatter_add_rows(pointer, indices, y.pointer, indices.count, width)
        tape.record(y) { [self] dy in
            accumulate { dx, add in
                if add == 0 {
                    Scalar.kernels.pointee.gather_rows(dy, indices, dx, indices.count, width)
                } else {
                    for (i, row) in indices.enumerated() {
                        Scalar.kernels.pointee.affine(1, dy + Int(row) * width, 0, dx + i * width, width, 1)
                    }
                }
            }
        }
        return y
    }

    /// Adds to the gradient of a table of which only the rows `indices` change. A parameter remembers which.
    private func accumulateRows(_ indices: [Int32], _ body: (UnsafeMutablePointer<Scalar>) -> Void) {
        guard needsGradient else { return }
        if let leafParameter, !waitsForFactor {
            leafParameter.accumulate(rows: indices, body)
        } else {
            accumulateAdding(body)
        }
    }
}
