import CLacuna
import LacunaTensor

/// The levels of vector instructions that this processor has.
let supportedLevels = (0..<Int32(LK_LEVELS)).filter { lk_level($0) != nil }

func kernels(_ level: Int32) -> lk_table { lk_level(level).pointee }
var reference: lk_table { lk_reference().pointee }

/// Lengths around every vector width and group size.
let awkwardLengths = [
    1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 100, 127, 128, 129, 200, 320, 577, 1031,
]

extension SeededGenerator {
    /// Normal numbers, among them a few zeros, subnormal and large ones.
    mutating func awkwardFloats(_ count: Int) -> [Float] {
        (0..<count).map { _ in
            switch next() % 32 {
            case 0: 0
            case 1: -0.0
            case 2: Float(normal()) * 0x1p-140
            case 3: Float(normal()) * 1000
            default: Float(normal())
            }
        }
    }

    mutating func normals(_ count: Int) -> [Float] { (0..<count).map { _ in Float(normal()) } }
}

/// An input vector in every form, made by the scalar kernels.
final class KernelInput {
    let x, rounded, split, scale64, scale32, total32: Buffer<Float>
    let bf16: Buffer<UInt16>
    let q64, q32: Buffer<Int8>
    let sum16: Buffer<Int32>
    let count: Int

    init(_ values: [Float]) {
        count = values.count
        let padded = (count + 63) / 64 * 64
        x = Buffer(values + [Float](repeating: 0, count: padded - count))
        bf16 = Buffer(repeating: 0, count: padded)
        rounded = Buffer(repeating: 0, count: padded)
        split = Buffer(repeating: 0, count: padded)
        q64 = Buffer(repeating: 0, count: padded)
        q32 = Buffer(repeating: 0, count: padded)
        scale64 = Buffer(repeating: 0, count: padded / 64)
        scale32 = Buffer(repeating: 0, count: padded / 32)
        total32 = Buffer(repeating: 0, count: padded / 32)
        sum16 = Buffer(repeating: 0, count: padded / 16)
        reference.f32_to_bf16(x.pointer, bf16.pointer, padded)
        reference.bf16_to_f32(bf16.pointer, rounded.pointer, padded)
        reference.split_even_odd(rounded.pointer, count, split.pointer)
        reference.quantize_x64(x.pointer, count, q64.pointer, scale64.pointer)
        reference.quantize_x32(x.pointer, count, q32.pointer, scale32.pointer, total32.pointer)
        reference.sums_x16(q32.pointer, count, sum16.pointer)
    }

    var input: lk_input {
        lk_input(
            x: x.pointer, bf16: bf16.pointer, rounded: rounded.pointer, split: split.pointer, q64: q64.pointer,
            scale64: scale64.pointer, q32: q32.pointer, scale32: scale32.pointer, total32: total32.pointer,
            sum16: sum16.pointer)
    }

    enum Form { case floats, bf16, groups64, groups32 }

    /// The vector that a kernel reading `form` multiplies with.
    func values(_ form: Form) -> [Double] {
        (0..<count).map { c in
            switch form {
            case .floats: Double(x.pointer[c])
            case .bf16: Double(rounded.pointer[c])
            case .groups64: Double(scale64.pointer[c / 64]) * Double(q64.pointer[c])
            case .groups32: Double(scale32.pointer[c / 32]) * Double(q32.pointer[c])
            }
        }
    }
}

/// `W x` in double precision, and the bound on its error that products in single precision keep.
func product(_ w: [Float], _ x: [Double], rows: Int) -> [(value: Double, tolerance: Double)] {
    let columns = x.count
    return (0..<rows).map { r in
        var sum = 0.0
        var magnitude = 0.0
        for c in 0..<columns {
            let term = Double(w[r * columns + c]) * x[c]
            sum += term
            magnitude += term.magnitude
        }
        return (sum, 2e-6 * magnitude + 1e-37)
    }
}

func isClose(_ a: Float, _ b: Float, relative: Float = 1e-6, absolute: Float = 1e-37) -> Bool {
    a == b || (a.isNaN && b.isNaN) || (a - b).magnitude <= relative * max(a.magnitude, b.magnitude) + absolute
}
