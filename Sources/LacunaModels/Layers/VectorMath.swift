import CLacuna
import LacunaLearn
import LacunaTensor

/// The kernels of a decoder's small operations, for the best instruction level of this processor.
enum VectorMath {
    // The table is constant data that lives as long as the process.
    nonisolated(unsafe) private static let table = lk_best()!

    /// `out = x / rms(x) · weight` for one vector. `out` may be `x`.
    static func rmsNorm(
        _ x: UnsafePointer<Float>, weight: Tensor<Float>, epsilon: Float, into out: UnsafeMutablePointer<Float>
    ) {
        weight.withPointer { table.pointee.rmsnorm(x, $0, epsilon, weight.count, out) }
    }

    /// The same for `count` rows, on the thread pool.
    static func rmsNorm(
        rows x: UnsafePointer<Float>, count: Int, weight: Tensor<Float>, epsilon: Float,
        into out: UnsafeMutablePointer<Float>
    ) {
        let width = weight.count
        Parallel.forRanges(count, grain: max(1, 65_536 / width)) { rows in
            for i in rows { rmsNorm(x + i * width, weight: weight, epsilon: epsilon, into: out + i * width) }
        }
    }

    /// `y += x`.
    static func add(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
        table.pointee.axpy_f32(1, x, y, count)
    }

    /// The same for long arrays, on the thread pool.
    static func addParallel(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
        Parallel.forRanges(count, grain: 131_072) { add(x + $0.lowerBound, to: y + $0.lowerBound, count: $0.count) }
    }

    /// `out = f(gate) · up`, long arrays on the thread pool. `out` may be `gate`.
    static func gated(
        _ activation: Activation, _ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>,
        into out: UnsafeMutablePointer<Float>, count: Int
    ) {
        Parallel.forRanges(count, grain: 32_768) { range in
            let (start, n) = (range.lowerBound, range.count)
            if activation == .silu { return table.pointee.silu_mul(gate + start, up + start, out + start, n) }
            activation.apply(gate + start, into: out + start, count: n)
            for i in start..<start + n { out[i] *= up[i] }
        }
    }

    /// Exponentials divided by their sum, in place.
    static func softmax(_ x: UnsafeMutablePointer<Float>, count: Int) { table.pointee.softmax(x, count) }

    /// Index of the first largest entry.
    static func argmax(_ x: UnsafePointer<Float>, count: Int) -> Int { table.pointee.argmax_f32(x, count) }

    static func rotateHalves(
        _ x: UnsafeMutablePointer<Float>, cosines: UnsafePointer<Float>, sines: UnsafePointer<Float>, pairs: Int
    ) {
        table.pointee.rope_halves(x, cosines, sines, pairs)
    }

    static func rotateInterleaved(
        _ x: UnsafeMutablePointer<Float>, cosines: UnsafePointer<Float>, sines: UnsafePointer<Float>, pairs: Int
    ) {
        table.pointee.rope_interleaved(x, cosines, sines, pairs)
    }

    /// `scores[t] = scale · (query · keys[t])`, keys `stride` floats apart.
    static func attentionScores(
        query: UnsafePointer<Float>, keys: UnsafePointer<Float>, count: Int, stride: Int, size: Int, scale: Float,
        into scores: UnsafeMutablePointer<Float>
    ) {
        table.pointee.attention_scores(query, keys, stride, count, size, scale, scores)
    }

    /// `out = Σ_t weights[t] values[t]`, values `stride` floats apart.
    static func attentionMix(
        weights: UnsafePointer<Float>, values: UnsafePointer<Float>, count: Int, stride: Int, size: Int,
        into out: UnsafeMutablePointer<Float>
    ) {
        table.pointee.attention_mix(weights, values, stride, count, size, out)
    }
}
