import LacunaTensor

/// Rounding to nearest onto integers with a scale: the one place that decides how weights become int8 and int4.
public enum Quantization {
    /// Entries that share one int4 scale.
    public static let int4Group = 64

    /// Rounds `x` to `scale * codes` with codes in -127...127 and `scale` = largest magnitude / 127, ties to even.
    /// All-zero input gives scale 0.
    public static func int8(_ x: UnsafePointer<Float>, count: Int, codes: UnsafeMutablePointer<Int8>) -> Float {
        var largest: Float = 0
        for i in 0..<count { largest = max(largest, abs(x[i])) }
        let scale = largest / 127
        // Scales below the normal numbers are too coarse to count in: such rows become zeros.
        if scale < .leastNormalMagnitude {
            codes.update(repeating: 0, count: count)
            return 0
        }
        for i in 0..<count { codes[i] = Int8(max(-127, min(127, (x[i] / scale).rounded(.toNearestOrEven)))) }
        return scale
    }

    /// Rounds at most ``int4Group`` entries to `scale * codes` with codes in -8...7, the scale being ``int4Scale(_:count:)``.
    public static func int4(_ x: UnsafePointer<Float>, count: Int, codes: UnsafeMutablePointer<Int8>) -> BFloat16 {
        let scale = int4Scale(x, count: count)
        for i in 0..<count { codes[i] = int4Code(x[i], scale) }
        return scale
    }

    /// The scale with which at most ``int4Group`` entries become int4; 0 for zeros.
    ///
    /// If the entries are multiples -8...7 of a number that bf16 holds, that number: rounding again changes nothing. Else, of six
    /// scales that make the entry of largest magnitude about -8 or 7 and may cut it off a little, and of the least squares scale for
    /// the codes that the best of these gives, the one with the smallest sum of squared errors.
    public static func int4Scale(_ x: UnsafePointer<Float>, count: Int) -> BFloat16 {
        var extreme: Float = 0
        for i in 0..<count where abs(x[i]) > abs(extreme) { extreme = x[i] }
        // Scales below the normal numbers are too coarse to count in: such groups become zeros.
        if BFloat16(abs(extreme) / 8).float < .leastNormalMagnitude || !extreme.isFinite { return BFloat16(0) }
        for code in stride(from: 8, through: 1, by: -1) {
            let scale = BFloat16(code == 8 ? extreme / -8 : abs(extreme) / Float(code))
            if (0..<count).allSatisfy({ x[$0] == scale.float * Float(int4Code(x[$0], scale)) }) { return scale }
        }
        var best = (scale: BFloat16(0), error: Float.infinity)
        func attempt(_ scale: Float) {
            let rounded = BFloat16(scale)
            if abs(rounded.float) < .leastNormalMagnitude || !rounded.float.isFinite { return }
            let error = error(of: x, count: count, scale: rounded.float)
            if error < best.error { best = (rounded, error) }
        }
        for divisor: Float in [8, 8.7, 9.5] { attempt(extreme / -divisor) }
        for divisor: Float in [7, 7.7, 8.5] { attempt(abs(extreme) / divisor) }
        var (dot, square): (Float, Float) = (0, 0)
        for i in 0..<count {
            let code = Float(int4Code(x[i], best.scale))
            dot += x[i] * code
            square += code * code
        }
        if square > 0 { attempt(dot / square) }
        return best.scale
    }

    /// The code of an entry, given a scale; 0 where the scale is 0.
    @inline(__always)
    public static func int4Code(_ x: Float, _ scale: BFloat16) -> Int8 {
        scale.bits << 1 == 0 ? 0 : Int8(nibble(x * (1 / scale.float)))
    }

    /// Adding a number whose last bit counts 1, and subtracting it, rounds to the nearest integer, ties to even; unlike a call of
    /// the rounding function it can be done for eight numbers at once on any processor.
    private static let unitsPlace: Float = 12_582_912

    @inline(__always)
    private static func nibble(_ x: Float) -> Float { max(-8, min(7, x)) + unitsPlace - unitsPlace }

    private static func error(of x: UnsafePointer<Float>, count: Int, scale: Float) -> Float {
        let inverse = SIMD8<Float>(repeating: 1 / scale)
        let (low, high, units) = (
            SIMD8<Float>(repeating: -8), SIMD8<Float>(repeating: 7), SIMD8<Float>(repeating: unitsPlace)
        )
        var sums = SIMD8<Float>(repeating: 0)
        for start in stride(from: 0, to: count, by: 8) {
            var values = SIMD8<Float>(repeating: 0)
            if start + 8 <= count {
                values = UnsafeRawPointer(x + start).loadUnaligned(as: SIMD8<Float>.self)
            } else {
                for i in start..<count { values[i - start] = x[i] }
            }
            let codes = pointwiseMax(low, pointwiseMin(high, values * inverse)) + units - units
            let difference = values - codes * scale
            sums += difference * difference
        }
        return sums.sum()
    }
}
