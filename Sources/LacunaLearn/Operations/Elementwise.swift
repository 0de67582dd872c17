import CLacuna
import LacunaTensor

/// Functions of single numbers that ``Variable/map(_:)`` applies.
public enum Activation: String, Sendable, Hashable, CaseIterable {
    /// max(x, 0).
    case relu
    /// x above 0, x / 100 below.
    case leakyRelu
    /// x Φ(x), with Φ approximated by a hyperbolic tangent as GPT-2 does.
    case gelu
    /// x Φ(x).
    case geluExact
    /// x σ(x).
    case silu
    /// σ(x) = 1 / (1 + e⁻ˣ).
    case sigmoid
    /// The hyperbolic tangent.
    case tanh
    /// ln(1 + eˣ).
    case softplus
    /// eˣ.
    case exponential
    /// ln x.
    case logarithm
    /// √x.
    case squareRoot
    /// x².
    case square
    /// |x|.
    case absolute
    /// 1 / x.
    case reciprocal

    var code: Int32 {
        switch self {
        case .relu: Int32(LK_RELU)
        case .leakyRelu: Int32(LK_LEAKY_RELU)
        case .gelu: Int32(LK_GELU)
        case .geluExact: Int32(LK_GELU_EXACT)
        case .silu: Int32(LK_SILU)
        case .sigmoid: Int32(LK_SIGMOID)
        case .tanh: Int32(LK_TANH)
        case .softplus: Int32(LK_SOFTPLUS)
        case .exponential: Int32(LK_EXP)
        case .logarithm: Int32(LK_LOG)
        case .squareRoot: Int32(LK_SQRT)
        case .square: Int32(LK_SQUARE)
        case .absolute: Int32(LK_ABS)
        case .reciprocal: Int32(LK_RECIPROCAL)
        }
    }

    /// The function of each of `count` numbers, in place if `y` is `x`. Serial.
    public func apply(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int) {
        Float.kernels.pointee.unary(code, x, y, count)
    }

    /// Elements that are worth a piece of work of their own.
    var grain: Int {
        switch self {
        case .relu, .leakyRelu, .square, .absolute, .reciprocal: 1 << 16
        default: 1 << 14
        }
    }
}

extension Variable {
    /// A function of every entry.
    public func map(_ activation: Activation) -> Variable {
        let y = tape.output(shape, self)
        let (k, code) = (Scalar.kernels, activation.code)
        let (source, target) = (pointer, y.pointer)
        spread(count, grain: activation.grain) { k.pointee.unary(code, source + $0, target + $0, $1) }
        tape.record(y) { [self, unowned y] dy in
            accumulate { dx, add in
                spread(count, grain: activation.grain) {
                    k.pointee.unary_backward(code, pointer + $0, y.pointer + $0, dy + $0, dx + $0, $1, add)
                }
            }
        }
        return y
    }

    /// max(x, 0) of every entry.
    public func relu() -> Variable { map(.relu) }
    /// x Φ(x), with Φ approximated by a hyperbolic tangent as GPT-2 does.
    public func gelu() -> Variable { map(.gelu) }
    /// x σ(x) of every entry.
    public func silu() -> Variable { map(.silu) }
    /// 1 / (1 + e⁻ˣ) of every entry.
    public func sigmoid() -> Variable { map(.sigmoid) }
    /// The hyperbolic tangent of every entry.
    public func tanh() -> Variable { map(.tanh) }

    /// `a x + b`.
    public func affine(_ a: Scalar, _ b: Scalar = 0) -> Variable {
        let y = tape.output(shape, self)
        let k = Scalar.kernels
        let (source, target) = (pointer, y.pointer)
        spread(count) { k.pointee.affine(Double(a), source + $0, Double(b), target + $0, $1, 0) }
        tape.record(y) { [self] dy in
            accumulate { dx, add in
                spread(count) { k.pointee.affine(Double(a), dy + $0, 0, dx + $0, $1, add) }
            }
        }
        return y
    }

    /// Entries outside `range` become its bounds, and pass no gradient.
    @_specialize(where Scalar == Float)
    public func clamped(to range: ClosedRange<Scalar>) -> Variable {
        let k = Scalar.kernels
        let inside = tape.pool.take(count)
        let y = tape.output(shape, self)
        let (x, marks, out) = (pointer, inside.pointer, y.pointer)
        spread(count) { first, n in
            k.pointee.clamp_mask(
                x + first, Double(range.lowerBound), Double(range.upperBound), marks + first, n)
            for i in first..<first + n { out[i] = min(max(x[i], range.lowerBound), range.upperBound) }
        }
        tape.record(y) { [self] dy in
            accumulate { dx, add in
                spread(count) {
                    k.pointee.binary(Int32(LK_MULTIPLY), dy + $0, inside.pointer + $0, dx + $0, $1, add)
                }
            }
        }
        return y
    }

    // Shapes that differ are expanded to a common one: see ``expanded(to:)``.

    private static func combined(_ a: Variable, _ b: Variable, _ function: Int) -> (Variable, Variable, Variable) {
        let (a, b) = aligned(a, b)
        let y = a.tape.output(a.shape, a, b)
        let (k, code) = (Scalar.kernels, Int32(function))
        let (p, q, target) = (a.pointer, b.pointer, y.pointer)
        spread(a.count) { k.pointee.binary(code, p + $0, q + $0, target + $0, $1, 0) }
        return (a, b, y)
    }

    /// The sum, entry by entry, of two variables of one shape.
    public static func + (a: Variable, b: Variable) -> Variable {
        let (a, b, y) = combined(a, b, LK_ADD)
        a.tape.record(y) { dy in
            a.addToGradient(dy, times: 1)
            b.addToGradient(dy, times: 1)
        }
        return y
    }

    /// The difference, entry by entry, of two variables of one shape.
    public static func - (a: Variable, b: Variable) -> Variable {
        let (a, b, y) = combined(a, b, LK_SUBTRACT)
        a.tape.record(y) { dy in
            a.addToGradient(dy, times: 1)
            b.addToGradient(dy, times: -1)
        }
        return y
    }

    /// The product, entry by entry, of two variables of one shape.
    public static func * (a: Variable, b: Variable) -> Variable {
        let (a, b, y) = combined(a, b, LK_MULTIPLY)
        let k = Scalar.kernels
        a.tape.record(y) { dy in
            a.accumulate { da, add in
                spread(a.count) {
                    k.pointee.binary(Int32(LK_MULTIPLY), dy + $0, b.pointer + $0, da + $0, $1, add)
                }
            }
            b.accumulate { db, add in
                spread(a.count) {
                    k.pointee.binary(Int32(LK_MULTIPLY), dy + $0, a.pointer + $0, db + $0, $1, add)
                }
            }
        }
        return y
    }

    /// The quotient, entry by entry, of two variables of one shape.
    public static func / (a: Variable, b: Variable) -> Variable {
        let (a, b, y) = combined(a, b, LK_DIVIDE)
        let k = Scalar.kernels
        a.tape.record(y) { [unowned y] dy in
            a.accumulate { da, add in
                spread(a.count) { k.pointee.binary(Int32(LK_DIVIDE), dy + $0, b.pointer + $0, da + $0, $1, add) }
            }
            b.accumulate { db, add in
                spread(a.count) {
                    k.pointee.divide_backward(y.pointer + $0, b.pointer + $0, dy + $0, db + $0, $1, add)
                }
            }
        }
        return y
    }

    /// Every entry with the other sign.
    public static prefix func - (a: Variable) -> Variable { a.affine(-1) }
    /// Every entry times a number.
    public static func * (a: Scalar, b: Variable) -> Variable { b.affine(a) }
    /// Every entry plus a number.
    public static func + (a: Variable, b: Scalar) -> Variable { a.affine(1, b) }

    /// Adds `factor` times `dy`, of this variable's size, to the gradient.
    func addToGradient(_ dy: UnsafePointer<Scalar>, times factor: Scalar) {
        accumulate { dx, add in
            spread(count) { Scalar.kernels.pointee.affine(Double(factor), dy + $0, 0, dx + $0, $1, add) }
        }
    }

    /// `silu(self) * up`: the gated unit of SwiGLU feed-forward layers.
    public func swiglu(_ up: Variable) -> Variable {
        require(shape == up.shape, "shapes \(shape) and \(up.shape) differ")
        let y = tape.output(shape, self, up)
        let k = Scalar.kernels
        let (a, b, target) = (pointer, up.pointer, y.pointer)
        spread(count, grain: 1 << 14) { k.pointee.swiglu(a + $0, b + $0, target + $0, $1) }
        tape.record(y) { [self] dy in
            let unused = needsGradient && up.needsGradient ? nil : tape.pool.take(count)
            func run(
                _ dgate: UnsafeMutablePointer<Scalar>, _ addGate: Int32, _ dup: UnsafeMutablePointer<Scalar>,
                _ addUp: Int32
            ) {
                spread(count, grain: 1 << 14) {
                    k.pointee.swiglu_backward(
                        pointer + $0, up.pointer + $0, dy + $0, dgate + $0, dup + $0, $1, addGate, addUp)
                }
            }
            if needsGradient && up.needsGradient {
                accumulate { dgate, addGate in up.accumulate { dup, addUp in run(dgate, addGate, dup, addUp) } }
            } else {
                accumulate { dgate, add in run(dgate, add, unused!.pointer, 0) }
                up.accumulate { dup, add in run(unused!.pointer, 0, dup, add) }
            }
        }
        return y
    }

    /// Sets a random fraction of the entries to 0 and scales up the others; nothing unless the tape is training.
    public func dropout(_ fraction: Double) -> Variable {
        require((0..<1).contains(fraction), "dropout \(fraction) is not in 0..<1")
        if !tape.isTraining || fraction == 0 { return self }
        let factors = tape.pool.take(count)
        let scale = Scalar(1 / (1 - fraction))
        // Decided by 32 random bits each.
        let threshold = UInt32((fraction * 0x1p32).rounded(.down))
        var generator = tape.generator
        for i in stride(from: 0, to: count, by: 2) {
            let bits = generator.next()
            factors.pointer[i] = UInt32(truncatingIfNeeded: bits) < threshold ? 0 : scale
            if i + 1 < count { factors.pointer[i + 1] = UInt32(truncatingIfNeeded: bits >> 32) < threshold ? 0 : scale }
        }
        tape.generator = generator
        return self * Variable(shape: shape, tape: tape, storage: factors, needsGradient: false)
    }

    /// A variable whose numbers are `replacement` and whose gradient goes to this one unchanged: a straight-through
    /// estimator (Bengio, Léonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for
    /// Conditional Computation", arXiv 1308.3432).
    public func straightThrough(_ replacement: Tensor<Scalar>) -> Variable {
        require(replacement.count == count, "a replacement of shape \(replacement.shape) for \(shape)")
        let y = tape.output(shape, self)
        replacement.withPointer { y.pointer.update(from: $0, count: count) }
        tape.record(y) { [self] dy in addToGradient(dy, times: 1) }
        return y
    }
}
