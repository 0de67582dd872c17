import LacunaTensor

/// The block-quantised types of GGUF files that Lacuna reads. The raw value is the format's own name.
public enum GGUFBlockType: String, Hashable, Sendable, CaseIterable {
    /// 32 numbers of 4 bits and a scale: 4.5 bits each.
    case q40 = "Q4_0"
    /// 32 numbers of 4 bits, a scale and a minimum: 5 bits each.
    case q41 = "Q4_1"
    /// 32 numbers of 5 bits and a scale: 5.5 bits each.
    case q50 = "Q5_0"
    /// 32 numbers of 5 bits, a scale and a minimum: 6 bits each.
    case q51 = "Q5_1"
    /// 32 numbers of 8 bits and a scale: 8.5 bits each.
    case q80 = "Q8_0"
    /// 256 numbers of 2 bits, scales and minima of every 16 in 4 bits: 2.625 bits each.
    case q2K = "Q2_K"
    /// 256 numbers of 3 bits, scales of every 16 in 6 bits: 3.4375 bits each.
    case q3K = "Q3_K"
    /// 256 numbers of 4 bits, scales and minima of every 32 in 6 bits: 4.5 bits each.
    case q4K = "Q4_K"
    /// 256 numbers of 5 bits, scales and minima of every 32 in 6 bits: 5.5 bits each.
    case q5K = "Q5_K"
    /// 256 numbers of 6 bits, scales of every 16 in 8 bits: 6.5625 bits each.
    case q6K = "Q6_K"

    /// Numbers in one block.
    public var elements: Int {
        switch self {
        case .q40, .q41, .q50, .q51, .q80: 32
        case .q2K, .q3K, .q4K, .q5K, .q6K: 256
        }
    }

    /// Bytes of one block.
    public var bytes: Int {
        switch self {
        case .q40: 18
        case .q41: 20
        case .q50: 22
        case .q51: 24
        case .q80: 34
        case .q2K: 84
        case .q3K: 110
        case .q4K: 144
        case .q5K: 176
        case .q6K: 210
        }
    }

    /// Multiplies `blocks` blocks out to floats.
    ///
    /// - Parameters:
    ///   - source: `blocks * bytes` readable bytes, aligned to nothing.
    ///   - target: Room for `blocks * elements` floats.
    public func dequantize(_ source: UnsafeRawPointer, blocks: Int, into target: UnsafeMutablePointer<Float>) {
        let decode: (GGUFBlock, UnsafeMutablePointer<Float>) -> Void
        switch self {
        case .q40: decode = { $0.decodeQ40(into: $1) }
        case .q41: decode = { $0.decodeQ41(into: $1) }
        case .q50: decode = { $0.decodeQ50(into: $1) }
        case .q51: decode = { $0.decodeQ51(into: $1) }
        case .q80: decode = { $0.decodeQ80(into: $1) }
        case .q2K: decode = { $0.decodeQ2K(into: $1) }
        case .q3K: decode = { $0.decodeQ3K(into: $1) }
        case .q4K: decode = { $0.decodeQ4K(into: $1) }
        case .q5K: decode = { $0.decodeQ5K(into: $1) }
        case .q6K: decode = { $0.decodeQ6K(into: $1) }
        }
        for block in 0..<blocks {
            decode(GGUFBlock(address: source + block * bytes), target + block * elements)
        }
    }
}

/// One block's bytes and how each type lays them out.
private struct GGUFBlock {
    let address: UnsafeRawPointer

    @inline(__always) private func byte(_ offset: Int) -> UInt8 { address.load(fromByteOffset: offset, as: UInt8.self) }

    @inline(__always) private func half(_ offset: Int) -> Float {
        TensorConversion.widenHalf(address.loadUnaligned(fromByteOffset: offset, as: UInt16.self).littleEndian)
    }

    /// Scale; 16 bytes, each with element `j` in its low and `j + 16` in its high nibble, offset by 8.
    func decodeQ40(into y: UnsafeMutablePointer<Float>) {
        let scale = half(0)
        for j in 0..<16 {
            let pair = byte(2 + j)
            y[j] = Float(Int(pair & 15) - 8) * scale
            y[j + 16] = Float(Int(pair >> 4) - 8) * scale
        }
    }

    /// Scale, minimum; nibbles as in Q4_0, not offset.
    func decodeQ41(into y: UnsafeMutablePointer<Float>) {
        let scale = half(0)
        let minimum = half(2)
        for j in 0..<16 {
            let pair = byte(4 + j)
            y[j] = Float(pair & 15) * scale + minimum
            y[j + 16] = Float(pair >> 4) * scale + minimum
        }
    }

    /// Scale; 32 fifth bits; nibbles as in Q4_0; offset by 16.
    func decodeQ50(into y: UnsafeMutablePointer<Float>) {
        let scale = half(0)
        let high = address.loadUnaligned(fromByteOffset: 2, as: UInt32.self).littleEndian
        for j in 0..<16 {
            let pair = byte(6 + j)
            let low = Int(pair & 15) | Int(high >> UInt32(j) & 1) << 4
            let upper = Int(pair >> 4) | Int(high >> UInt32(j + 16) & 1) << 4
            y[j] = Float(low - 16) * scale
            y[j + 16] = Float(upper - 16) * scale
        }
    }

    /// Scale, minimum; 32 fifth bits; nibbles as in Q4_0.
    func decodeQ51(into y: UnsafeMutablePointer<Float>) {
        let scale = half(0)
        let minimum = half(2)
        let high = address.loadUnaligned(fromByteOffset: 4, as: UInt32.self).littleEndian
        for j in 0..<16 {
            let pair = byte(8 + j)
            y[j] = Float(Int(pair & 15) | Int(high >> UInt32(j) & 1) << 4) * scale + minimum
            y[j + 16] = Float(Int(pair >> 4) | Int(high >> UInt32(j + 16) & 1) << 4) * scale + minimum
        }
    }

    /// Scale; 32 signed bytes.
    func decodeQ80(into y: UnsafeMutablePointer<Float>) {
        let scale = half(0)
        for j in 0..<32 { y[j] = Float(Int8(bitPattern: byte(2 + j))) * scale }
    }

    /// 16 bytes of a scale (low half) and a minimum; 64 bytes of four values each, 32 apart; their scale and minimum.
    func decodeQ2K(into y: UnsafeMutablePointer<Float>) {
        let (scale, minimum) = (half(80), half(82))
        for i in 0..<256 {
            let part = byte(i / 16)
            let code = byte(16 + i / 128 * 32 + i % 32) >> UInt8(i % 128 / 32 * 2) & 3
            y[i] = scale * Float(part & 15) * Float(code) - minimum * Float(part >> 4)
        }
    }

    /// 32 bytes of third bits, clear where 4 is taken away; 64 bytes as in Q2_K; 16 scales of 6 bits, offset by 32, in 12
    /// bytes; their scale.
    func decodeQ3K(into y: UnsafeMutablePointer<Float>) {
        let scale = half(108)
        for i in 0..<256 {
            let j = i / 16
            let low = j < 8 ? byte(96 + j) & 15 : byte(96 + j - 8) >> 4
            let subscale = Int(low | (byte(104 + j % 4) >> UInt8(j / 4 * 2) & 3) << 4) - 32
            let code = Int(byte(32 + i / 128 * 32 + i % 32) >> UInt8(i % 128 / 32 * 2) & 3)
            let isHigh = byte(i % 32) >> UInt8(i / 32) & 1 == 1
            y[i] = scale * Float(subscale) * Float(isHigh ? code : code - 4)
        }
    }

    /// The 6-bit scale and minimum of sub-block `j` of 8, packed into the 12 bytes at `offset`.
    private func scaleAndMinimum(_ j: Int, at offset: Int) -> (Float, Float) {
        if j < 4 { return (Float(byte(offset + j) & 63), Float(byte(offset + j + 4) & 63)) }
        let low = byte(offset + j + 4)
        return (
            Float(low & 15 | (byte(offset + j - 4) >> 6) << 4), Float(low >> 4 | (byte(offset + j) >> 6) << 4)
        )
    }

    /// Scale and minimum of the scales; 8 scales and minima; 128 bytes of nibbles, 32 elements low, the next 32 high.
    func decodeQ4K(into y: UnsafeMutablePointer<Float>) {
        let (scale, minimum) = (half(0), half(2))
        for pair in 0..<4 {
            let (s0, m0) = scaleAndMinimum(2 * pair, at: 4)
            let (s1, m1) = scaleAndMinimum(2 * pair + 1, at: 4)
            let target = y + 64 * pair
            for l in 0..<32 {
                let q = byte(16 + 32 * pair + l)
                target[l] = scale * s0 * Float(q & 15) - minimum * m0
                target[l + 32] = scale * s1 * Float(q >> 4) - minimum * m1
            }
        }
    }

    /// As Q4_K, with the fifth bits of all sub-blocks in 32 bytes before the nibbles.
    func decodeQ5K(into y: UnsafeMutablePointer<Float>) {
        let (scale, minimum) = (half(0), half(2))
        for pair in 0..<4 {
            let (s0, m0) = scaleAndMinimum(2 * pair, at: 4)
            let (s1, m1) = scaleAndMinimum(2 * pair + 1, at: 4)
            let target = y + 64 * pair
            for l in 0..<32 {
                let q = byte(48 + 32 * pair + l)
                let high = byte(16 + l) >> UInt8(2 * pair)
                target[l] = scale * s0 * Float(q & 15 | (high & 1) << 4) - minimum * m0
                target[l + 32] = scale * s1 * Float(q >> 4 | (high >> 1 & 1) << 4) - minimum * m1
            }
        }
    }

    /// 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, their scale; offset by 32.
    func decodeQ6K(into y: UnsafeMutablePointer<Float>) {
        let scale = half(208)
        for part in 0..<2 {
            let (low, high, scales) = (64 * part, 128 + 32 * part, 192 + 8 * part)
            let target = y + 128 * part
            for l in 0..<32 {
                let bits = byte(high + l)
                let first = byte(low + l)
                let second = byte(low + 32 + l)
                for (quarter, q) in [
                    first & 15 | (bits & 3) << 4, second & 15 | (bits >> 2 & 3) << 4,
                    first >> 4 | (bits >> 4 & 3) << 4, second >> 4 | (bits >> 6) << 4,
                ].enumerated() {
                    let subscale = Float(Int8(bitPattern: byte(scales + l / 16 + 2 * quarter)))
                    target[32 * quarter + l] = scale * subscale * Float(Int(q) - 32)
                }
            }
        }
    }
}
