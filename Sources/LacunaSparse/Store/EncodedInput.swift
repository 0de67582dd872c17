import LacunaTensor

/// The form in which a format's kernels read their input vector.
public enum InputEncoding: Sendable, Hashable {
    /// Plain floats.
    case float
    /// Signed bytes with one float scale for every 64 (or 32) consecutive entries: what integer kernels multiply.
    case int8(group: Int)
}

/// An input vector in every form that some matrix asked for, made once and shared by all products with it.
public final class EncodedInput: @unchecked Sendable {
    public let count: Int
    /// The entries, followed by zeros up to a multiple of 64.
    public let floats: Buffer<Float>

    public init(_ x: UnsafePointer<Float>, count: Int, encodings: Set<InputEncoding>) {
        self.count = count
        floats = Buffer(repeating: 0, count: (count + 63) / 64 * 64)
        floats.pointer.update(from: x, count: count)
    }
}
