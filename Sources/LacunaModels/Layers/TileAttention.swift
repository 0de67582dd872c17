import LacunaTensor

/// Softmax attention of a tile of consecutive queries of one head, over some of the keys only. Keys come in batches; what a batch
/// gives is merged with what came before by the logarithms of the sums of exponentials, so that no row of scores is ever whole in
/// memory.
///
/// Maxim Milakov, Natalia Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867; in blocks as Tri Dao, Daniel
/// Y. Fu, Stefano Ermon, Atri Rudra, Christopher Ré, "FlashAttention: Fast and Memory-Efficient Exact Attention with
/// IO-Awareness", arXiv 2205.14135.
struct TileAttention {
    let queries: HeadAttention.HeadView
    let rows: Int
    let firstPosition: Int
    let headSize: Int
    let scale: Float
    /// How many positions back a query sees, itself included; nil for all.
    let window: Int?
    let output: UnsafeMutablePointer<Float>
    let outputStride: Int

    /// Keys of a batch.
    private static let batch = 256
    /// Shorter runs of keys are brought together before they are multiplied.
    private static let run = 128

    /// - Parameters:
    ///   - ranges: Ascending, without overlap.
    ///   - keyStride: Floats from one key of a view to the next, and from one value.
    /// - Returns: How many pairs of a query and a key that it may see were read.
    func attend(_ ranges: [Range<Int>], keyStride: Int, view: (Range<Int>) -> KeyValueView) -> Int {
        for i in 0..<rows { (output + i * outputStride).update(repeating: 0, count: headSize) }
        let (capacity, size) = (Self.batch, headSize)
        let floats = Buffer<Float>(uninitialized: (2 * size + rows) * capacity)
        let (keys, values) = (floats.pointer, floats.pointer + capacity * size)
        let scores = floats.pointer + 2 * capacity * size
        var places: [Int] = []
        places.reserveCapacity(capacity)
        // Of each row, the logarithm of the sum of all exponentials so far.
        var logs = [Double](repeating: -.infinity, count: rows)
        var pairs = 0
        func flush() {
            if places.isEmpty { return }
            pairs += merge(
                .init(pointer: keys, stride: size), .init(pointer: values, stride: size), count: places.count,
                scores: scores, logs: &logs
            ) { position in
                // The first place at or after a position.
                var (low, high) = (0, places.count)
                while low < high {
                    let middle = (low + high) / 2
                    if places[middle] < position { low = middle + 1 } else { high = middle }
                }
                return low
            }
            places.removeAll(keepingCapacity: true)
        }
        let seen = (window.map { max(0, firstPosition + 1 - $0) } ?? 0)..<firstPosition + rows
        for range in ranges {
            var rest = range.clamped(to: seen)
            while !rest.isEmpty {
                if places.isEmpty && rest.count >= Self.run {
                    let part = rest.lowerBound..<min(rest.lowerBound + capacity, rest.upperBound)
                    pairs += view(part).withPointers { k, v in
                        merge(
                            .init(pointer: k, stride: keyStride), .init(pointer: v, stride: keyStride),
                            count: part.count, scores: scores, logs: &logs
                        ) { min(max($0 - part.lowerBound, 0), part.count) }
                    }
                    rest = part.upperBound..<rest.upperBound
                    continue
                }
                let part = rest.lowerBound..<min(rest.lowerBound + capacity - places.count, rest.upperBound)
                view(part).withPointers { k, v in
                    for i in 0..<part.count {
                        (keys + (places.count + i) * size).update(from: k + i * keyStride, count: size)
                        (values + (places.count + i) * size).update(from: v + i * keyStride, count: size)
                    }
                }
                places.append(contentsOf: part)
                if places.count == capacity { flush() }
                rest = part.upperBound..<rest.upperBound
            }
        }
        flush()
        require(logs.allSatisfy { $0 != -.infinity }, "a plan leaves a query of a prompt without a key")
        return pairs
    }

    /// Adds a batch of keys, by ascending positions, to what the rows have gathered.
    ///
    /// - Parameter place: The first of the keys at or after a position.
    /// - Returns: Pairs that were read.
    private func merge(
        _ keys: HeadAttention.HeadView, _ values: HeadAttention.HeadView, count: Int,
        scores: UnsafeMutablePointer<Float>, logs: inout [Double], place: (Int) -> Int
    ) -> Int {
        LinearAlgebra.gemm(
            m: rows, n: count, k: headSize, alpha: scale, queries.pointer, leadingA: queries.stride, keys.pointer,
            leadingB: keys.stride, transposedB: true, into: scores, leadingC: count)
        var pairs = 0
        for i in 0..<rows {
            let (row, position) = (scores + i * count, firstPosition + i)
            let high = place(position + 1)
            let low = min(window.map { place(position + 1 - $0) } ?? 0, high)
            row.update(repeating: 0, count: low)
            (row + high).update(repeating: 0, count: count - high)
            if low == high { continue }
            pairs += high - low
            let best = VectorMath.argmax(row + low, count: high - low)
            guard best >= 0 else {
                // What is not a number is passed on.
                (row + low).update(repeating: .nan, count: high - low)
                logs[i] = .nan
                continue
            }
            let top = Double(row[low + best])
            VectorMath.softmax(row + low, count: high - low)
            // The largest entry's share is exp(0) / Σ exp(score - largest), so its logarithm is that of the sum.
            let log = top - logarithm(Double(row[low + best]))
            if logs[i] == -.infinity {
                logs[i] = log
                continue
            }
            let larger = max(logs[i], log)
            let total = larger + logarithm(exponential(logs[i] - larger) + exponential(log - larger))
            let (old, new) = (Float(exponential(logs[i] - total)), Float(exponential(log - total)))
            for j in low..<high { row[j] *= new }
            let gathered = output + i * outputStride
            for e in 0..<headSize { gathered[e] *= old }
            logs[i] = total
        }
        LinearAlgebra.gemm(
            m: rows, n: headSize, k: count, scores, leadingA: count, values.pointer, leadingB: values.stride, beta: 1,
            into: output, leadingC: outputStride)
        return pairs
    }
}
