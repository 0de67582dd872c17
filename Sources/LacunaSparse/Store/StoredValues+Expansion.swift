import LacunaTensor

extension StoredValues {
    /// Writes the int4 values of some slots, which share a scale, as floats.
    @inline(__always)
    func expand(slots: Range<Int>, row: Int, group: Int, into floats: UnsafeMutablePointer<Float>) {
        let scale = BFloat16(bits: groupScales.pointer[row * groups + group]).float
        let nibbles = bytes.pointer
        func low(_ byte: UInt8) -> Float { Float((Int8(bitPattern: byte) &<< 4) &>> 4) * scale }
        func high(_ byte: UInt8) -> Float { Float(Int8(bitPattern: byte) &>> 4) * scale }
        var (slot, target) = (slots.lowerBound, floats)
        if slot & 1 == 1 && slot < slots.upperBound {
            target[0] = high(nibbles[slot >> 1])
            (slot, target) = (slot + 1, target + 1)
        }
        let pairs = (slots.upperBound - slot) / 2
        let first = nibbles + (slot >> 1)
        for k in 0..<pairs {
            target[2 &* k] = low(first[k])
            target[2 &* k &+ 1] = high(first[k])
        }
        if slot + 2 * pairs < slots.upperBound { target[2 * pairs] = low(first[pairs]) }
    }
}
