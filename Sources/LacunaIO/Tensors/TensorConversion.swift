import CLacuna
import LacunaTensor

/// Widening of stored numbers to floats and back, over unaligned little-endian bytes.
enum TensorConversion {
    /// Elements that one item of a parallel loop converts.
    private static let grain = 1 << 16

    /// - Parameter name: The tensor's name, for the error.
    /// - Throws: ``LacunaError/resource(_:needed:available:)``.
    /// - Precondition: `bytes` holds exactly what `shape` takes in `type`; files are checked when they are opened.
    static func float(
        _ bytes: UnsafeRawBufferPointer, type: StoredType, shape: [Int], name: String
    ) throws -> Tensor<Float> {
        if case .foreign = type {
            throw LacunaError.unsupported(file: nil, what: "the stored type of tensor '\(name)'")
        }
        var result = try Tensor<Float>(checking: shape, for: "tensor '\(name)'")
        let count = result.count
        guard count > 0, let base = bytes.baseAddress else { return result }
        let source = Address(base)
        result.withMutablePointer { target in
            let target = Target(target)
            switch type {
            case .foreign: break
            case .block(let block):
                let blocks = count / block.elements
                Parallel.forRanges(blocks, grain: max(1, grain / block.elements)) { range in
                    block.dequantize(
                        source.pointer + range.lowerBound * block.bytes, blocks: range.count,
                        into: target.pointer + range.lowerBound * block.elements)
                }
            case .scalar(let element):
                Parallel.forRanges(count, grain: grain) { range in
                    widen(
                        source.pointer + range.lowerBound * element.size, type: element, count: range.count,
                        into: target.pointer + range.lowerBound)
                }
            }
        }
        return result
    }

    private struct Address: @unchecked Sendable {
        let pointer: UnsafeRawPointer
        init(_ pointer: UnsafeRawPointer) { self.pointer = pointer }
    }

    private struct Target: @unchecked Sendable {
        let pointer: UnsafeMutablePointer<Float>
        init(_ pointer: UnsafeMutablePointer<Float>) { self.pointer = pointer }
    }

    static func widen(
        _ source: UnsafeRawPointer, type: ElementType, count: Int, into target: UnsafeMutablePointer<Float>
    ) {
        func each<T: BitwiseCopyable>(_: T.Type, _ convert: (T) -> Float) {
            let size = MemoryLayout<T>.size
            for i in 0..<count { target[i] = convert(source.loadUnaligned(fromByteOffset: i * size, as: T.self)) }
        }
        // Kernels read numbers where numbers may be.
        let halves = Int(bitPattern: source) % 2 == 0 ? source.assumingMemoryBound(to: UInt16.self) : nil
        switch type {
        case .f32: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: 4 * count)
        case .bf16:
            if let halves { return lk_best().pointee.bf16_to_f32(halves, target, count) }
            each(UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
        case .f16:
            if let halves { return lk_best().pointee.f16_to_f32(halves, target, count) }
            each(UInt16.self, widenHalf)
        case .f64: each(Double.self) { Float($0) }
        case .i64: each(Int64.self) { Float($0) }
        case .i32: each(Int32.self) { Float($0) }
        case .i16: each(Int16.self) { Float($0) }
        case .i8: each(Int8.self) { Float($0) }
        case .u8, .bool: each(UInt8.self) { Float($0) }
        }
    }

    /// IEEE half precision without branches, so that loops over it become vector code: the bits move to a float's place,
    /// and a multiplication corrects the exponent, subnormals included.
    @inline(__always) static func widenHalf(_ bits: UInt16) -> Float {
        let magnitude = UInt32(bits & 0x7FFF) << 13
        let scaled = (Float(bitPattern: magnitude) * 0x1p112).bitPattern
        let finite = magnitude < 0x0F80_0000 ? scaled : magnitude | 0x7F80_0000
        return Float(bitPattern: finite | UInt32(bits & 0x8000) << 16)
    }

    /// nil if the type is not one of integers.
    static func integers(_ bytes: UnsafeRawBufferPointer, type: StoredType) -> [Int]? {
        func each<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type) -> [Int] {
            let size = MemoryLayout<T>.size
            return (0..<bytes.count / size).map { Int(bytes.loadUnaligned(fromByteOffset: $0 * size, as: T.self)) }
        }
        switch type {
        case .scalar(.i64): return each(Int64.self)
        case .scalar(.i32): return each(Int32.self)
        case .scalar(.i16): return each(Int16.self)
        case .scalar(.i8): return each(Int8.self)
        case .scalar(.u8): return each(UInt8.self)
        default: return nil
        }
    }

    /// Floats narrowed to `type` (f32, bf16 or f16, round to nearest even), as bytes for a file.
    static func narrowed(_ values: UnsafeBufferPointer<Float>, to type: ElementType) -> [UInt8]? {
        guard [.f32, .bf16, .f16].contains(type) else { return nil }
        return [UInt8](unsafeUninitializedCapacity: values.count * type.size) { bytes, count in
            count = values.count * type.size
            guard let source = values.baseAddress, let start = bytes.baseAddress else { return }
            let target = UnsafeMutableRawPointer(start)
            switch type {
            case .bf16: lk_best().pointee.f32_to_bf16(source, target.assumingMemoryBound(to: UInt16.self), values.count)
            case .f16: lk_best().pointee.f32_to_f16(source, target.assumingMemoryBound(to: UInt16.self), values.count)
            default: target.copyMemory(from: source, byteCount: count)
            }
        }
    }
}
