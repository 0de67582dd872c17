import LacunaTensor
import Testing

@Suite struct ElementTypeTests {
    @Test func sizes() {
        #expect(ElementType.allCases.map(\.size) == [8, 4, 2, 2, 8, 4, 2, 1, 1, 1])
        #expect(MemoryLayout<BFloat16>.stride == 2 && MemoryLayout<Half>.stride == 2)
    }

    /// What a 16-bit pattern means, from the definition of the format rather than by moving bits.
    private func value(_ bits: UInt16, exponentBits: Int) -> Double {
        let fractionBits = 15 - exponentBits
        let fraction = Double(Int(bits) & ((1 << fractionBits) - 1)) / Double(1 << fractionBits)
        let exponent = (Int(bits) >> fractionBits) & ((1 << exponentBits) - 1)
        let bias = (1 << (exponentBits - 1)) - 1
        let sign: Double = bits & 0x8000 == 0 ? 1 : -1
        if exponent == (1 << exponentBits) - 1 { return fraction == 0 ? sign * .infinity : .nan }
        if exponent == 0 { return sign * fraction * power(2, Double(1 - bias)) }
        return sign * (1 + fraction) * power(2, Double(exponent - bias))
    }

    /// Every value, every midpoint between neighbours and the floats beside the midpoints, against the rule of rounding
    /// to nearest with ties to the even pattern.
    private func check(
        exponentBits: Int, widen: (UInt16) -> Float, narrow: (Float) -> UInt16
    ) {
        let infinity = UInt16((1 << exponentBits) - 1) << UInt16(15 - exponentBits)
        var wrong = 0
        for bits in 0...UInt16.max {
            let exact = value(bits, exponentBits: exponentBits)
            if exact.isNaN {
                if !widen(bits).isNaN || widen(narrow(widen(bits))).isNaN == false { wrong += 1 }
                continue
            }
            if Double(widen(bits)) != exact || widen(bits).sign != (bits & 0x8000 == 0 ? .plus : .minus) { wrong += 1 }
            if narrow(Float(exact)) != bits { wrong += 1 }
            let magnitude = bits & 0x7FFF
            if magnitude == infinity { continue }
            // The neighbour further from 0; beyond the largest number, what would follow it if exponents went on.
            let next =
                magnitude + 1 == infinity
                ? exact + (exact - value(bits - 1, exponentBits: exponentBits))
                : value(bits + 1, exponentBits: exponentBits)
            let middle = Float((exact + next) / 2)
            if !middle.isFinite { continue }
            if narrow(middle) != (bits & 1 == 0 ? bits : bits + 1) { wrong += 1 }
            let (below, above) =
                bits & 0x8000 == 0 ? (middle.nextDown, middle.nextUp) : (middle.nextUp, middle.nextDown)
            if narrow(below) != bits || narrow(above) != bits + 1 { wrong += 1 }
        }
        #expect(wrong == 0)
        #expect(narrow(.greatestFiniteMagnitude) == infinity)
        #expect(narrow(.leastNonzeroMagnitude) == 0 && narrow(-.leastNonzeroMagnitude) == 0x8000)
        for nan in [Float.nan, -.nan, Float(bitPattern: 0x7F80_0001), Float(bitPattern: 0xFFFF_FFFF)] {
            #expect(widen(narrow(nan)).isNaN)
        }
    }

    @Test func halfExhaustively() {
        check(exponentBits: 5, widen: { Half(bits: $0).float }, narrow: { Half($0).bits })
    }

    @Test func brainFloatExhaustively() {
        check(exponentBits: 8, widen: { BFloat16(bits: $0).float }, narrow: { BFloat16($0).bits })
    }
}
