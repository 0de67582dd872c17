import LacunaTensor

// Numbers that are not finite: one makes everything that is computed from it useless, far from where it stands.
extension TensorSource {
    /// Looks at every floating-point number of the file; of quantised blocks, at their scales.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` naming the first tensor that has a number which is not
    ///   finite, and where in it; ``LacunaError/cancelled``.
    public func requireFinite(progress: (any ProgressReporter)? = nil) throws {
        for (index, info) in tensors.enumerated() {
            if let place = try firstNonFinite(info) {
                let row = info.shape.last.map { $0 > 0 ? [place / $0, place % $0] : [place] } ?? []
                let entry = info.shape.count == 1 ? [place] : row
                throw LacunaError.malformed(
                    file: info.file, location: "tensor '\(info.name)'",
                    reason: "entry \(entry) is not a finite number")
            }
            try progress.report("checking", index + 1, of: tensors.count)
        }
    }

    /// The first element that is not finite, or the first of its block.
    private func firstNonFinite(_ info: TensorInfo) throws -> Int? {
        let unit: Int
        let test: @Sendable (UnsafeRawPointer) -> Bool
        switch info.type {
        case .foreign: return nil
        case .scalar(let type):
            unit = type.size
            switch type {
            case .f32: test = { $0.loadUnaligned(as: UInt32.self).littleEndian & 0x7F80_0000 == 0x7F80_0000 }
            case .bf16: test = { $0.loadUnaligned(as: UInt16.self).littleEndian & 0x7F80 == 0x7F80 }
            case .f16: test = Self.isNonFiniteHalf
            case .f64: test = { !Double(bitPattern: $0.loadUnaligned(as: UInt64.self).littleEndian).isFinite }
            case .i64, .i32, .i16, .i8, .u8, .bool: return nil
            }
        case .block(let type):
            unit = type.bytes
            test = { block in type.scaleOffsets.contains { Self.isNonFiniteHalf(block + $0) } }
        }
        let bytes = try bytes(of: info.name)
        guard let base = bytes.baseAddress else { return nil }
        let start = UInt(bitPattern: base)
        let found = Locked(Int.max)
        withExtendedLifetime(self) {
            Parallel.forRanges(bytes.count / unit, grain: 1 << 16) { range in
                guard let pointer = UnsafeRawPointer(bitPattern: start) else { return }
                if let place = range.first(where: { test(pointer + $0 * unit) }) {
                    found.withLock { $0 = min($0, place) }
                }
            }
        }
        let place = found.withLock { $0 }
        return place == .max ? nil : place * info.type.blockCount
    }

    @Sendable private static func isNonFiniteHalf(_ pointer: UnsafeRawPointer) -> Bool {
        pointer.loadUnaligned(as: UInt16.self).littleEndian & 0x7C00 == 0x7C00
    }
}

extension GGUFBlockType {
    /// Where a block has its numbers in half precision, by which the others are multiplied or shifted.
    fileprivate var scaleOffsets: [Int] {
        switch self {
        case .q40, .q50, .q80: [0]
        case .q41, .q51, .q4K, .q5K: [0, 2]
        case .q2K: [80, 82]
        case .q3K: [108]
        case .q6K: [208]
        }
    }
}
