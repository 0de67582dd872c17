/// How numbers are stored in memory and in files, before any quantisation into groups.
public enum ElementType: String, Sendable, Hashable, CaseIterable, Codable {
    /// IEEE 754 numbers of 64, 32 and 16 bits.
    case f64, f32, f16
    /// The upper half of an `f32`: ``BFloat16``.
    case bf16
    /// Signed integers.
    case i64, i32, i16, i8
    /// Unsigned 8-bit integers.
    case u8
    /// A byte that is 0 or 1.
    case bool

    /// Bytes of one element.
    public var size: Int {
        switch self {
        case .f64, .i64: 8
        case .f32, .i32: 4
        case .f16, .bf16, .i16: 2
        case .i8, .u8, .bool: 1
        }
    }
}

/// The upper half of a `Float`: 8 exponent bits, 7 fraction bits.
public struct BFloat16: BitwiseCopyable, Hashable, Sendable {
    /// The 16 bits.
    public var bits: UInt16
    /// The number with these bits.
    @inlinable public init(bits: UInt16) { self.bits = bits }

    /// Rounds to nearest, ties to even. NaN stays NaN.
    @inlinable public init(_ value: Float) {
        let b = value.bitPattern
        bits = value.isNaN ? UInt16(b >> 16) | 0x40 : UInt16((b &+ 0x7FFF &+ ((b >> 16) & 1)) >> 16)
    }

    /// The number, exactly.
    @inlinable public var float: Float { Float(bitPattern: UInt32(bits) << 16) }
}

/// IEEE 754 half precision, as bits: conversions of whole arrays belong to the kernels.
public struct Half: BitwiseCopyable, Hashable, Sendable {
    /// The 16 bits.
    public var bits: UInt16
    /// The number with these bits.
    @inlinable public init(bits: UInt16) { self.bits = bits }

    /// Rounds to nearest, ties to even. NaN stays NaN; what is too large becomes infinite.
    public init(_ value: Float) {
        let b = value.bitPattern
        let sign = UInt16((b >> 16) & 0x8000)
        let magnitude = b & 0x7FFF_FFFF
        if magnitude > 0x7F80_0000 {
            bits = sign | 0x7E00
        } else if magnitude >= 0x4780_0000 {
            bits = sign | 0x7C00
        } else if magnitude < 0x3880_0000 {
            // Subnormal: adding 0.5 leaves the rounded fraction in the low bits.
            bits = sign | UInt16((Float(bitPattern: magnitude) + 0.5).bitPattern &- 0x3F00_0000)
        } else {
            let rounded = magnitude &+ 0xFFF &+ ((magnitude >> 13) & 1)
            bits = sign | UInt16(truncatingIfNeeded: (rounded &- 0x3800_0000) >> 13)
        }
    }

    /// The number, exactly.
    public var float: Float {
        let sign = UInt32(bits & 0x8000) << 16
        let exponent = UInt32(bits >> 10) & 0x1F
        let fraction = UInt32(bits) & 0x3FF
        switch exponent {
        case 0:
            let value = Float(fraction) * 0x1p-24
            return sign == 0 ? value : -value
        case 31: return Float(bitPattern: sign | 0x7F80_0000 | fraction << 13)
        default: return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
        }
    }
}
