import LacunaModels
import LacunaTensor

/// The keys of one head that a prompt can see, one after the other, whatever holds them.
struct HeldKeys {
    /// Where they are, as ascending ranges.
    let runs: [Range<Int>]
    /// [count, size].
    let keys: UnsafePointer<Float>
    /// How many there are.
    let count: Int
    private let view: KeyValueView?
    private let copy: Buffer<Float>?

    /// - Parameter size: Entries of a key.
    init(_ store: any KeyValueStore, layer: Int, head: Int, runs: [Range<Int>], size: Int) {
        self.runs = runs
        count = runs.reduce(0) { $0 + $1.count }
        if runs.count == 1 {
            let view = store.view(layer: layer, head: head, positions: runs[0])
            (keys, self.view, copy) = (view.keys, view, nil)
            return
        }
        let copy = Buffer<Float>(uninitialized: max(1, count * size))
        var place = 0
        for run in runs {
            let view = store.view(layer: layer, head: head, positions: run)
            (copy.pointer + place * size).update(from: view.keys, count: run.count * size)
            withExtendedLifetime(view) {}
            place += run.count
        }
        (keys, self.copy, view) = (UnsafePointer(copy.pointer), copy, nil)
    }

    /// Shares [rows, count] of the attention of some queries, each with what comes after it, or before its window, at 0.
    ///
    /// - Parameters:
    ///   - queries: Rows [size], `stride` floats apart, of consecutive positions from `first` on.
    ///   - shares: Room for rows · count numbers.
    func attention(
        _ queries: UnsafePointer<Float>, rows: Int, stride: Int, first: Int, window: Int?, size: Int, scale: Float,
        into shares: UnsafeMutablePointer<Float>
    ) {
        LinearAlgebra.gemm(
            m: rows, n: count, k: size, alpha: scale, queries, leadingA: stride, keys, leadingB: size,
            transposedB: true, into: shares, leadingC: count)
        for i in 0..<rows {
            let row = shares + i * count
            let high = place(first + i + 1)
            let low = min(window.map { place(first + i + 1 - $0) } ?? 0, high)
            row.update(repeating: 0, count: low)
            (row + high).update(repeating: 0, count: count - high)
            if high > low { AttentionKernels.softmax(row + low, count: high - low) }
        }
        withExtendedLifetime((view, copy)) {}
    }

    /// How many of the keys are before a position.
    func place(_ position: Int) -> Int {
        var before = 0
        for run in runs {
            if run.lowerBound >= position { break }
            before += min(run.upperBound, position) - run.lowerBound
        }
        return before
    }

    /// Calls with every key's place and position, in order.
    func visit(_ body: (_ place: Int, _ position: Int) -> Void) {
        var place = 0
        for run in runs {
            for position in run {
                body(place, position)
                place += 1
            }
        }
    }

    /// Calls with the keys while they are there.
    func withKeys<R>(_ body: (UnsafePointer<Float>) -> R) -> R {
        withExtendedLifetime((view, copy)) { body(keys) }
    }
}
