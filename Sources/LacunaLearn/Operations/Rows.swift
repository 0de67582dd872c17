import CLacuna
import LacunaTensor

extension Variable {
    /// Adds `row` [columns] to every row.
    public func addingRow(_ row: Variable) -> Variable {
        require(row.count == columns, "a row of \(row.count) for shape \(shape)")
        let (r, c, k) = (rows, columns, Scalar.kernels)
        let y = tape.output(shape, self, row)
        let (source, target) = (pointer, y.pointer)
        spreadRows(r, c) { k.pointee.add_row(source + $0 * c, row.pointer, target + $0 * c, $1, c, 0) }
        tape.record(y) { [self] dy in
            addToGradient(dy, times: 1)
            row.accumulate { d, add in k.pointee.column_sums(dy, d, r, c, add) }
        }
        return y
    }

    /// Multiplies every row by `row` [columns].
    public func multipliedByRow(_ row: Variable) -> Variable {
        require(row.count == columns, "a row of \(row.count) for shape \(shape)")
        let (r, c, k) = (rows, columns, Scalar.kernels)
        let y = tape.output(shape, self, row)
        let (source, target) = (pointer, y.pointer)
        spreadRows(r, c) { k.pointee.multiply_row(source + $0 * c, row.pointer, target + $0 * c, $1, c, 0) }
        tape.record(y) { [self] dy in
            accumulate { dx, add in
                spreadRows(r, c) { k.pointee.multiply_row(dy + $0 * c, row.pointer, dx + $0 * c, $1, c, add) }
            }
            row.accumulate { d, add in k.pointee.column_dots(dy, pointer, d, r, c, add) }
        }
        return y
    }

    /// Multiplies row `i` by `column[i]`.
    public func multipliedByColumn(_ column: Variable) -> Variable {
        require(column.count == rows, "a column of \(column.count) for shape \(shape)")
        let (r, c, k) = (rows, columns, Scalar.kernels)
        let y = tape.output(shape, self, column)
        let (source, target) = (pointer, y.pointer)
        spreadRows(r, c) {
            k.pointee.multiply_column(source + $0 * c, column.pointer + $0, target + $0 * c, $1, c, 0)
        }
        tape.record(y) { [self] dy in
            accumulate { dx, add in
                spreadRows(r, c) {
                    k.pointee.multiply_column(dy + $0 * c, column.pointer + $0, dx + $0 * c, $1, c, add)
                }
            }
            column.accumulate { d, add in k.pointee.row_dots(dy, pointer, d, r, c, add) }
        }
        return y
    }

    // MARK: Reductions

    /// The sum of all entries, as a single number.
    public func sum() -> Variable { total(times: 1) }

    /// The mean of all entries, as a single number.
    public func mean() -> Variable { total(times: 1 / Scalar(max(count, 1))) }

    private func total(times factor: Scalar) -> Variable {
        let y = tape.output([], self)
        y.pointer[0] = Scalar(Scalar.kernels.pointee.sum(pointer, count)) * factor
        tape.record(y) { [self] dy in
            accumulate { dx, add in
                spread(count) { Scalar.kernels.pointee.broadcast_column(dy, Double(factor), dx + $0, 1, $1, add) }
            }
        }
        return y
    }

    /// The sum of every row. Returns the shape without its last dimension.
    public func rowSums() -> Variable { rowTotals(times: 1) }

    /// The mean of every row. Returns the shape without its last dimension.
    public func rowMeans() -> Variable { rowTotals(times: 1 / Double(max(columns, 1))) }

    private func rowTotals(times factor: Double) -> Variable {
        let (r, c, k) = (rows, columns, Scalar.kernels)
        let y = tape.output(Array(shape.dropLast()), self)
        k.pointee.row_sums(pointer, factor, y.pointer, r, c, 0)
        tape.record(y) { [self] dy in
            accumulate { dx, add in k.pointee.broadcast_column(dy, factor, dx, r, c, add) }
        }
        return y
    }

    /// The sum of every column. Returns [columns].
    public func columnSums() -> Variable {
        let (r, c, k) = (rows, columns, Scalar.kernels)
        let y = tape.output([c], self)
        k.pointee.column_sums(pointer, y.pointer, r, c, 0)
        tape.record(y) { [self] dy in
            accumulate { dx, add in
                for i in 0..<r { k.pointee.affine(1, dy, 0, dx + i * c, c, add) }
            }
        }
        return y
    }

    /// The largest entry of every row, its gradient going to the first such entry.
    public func rowMaxima() -> Variable {
        let (r, c) = (rows, columns)
        require(c > 0, "rows without entries have no largest one")
        let y = tape.output(Array(shape.dropLast()), self)
        var places: [Int] = []
        for i in 0..<r {
            let row = pointer + i * c
            var place = 0
            for j in 1..<max(c, 1) where row[j] > row[place] { place = j }
            places.append(place)
            y.pointer[i] = row[place]
        }
        tape.record(y) { [self] dy in
            accumulateAdding { dx in for i in 0..<r { dx[i * c + places[i]] += dy[i] } }
        }
        return y
    }

    /// Each row divided by its Euclidean length, `x / sqrt(Σ x² + epsilon)`.
    public func rowNormalized(epsilon: Scalar = 1e-12) -> Variable {
        let squares = map(.square).rowSums().affine(1, epsilon)
        return multipliedByColumn(squares.map(.squareRoot).map(.reciprocal))
    }

    // MARK: Softmax

    /// The softmax of every row.
    public func softmax() -> Variable {
        let (r, c, k) = (rows, columns, Scalar.kernels)
        let y = tape.output(shape, self)
        let (source, target) = (pointer, y.pointer)
        spreadRows(r, c, grain: 1 << 14) { k.pointee.softmax(source + $0 * c, target + $0 * c, $1, c) }
        tape.record(y) { [self, unowned y] dy in
            accumulate { dx, add in
                spreadRows(r, c) {
                    k.pointee.softmax_backward(y.pointer + $0 * c, dy + $0 * c, dx + $0 * c, $1, c, add)
                }
            }
        }
        return y
    }

    /// The logarithm of the softmax of every row.
    public func logSoftmax() -> Variable {
        let (r, c, k) = (rows, columns, Scalar.kernels)
        let y = tape.output(shape, self)
        let (source, target) = (pointer, y.pointer)
        spreadRows(r, c, grain: 1 << 14) { k.pointee.log_softmax(source + $0 * c, target + $0 * c, $1, c) }
        tape.record(y) { [self, unowned y] dy in
            accumulate { dx, add in
                spreadRows(r, c, grain: 1 << 14) {
                    k.pointee.log_softmax_backward(y.pointer + $0 * c, dy + $0 * c, dx + $0 * c, $1, c, add)
                }
            }
        }
        return y
    }

    /// The logarithm of the sum of the exponentials of every row. Returns the shape without its last dimension.
    @_specialize(where Scalar == Float)
    public func logSumExp() -> Variable {
        let (r, c, k) = (rows, columns, Scalar.kernels)
        require(c > 0, "rows without entries have no such sum")
        let y = tape.output(Array(shape.dropLast()), self)
        let probabilities = tape.pool.take(count)
        let (x, p, out) = (pointer, probabilities.pointer, y.pointer)
        spreadRows(r, c, grain: 1 << 14) { first, count in
            k.pointee.softmax(x + first * c, p + first * c, count, c)
            for i in first..<first + count {
                // The largest entry's probability is exp(x - result), and at least 1 / columns.
                var place = i * c
                for j in i * c + 1..<(i + 1) * c where x[j] > x[place] { place = j }
                out[i] = x[place] - Scalar(logarithm(Double(p[place])))
            }
        }
        tape.record(y) { [self] dy in
            accumulate { dx, add in
                spreadRows(r, c) {
                    k.pointee.multiply_column(probabilities.pointer + $0 * c, dy + $0, dx + $0 * c, $1, c, add)
                }
            }
        }
        return y
    }
}
