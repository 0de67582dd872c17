/// Complex numbers, their real and imaginary parts apart.
public struct ComplexVector: Sendable, Equatable {
    /// Real parts.
    public var real: [Double]
    /// Imaginary parts, as many.
    public var imaginary: [Double]

    /// - Parameters:
    ///   - real: Real parts.
    ///   - imaginary: As many imaginary parts; 0 for nil.
    public init(real: [Double], imaginary: [Double]? = nil) {
        require(imaginary.map { $0.count == real.count } ?? true, "as many imaginary as real parts")
        self.real = real
        self.imaginary = imaginary ?? [Double](repeating: 0, count: real.count)
    }

    /// How many numbers there are.
    public var count: Int { real.count }
    /// `|x_i|²`.
    public var squaredMagnitudes: [Double] { zip(real, imaginary).map { $0 * $0 + $1 * $1 } }

    /// `x_1 ⊗ x_2 ⊗ …`, the first slowest.
    public static func product(_ parts: [ComplexVector]) -> ComplexVector {
        parts.reduce(ComplexVector(real: [1])) { left, right in
            var result = ComplexVector(real: [])
            for i in 0..<left.count {
                for j in 0..<right.count {
                    result.real.append(left.real[i] * right.real[j] - left.imaginary[i] * right.imaginary[j])
                    result.imaginary.append(left.real[i] * right.imaginary[j] + left.imaginary[i] * right.real[j])
                }
            }
            return result
        }
    }
}
