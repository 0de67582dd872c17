import CLacuna
import LacunaSparse
import LacunaTensor

/// How the gradient passes an operation that selects entries.
public enum SelectionGradient: String, Sendable, Hashable, CaseIterable {
    /// To the selected entries alone: the derivative where the selection does not change.
    case selected
    /// To all entries, as if everything had been selected.
    case straightThrough
}

extension Variable {
    /// Keeps the `k` largest entries of every row and sets the others to 0.
    @_specialize(where Scalar == Float)
    public func topK(_ k: Int, gradient: SelectionGradient = .selected, byMagnitude: Bool = false) -> Variable {
        let c = columns
        require(k >= 0 && k <= c, "\(k) of \(c) entries")
        let kept = tape.pool.take(count)
        let (x, marks) = (pointer, kept.pointer)
        spreadRows(rows, c, grain: 1 << 14) { first, count in
            let words = Buffer<UInt64>(uninitialized: (c + 63) / 64)
            let magnitudes = Buffer<Scalar>(uninitialized: c)
            for i in first..<first + count {
                let row = x + i * c
                if byMagnitude { for j in 0..<c { magnitudes.pointer[j] = Swift.abs(row[j]) } }
                Scalar.markLargest(
                    byMagnitude ? UnsafePointer(magnitudes.pointer) : UnsafePointer(row), c, k, words.pointer)
                for j in 0..<c { marks[i * c + j] = words.pointer[j / 64] >> UInt64(j % 64) & 1 == 1 ? 1 : 0 }
            }
        }
        let y = tape.output(shape, self)
        let target = y.pointer
        func selected(_ from: UnsafePointer<Scalar>, _ to: UnsafeMutablePointer<Scalar>, _ add: Int32) {
            spread(count) {
                Scalar.kernels.pointee.binary(
                    Int32(LK_MULTIPLY), from + $0, kept.pointer + $0, to + $0, $1, add)
            }
        }
        selected(UnsafePointer(x), target, 0)
        tape.record(y) { [self] dy in
            switch gradient {
            case .selected: accumulate { dx, add in selected(dy, dx, add) }
            case .straightThrough: addToGradient(dy, times: 1)
            }
        }
        return y
    }

    /// The places of the `k` largest entries of every row, the largest first, of equal entries the first: [rows, k]. The
    /// entries themselves are `taking(topIndices(k), k)`, through which gradients flow.
    ///
    /// - Parameter ascending: The smallest instead, the smallest first. With `k == columns` this sorts.
    @_specialize(where Scalar == Float)
    public func topIndices(_ k: Int, ascending: Bool = false) -> [Int32] {
        let (r, c, x) = (rows, columns, pointer)
        require(k >= 0 && k <= c, "\(k) of \(c) entries")
        var result = [Int32](repeating: 0, count: r * k)
        result.withUnsafeMutableBufferPointer { result in
            let target = result.baseAddress
            spreadRows(k > 0 ? r : 0, c, grain: 1 << 12) { first, count in
                for i in first..<first + count {
                    let row = x + i * c
                    let numbers = UnsafeBufferPointer(start: row, count: c)
                    var order = Largest.indices(ascending ? c - k : k, of: numbers, ties: ascending ? .last : .first)
                    if ascending { order = Self.others(order, of: c) }
                    order.sort {
                        let (a, b) = (row[$0], row[$1])
                        return a != b ? (ascending ? a < b : a > b) : $0 < $1
                    }
                    for j in 0..<k { target![i * k + j] = Int32(order[j]) }
                }
            }
        }
        return result
    }

    /// The numbers below `count` that are not among some ascending ones.
    private static func others(_ taken: [Int], of count: Int) -> [Int] {
        var (result, next) = ([Int](), 0)
        for place in taken + [count] {
            result += next..<place
            next = place + 1
        }
        return result
    }

    /// Entries of every row at places of its own: entry `[i, j]` of the result [rows, k] is `self[i, places[i · k + j]]`.
    ///
    /// - Parameters:
    ///   - places: In `0..<columns`, `k` a row; one place may occur more than once.
    public func taking(_ places: [Int32], _ k: Int) -> Variable {
        let (r, c) = (rows, columns)
        require(places.count == r * k && count <= Int(Int32.max), "\(places.count) places for \(r) rows of \(k)")
        require(places.allSatisfy { $0 >= 0 && Int($0) < c }, "a place outside 0..<\(c)")
        var flat = places
        for i in flat.indices { flat[i] += Int32(i / Swift.max(k, 1) * c) }
        let y = tape.output(Array(shape.dropLast()) + [k], self)
        Scalar.kernels.pointee.gather(pointer, flat, flat.count, y.pointer, 0)
        tape.record(y) { [self] dy in
            accumulateAdding { dx in Scalar.kernels.pointee.scatter_add(dy, flat, flat.count, dx) }
        }
        return y
    }

    /// Sums of each row's entries up to and with every place.
    @_specialize(where Scalar == Float)
    public func cumulativeSums() -> Variable {
        let (r, c) = (rows, columns)
        let y = tape.output(shape, self)
        let (x, out) = (pointer, y.pointer)
        spreadRows(r, c) { first, count in
            for i in first..<first + count {
                var sum: Scalar = 0
                for j in i * c..<(i + 1) * c {
                    sum += x[j]
                    out[j] = sum
                }
            }
        }
        tape.record(y) { [self] dy in
            accumulateAdding { dx in
                spreadRows(r, c) { first, count in
                    for i in first..<first + count {
                        var sum: Scalar = 0
                        for j in (i * c..<(i + 1) * c).reversed() {
                            sum += dy[j]
                            dx[j] += sum
                        }
                    }
                }
            }
        }
        return y
    }
}
