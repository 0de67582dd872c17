/// A ``KeyValueStore`` whose keys and values need not become floats to be multiplied. Attention of single rows asks for these
/// products; that of many rows together for views.
public protocol DirectKeyValueStore: KeyValueStore {
    /// `scores[i] = scale · query · key` of every position, appended but not yet counted ones included.
    ///
    /// - Parameter query: [head size].
    func scores(
        layer: Int, head: Int, positions: Range<Int>, query: UnsafePointer<Float>, scale: Float,
        into scores: UnsafeMutablePointer<Float>)
    /// `output += Σ_i weights[i] · value` over the positions.
    ///
    /// - Parameter output: [head size].
    func addMix(
        layer: Int, head: Int, positions: Range<Int>, weights: UnsafePointer<Float>,
        to output: UnsafeMutablePointer<Float>)
}

/// The kernels of attention, for stores and selectors outside the engine.
public enum AttentionKernels {
    /// `scores[t] = scale · (query · keys[t])`, keys `stride` floats apart.
    public static func scores(
        query: UnsafePointer<Float>, keys: UnsafePointer<Float>, count: Int, stride: Int, size: Int, scale: Float = 1,
        into scores: UnsafeMutablePointer<Float>
    ) {
        VectorMath.attentionScores(
            query: query, keys: keys, count: count, stride: stride, size: size, scale: scale, into: scores)
    }

    /// Exponentials divided by their sum, in place.
    public static func softmax(_ x: UnsafeMutablePointer<Float>, count: Int) { VectorMath.softmax(x, count: count) }

    /// `out = Σ_t weights[t] values[t]`, values `stride` floats apart.
    public static func mix(
        weights: UnsafePointer<Float>, values: UnsafePointer<Float>, count: Int, stride: Int, size: Int,
        into out: UnsafeMutablePointer<Float>
    ) {
        VectorMath.attentionMix(weights: weights, values: values, count: count, stride: stride, size: size, into: out)
    }
}
