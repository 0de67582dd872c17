import CLacuna
import LacunaTensor

extension Variable {
    /// The same numbers repeated along dimensions of length 1, and along new dimensions in front.
    ///
    /// Shapes are aligned at their last dimensions, as in NumPy: [3, 1] and [4] both expand to [2, 3, 4]. A single number
    /// expands to anything.
    ///
    /// - Precondition: Every dimension of this is 1 or that of `newShape`.
    public func expanded(to newShape: [Int]) -> Variable {
        if newShape == shape { return self }
        let missing = newShape.count - shape.count
        require(
            missing >= 0 && zip(shape, newShape.dropFirst(missing)).allSatisfy { $0 == 1 || $0 == $1 },
            "\(shape) does not expand to \(newShape)")
        var strides = Array(repeating: 0, count: newShape.count)
        var stride = 1
        for d in shape.indices.reversed() {
            if shape[d] != 1 { strides[missing + d] = stride }
            stride *= shape[d]
        }
        let y = tape.output(newShape, self)
        // A single number has no dimension to walk along.
        let (walk, steps) = newShape.isEmpty ? ([1], [1]) : (newShape, strides)
        let k = Scalar.kernels
        if y.count > 0 { k.pointee.permute(pointer, y.pointer, walk, steps, Int32(walk.count), 0) }
        tape.record(y) { [self] dy in
            accumulateAdding { dx in
                if walk.allSatisfy({ $0 > 0 }) { k.pointee.unpermute(dy, dx, walk, steps, Int32(walk.count), 1) }
            }
        }
        return y
    }

    /// Two variables of one shape: those given, expanded as far as they need to be.
    static func aligned(_ a: Variable, _ b: Variable) -> (Variable, Variable) {
        if a.shape == b.shape { return (a, b) }
        let rank = Swift.max(a.shape.count, b.shape.count)
        func padded(_ shape: [Int]) -> [Int] { Array(repeating: 1, count: rank - shape.count) + shape }
        let common = zip(padded(a.shape), padded(b.shape)).map { $0 == 1 ? $1 : $0 }
        return (a.expanded(to: common), b.expanded(to: common))
    }

    /// `count` copies one after the other along the first dimension.
    public func repeated(_ count: Int) -> Variable {
        require(!shape.isEmpty && count >= 0, "a single number is expanded, not repeated")
        return expanded(to: [count] + shape).reshaped([count * shape[0]] + shape.dropFirst())
    }

    // MARK: Choosing between two

    /// Entries of `a` where `condition` holds, of `b` elsewhere. The two are expanded to one shape; there is one
    /// condition for each entry of it.
    public static func choosing(_ condition: [Bool], _ a: Variable, _ b: Variable) -> Variable {
        let (a, b) = aligned(a, b)
        require(condition.count == a.count, "\(condition.count) conditions for shape \(a.shape)")
        return chosen(a, b) { condition[$0] }
    }

    /// The larger of two entries; of equal ones the first, which then has the gradient.
    public static func maximum(_ a: Variable, _ b: Variable) -> Variable {
        let (a, b) = aligned(a, b)
        let (p, q) = (a.pointer, b.pointer)
        return chosen(a, b) { p[$0] >= q[$0] }
    }

    /// The smaller of two entries; of equal ones the first, which then has the gradient.
    public static func minimum(_ a: Variable, _ b: Variable) -> Variable {
        let (a, b) = aligned(a, b)
        let (p, q) = (a.pointer, b.pointer)
        return chosen(a, b) { p[$0] <= q[$0] }
    }

    @_specialize(where Scalar == Float)
    private static func chosen(_ a: Variable, _ b: Variable, _ isFirst: (Int) -> Bool) -> Variable {
        let y = a.tape.output(a.shape, a, b)
        let (first, second) = (a.tape.pool.take(a.count), a.tape.pool.take(a.count))
        let (p, q, f, s, out) = (a.pointer, b.pointer, first.pointer, second.pointer, y.pointer)
        for i in 0..<a.count {
            let chosen = isFirst(i)
            (f[i], s[i]) = chosen ? (1, 0) : (0, 1)
            out[i] = chosen ? p[i] : q[i]
        }
        a.tape.record(y) { dy in
            for (variable, factors) in [(a, first), (b, second)] {
                variable.accumulate { d, add in
                    spread(a.count) {
                        Scalar.kernels.pointee.binary(
                            Int32(LK_MULTIPLY), dy + $0, factors.pointer + $0, d + $0, $1, add)
                    }
                }
            }
        }
        return y
    }

    // MARK: Powers

    /// `x^exponent` of every entry. Below 0 it is a number only for whole exponents.
    @_specialize(where Scalar == Float)
    public func raised(to exponent: Double) -> Variable {
        let y = tape.output(shape, self)
        let (x, out) = (pointer, y.pointer)
        spread(count, grain: 1 << 12) { first, n in
            for i in first..<first + n { out[i] = Scalar(power(Double(x[i]), exponent)) }
        }
        tape.record(y) { [self] dy in
            accumulateAdding { dx in
                spread(count, grain: 1 << 12) { first, n in
                    for i in first..<first + n {
                        // The slope is 0 where the function is constant, also at x = 0.
                        let slope = exponent == 0 ? 0 : exponent * power(Double(x[i]), exponent - 1)
                        dx[i] += dy[i] * Scalar(slope)
                    }
                }
            }
        }
        return y
    }

    /// `self^exponent`, entry by entry, for positive numbers.
    public func raised(to exponent: Variable) -> Variable { (exponent * map(.logarithm)).map(.exponential) }
}
