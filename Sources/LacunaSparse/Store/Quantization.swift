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

    /// Rounds at most ``int4Group`` entries to `scale * codes` with codes in -8...7.
    ///
    /// The scale is either the entry of largest magnitude / -8 or the largest magnitude / 7, rounded to bf16: whichever
    /// gives the smaller sum of squared errors. All-zero input gives scale 0.
    public static func int4(_ x: UnsafePointer<Float>, count: Int, codes: UnsafeMutablePointer<Int8>) -> BFloat16 {
        var extreme: Float = 0
        for i in 0..<count where abs(x[i]) > abs(extreme) { extreme = x[i] }
        let candidates = (BFloat16(extreme / -8), BFloat16(abs(extreme) / 7))
        if abs(candidates.0.float) < .leastNormalMagnitude {
            codes.update(repeating: 0, count: count)
            return BFloat16(0)
        }
        let errors = (
            error(of: x, count: count, scale: candidates.0.float), error(of: x, count: count, scale: candidates.1.float)
        )
        let scale = errors.0 < errors.1 ? candidates.0 : candidates.1
        for i in 0..<count { codes[i] = Int8(nibble(x[i] / scale.float)) }
        return scale
    }

    @inline(__always)
    private static func nibble(_ x: Float) -> Float { max(-8, min(7, x.rounded(.toNearestOrEven))) }

    private static func error(of x: UnsafePointer<Float>, count: Int, scale: Float) -> Float {
        var sum: Float = 0
        for i in 0..<count {
            let difference = x[i] - scale * nibble(x[i] / scale)
            sum += difference * difference
        }
        return sum
    }
}
