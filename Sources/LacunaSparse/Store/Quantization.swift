import CLacuna
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

    /// Rounds at most ``int4Group`` entries to `scale * codes` with codes in -8...7, the scale being ``int4Scale(_:count:)``. The same
    /// on every processor.
    public static func int4(_ x: UnsafePointer<Float>, count: Int, codes: UnsafeMutablePointer<Int8>) -> BFloat16 {
        require(count <= int4Group, "\(count) entries share a scale of \(int4Group)")
        return BFloat16(bits: Kernels.best.round_i4(x, count, codes))
    }

    /// The scale with which at most ``int4Group`` entries become int4; 0 for zeros.
    ///
    /// If the entries are multiples -8...7 of a number that bf16 holds, that number: rounding again changes nothing. Else, of six
    /// scales that make the entry of largest magnitude about -8 or 7 and may cut it off a little, and of the least squares scale for
    /// the codes that the best of these gives, the one with the smallest sum of squared errors.
    public static func int4Scale(_ x: UnsafePointer<Float>, count: Int) -> BFloat16 {
        require(count <= int4Group, "\(count) entries share a scale of \(int4Group)")
        return BFloat16(bits: Kernels.best.round_i4(x, count, nil))
    }

    /// The code of an entry, given a scale; 0 where the scale is 0.
    @inline(__always)
    public static func int4Code(_ x: Float, _ scale: BFloat16) -> Int8 {
        scale.bits << 1 == 0 ? 0 : Int8(max(-8, min(7, (x * (1 / scale.float)).rounded(.toNearestOrEven))))
    }
}
