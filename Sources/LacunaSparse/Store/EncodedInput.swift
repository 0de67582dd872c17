import CLacuna
import LacunaTensor

/// The forms in which kernels read their input vector.
public struct InputEncoding: OptionSet, Sendable, Hashable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// Plain floats.
    public static let float = InputEncoding(rawValue: 1)
    /// Rounded to bf16: what meets bf16 weights, as on hardware that multiplies pairs of bf16 numbers.
    public static let bf16 = InputEncoding(rawValue: 2)
    /// Signed bytes with one float scale for every 64 consecutive entries: what integer kernels multiply.
    public static let int8Groups64 = InputEncoding(rawValue: 4)
    /// The same with groups of 32, as the blocks of GGUF files have.
    public static let int8Groups32 = InputEncoding(rawValue: 8)
}

/// An input vector in every form that some matrix asked for, made once and shared by all products with it.
///
/// The object is meant to be reused: ``encode(_:count:encodings:)`` allocates only when a vector is longer than all
/// before it. It may be read from several threads at once, but not while it is being encoded.
public final class EncodedInput: @unchecked Sendable {
    /// Entries of the vector.
    public private(set) var count = 0
    /// What kernels read.
    let kernelInput: UnsafeMutablePointer<lk_input>

    private var capacity = 0
    private var numbers = Buffer<Float>(uninitialized: 0)
    private var halves = Buffer<UInt16>(uninitialized: 0)
    private var bytes = Buffer<Int8>(uninitialized: 0)
    private var sums = Buffer<Int32>(uninitialized: 0)

    /// An input that holds nothing yet.
    public init() {
        kernelInput = .allocate(capacity: 1)
        kernelInput.initialize(to: lk_input())
    }

    /// `x` [count] in the given forms.
    public convenience init(_ x: UnsafePointer<Float>, count: Int, encodings: InputEncoding) {
        self.init()
        encode(x, count: count, encodings: encodings)
    }

    /// The vector as plain floats, whatever other forms there are. Valid until the next vector is encoded.
    public var floats: UnsafeBufferPointer<Float> {
        UnsafeBufferPointer(start: kernelInput.pointee.x, count: count)
    }

    deinit { kernelInput.deallocate() }

    /// Replaces the vector by `x` [count]. Forms other than those asked for are undefined, except for the floats.
    public func encode(_ x: UnsafePointer<Float>, count: Int, encodings: InputEncoding) {
        self.count = count
        let padded = (count + 63) / 64 * 64
        if padded > capacity || capacity == 0 { grow(to: max(padded, 64)) }
        let form = kernelInput.pointee
        let entries = UnsafeMutablePointer(mutating: form.x!)
        entries.update(from: x, count: count)
        (entries + count).update(repeating: 0, count: padded - count)
        if encodings.contains(.bf16) {
            let rounded = UnsafeMutablePointer(mutating: form.rounded!)
            Kernels.best.f32_to_bf16(entries, UnsafeMutablePointer(mutating: form.bf16), padded)
            Kernels.best.bf16_to_f32(form.bf16, rounded, padded)
            Kernels.best.split_even_odd(rounded, count, UnsafeMutablePointer(mutating: form.split))
        }
        if encodings.contains(.int8Groups64) {
            Kernels.best.quantize_x64(
                entries, count, UnsafeMutablePointer(mutating: form.q64), UnsafeMutablePointer(mutating: form.scale64))
        }
        if encodings.contains(.int8Groups32) {
            Kernels.best.quantize_x32(
                entries, count, UnsafeMutablePointer(mutating: form.q32), UnsafeMutablePointer(mutating: form.scale32),
                UnsafeMutablePointer(mutating: form.total32))
            Kernels.best.sums_x16(form.q32, count, UnsafeMutablePointer(mutating: form.sum16))
        }
    }

    /// `capacity` is a multiple of 64.
    private func grow(to capacity: Int) {
        self.capacity = capacity
        let groups = (capacity / 64 + 15) / 16 * 16  // every array starts on its own cache line
        numbers = Buffer(uninitialized: 3 * capacity + 5 * groups)
        halves = Buffer(uninitialized: capacity)
        bytes = Buffer(uninitialized: 2 * capacity)
        sums = Buffer(uninitialized: capacity / 16)
        let scales = UnsafePointer(numbers.pointer + 3 * capacity)
        kernelInput.pointee = lk_input(
            x: numbers.pointer, bf16: halves.pointer, rounded: numbers.pointer + capacity,
            split: numbers.pointer + 2 * capacity, q64: bytes.pointer, scale64: scales,
            q32: bytes.pointer + capacity, scale32: scales + groups, total32: scales + 3 * groups, sum16: sums.pointer)
    }
}
