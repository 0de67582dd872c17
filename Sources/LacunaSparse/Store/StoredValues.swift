import CLacuna
import LacunaTensor

/// The values of a stored matrix, in an order that its layout decides, and their scales.
///
/// A value has a *slot*: its index among the values, or, for int4, among the nibbles (the even slot is the low half of a
/// byte).
final class StoredValues: @unchecked Sendable {
    let type: ValueType
    let bytes: Buffer<UInt8>
    /// int8: one for each row.
    let rowScales: Buffer<Float>
    /// int4: bf16, one for every 64 columns of each row.
    let groupScales: Buffer<UInt16>
    /// int4: groups of 64 columns in a row.
    let groups: Int

    init(_ type: ValueType, slots: Int, rows: Int, columns: Int) {
        self.type = type
        groups = (columns + Quantization.int4Group - 1) / Quantization.int4Group
        bytes = Buffer(repeating: 0, count: (slots * type.bits + 7) / 8, lasting: true)
        rowScales = Buffer(repeating: 0, count: type == .int8 ? rows : 0, lasting: true)
        groupScales = Buffer(repeating: 0, count: type == .int4 ? rows * groups : 0, lasting: true)
    }

    var scales: UnsafeRawPointer? {
        switch type {
        case .f32, .bf16, .f16: nil
        case .int8: UnsafeRawPointer(rowScales.pointer)
        case .int4: UnsafeRawPointer(groupScales.pointer)
        }
    }

    /// Values and scales.
    var byteCount: Int { bytes.byteCount + rowScales.byteCount + groupScales.byteCount }

    /// A row rounded to the value type, whose entries a layout puts into their slots.
    struct CodedRow {
        let values: StoredValues
        /// The entries' columns, ascending.
        let columns: UnsafeBufferPointer<UInt32>
        fileprivate let floats: UnsafeBufferPointer<Float>
        fileprivate let codes: UnsafeMutablePointer<Int8>

        /// Stores all entries in consecutive slots.
        func storeAll(from slot: Int) {
            guard let source = floats.baseAddress, !floats.isEmpty else { return }
            let p = UnsafeMutableRawPointer(values.bytes.pointer)
            switch values.type {
            case .f32: (p + 4 * slot).copyMemory(from: source, byteCount: 4 * floats.count)
            case .bf16:
                Kernels.best.f32_to_bf16(
                    source, (p + 2 * slot).assumingMemoryBound(to: UInt16.self), floats.count)
            case .f16:
                Kernels.best.f32_to_f16(
                    source, (p + 2 * slot).assumingMemoryBound(to: UInt16.self), floats.count)
            case .int8: (p + slot).copyMemory(from: codes, byteCount: floats.count)
            case .int4: for i in floats.indices { store(i, slot: slot + i) }
            }
        }

        /// Stores entry `i` of the row in `slot`.
        @inline(__always)
        func store(_ i: Int, slot: Int) {
            let p = UnsafeMutableRawPointer(values.bytes.pointer)
            switch values.type {
            case .f32: p.storeBytes(of: floats[i], toByteOffset: 4 * slot, as: Float.self)
            case .bf16: p.storeBytes(of: BFloat16(floats[i]).bits, toByteOffset: 2 * slot, as: UInt16.self)
            case .f16: p.storeBytes(of: Half(floats[i]).bits, toByteOffset: 2 * slot, as: UInt16.self)
            case .int8: p.storeBytes(of: codes[i], toByteOffset: slot, as: Int8.self)
            case .int4:
                values.bytes.pointer[slot >> 1] |= UInt8(truncatingIfNeeded: codes[i] & 15) << UInt8(4 * (slot & 1))
            }
        }
    }

    /// Rounds every row of `source` and calls `place` to store its entries, in parallel unless `serially`.
    ///
    /// - Throws: As ``RowSource/forEachRow(serially:_:)``, and `LacunaError.numerical` if values that are to become integers
    ///   are not finite, or such as are to become f16 are finite and beyond its numbers.
    func fill(
        from source: some RowSource, serially: Bool = false, _ place: (_ row: Int, _ entries: CodedRow) -> Void
    ) throws {
        let isUndefined = Locked(false)
        try source.forEachRow(serially: serially) { row, columns, floats in
            withUnsafeTemporaryAllocation(of: Int8.self, capacity: type.isInteger ? floats.count : 0) { codes in
                let isDefined =
                    type.isInteger
                    ? round(row, columns, floats, into: codes.baseAddress!)
                    // From here on, rounding to nearest gives infinity.
                    : type != .f16 || floats.allSatisfy { !($0.magnitude >= 65_520) || $0.isInfinite }
                if !isDefined { return isUndefined.withLock { $0 = true } }
                place(row, CodedRow(values: self, columns: columns, floats: floats, codes: codes.baseAddress!))
            }
        }
        if isUndefined.withLock({ $0 }) {
            throw LacunaError.numerical(
                operation: "rounding to \(type)",
                reason: type.isInteger ? "a weight is not finite" : "the magnitude of a weight exceeds 65504")
        }
    }

    /// Rounds a row to integers and stores its scales. False if a value is not finite.
    private func round(
        _ row: Int, _ columns: UnsafeBufferPointer<UInt32>, _ floats: UnsafeBufferPointer<Float>,
        into codes: UnsafeMutablePointer<Int8>
    ) -> Bool {
        guard let p = floats.baseAddress, !floats.isEmpty else { return true }
        guard floats.allSatisfy(\.isFinite) else { return false }
        if type == .int8 {
            rowScales.pointer[row] = Quantization.int8(p, count: floats.count, codes: codes)
            return true
        }
        // Entries that are not kept are zeros, which change no scale.
        var start = 0
        while start < floats.count {
            let group = Int(columns[start]) / Quantization.int4Group
            var end = start + 1
            while end < floats.count && Int(columns[end]) / Quantization.int4Group == group { end += 1 }
            groupScales.pointer[row * groups + group] =
                Quantization.int4(p + start, count: end - start, codes: codes + start).bits
            start = end
        }
        return true
    }
}
