import LacunaSparse
import LacunaTensor

/// Slow and obvious versions of what the library does, to compare with.
enum Reference {
    /// The indices of the `k` smallest values by a full, stable sort.
    static func smallest(_ k: Int, of values: [Float]) -> Set<Int> {
        Set(values.indices.sorted { values[$0] != values[$1] ? values[$0] < values[$1] : $0 < $1 }.prefix(k))
    }

    /// Number removed, in exact integer arithmetic for a sparsity of `numerator / denominator`.
    static func count(_ numerator: Int, _ denominator: Int, of n: Int) -> Int { numerator * n / denominator }

    static func layer(_ scores: Tensor<Float>, removing k: Int) -> SparsePattern {
        let removed = smallest(k, of: scores.scalars)
        return SparsePattern(rows: scores.rows, columns: scores.columns) { !removed.contains($0 * scores.columns + $1) }
    }

    static func rows(_ scores: Tensor<Float>, removing k: Int) -> SparsePattern {
        let columns = scores.columns
        let values = scores.scalars
        let removed = (0..<scores.rows).map { smallest(k, of: Array(values[$0 * columns..<($0 + 1) * columns])) }
        return SparsePattern(rows: scores.rows, columns: columns) { !removed[$0].contains($1) }
    }

    static func groupsAlongInputs(_ scores: Tensor<Float>, n: Int, m: Int) -> SparsePattern {
        let columns = scores.columns
        let values = scores.scalars
        var mask = SparsePattern(rows: scores.rows, columns: columns, keepingAll: true)
        for row in 0..<scores.rows {
            for start in stride(from: 0, to: columns, by: m) {
                let size = min(m, columns - start)
                let kept = Int((Double(n * size) / Double(m)).rounded(.up))
                let group = Array(values[row * columns + start..<row * columns + start + size])
                for i in smallest(size - kept, of: group) { mask[row, start + i] = false }
            }
        }
        return mask
    }

    static func blocks(_ scores: Tensor<Float>, height: Int, width: Int, removing k: (Int) -> Int) -> SparsePattern {
        let (rows, columns) = (scores.rows, scores.columns)
        var means: [Float] = []
        var places: [(Int, Int)] = []
        for top in stride(from: 0, to: rows, by: height) {
            for left in stride(from: 0, to: columns, by: width) {
                var entries: [Double] = []
                for i in top..<min(top + height, rows) {
                    for j in left..<min(left + width, columns) { entries.append(Double(scores[i, j])) }
                }
                means.append(Float(entries.reduce(0, +) / Double(entries.count)))
                places.append((top, left))
            }
        }
        var mask = SparsePattern(rows: rows, columns: columns, keepingAll: true)
        for unit in smallest(k(means.count), of: means) {
            let (top, left) = places[unit]
            for i in top..<min(top + height, rows) {
                for j in left..<min(left + width, columns) { mask[i, j] = false }
            }
        }
        return mask
    }
}

/// Scores with many ties: small integers, so that block means are exact in any order of summation.
func tiedScores(_ rows: Int, _ columns: Int, seed: UInt64, levels: Int = 7) -> Tensor<Float> {
    var generator = SeededGenerator(seed: seed)
    let values = (0..<rows * columns).map { _ in Float(Int.random(in: -levels...levels, using: &generator)) }
    return Tensor(values, shape: [rows, columns])
}

func normalTensor(_ rows: Int, _ columns: Int, seed: UInt64, stream: UInt64 = 0) -> Tensor<Float> {
    var generator = SeededGenerator(seed: seed, stream: stream)
    return Tensor(normal: [rows, columns], using: &generator)
}

/// Rows and columns that meet every edge: nothing, one, just under, at and over a word, and no multiples of anything.
let edgeShapes: [[Int]] = [
    [0, 0], [0, 5], [5, 0], [1, 1], [1, 63], [1, 64], [2, 65], [7, 1], [5, 13], [17, 128], [33, 130],
]
