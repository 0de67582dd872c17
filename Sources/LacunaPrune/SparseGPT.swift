import LacunaSparse
import LacunaTensor

/// Prunes column by column and moves the columns still to come so that the layer's output on the calibration data changes
/// as little as possible.
///
/// With `H = XᵀX + λI` and `UᵀU = H⁻¹` (``InverseFactor``), removing `w_j` of a row costs `w_j² / U_jj²` and the best
/// answer of the columns `t > j` is `w_t -= (w_j / U_jj) U_jt`. Masks are chosen as the sweep arrives, on weights that
/// already carry the corrections: for a block of `blockSize` columns at a time, for n:m patterns group by group.
/// Corrections within a block are made at once, those of the columns behind it in one matrix product when it is done.
///
/// A sparsity is met exactly for the matrix; every block of columns gets its share. Whole rows cannot be removed:
/// nothing in a row is left to make up for it.
///
/// If the kept entries are going to be stored in int4, they are rounded in the same sweep: a kept `w_j` becomes the nearest
/// multiple of its group's scale, which is found when the sweep arrives at the group, and the columns behind it move as they do for what is
/// removed. With nothing to remove this is GPTQ. The store gives the rounded numbers back as they are. Types with more bits err too
/// little to be made up for.
///
/// Elias Frantar, Dan Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
/// arXiv 2301.00774, its section on joint sparsification and quantisation included. Defaults are theirs. Rounding alone: Elias Frantar,
/// Saleh Ashkboos, Torsten Hoefler, Dan Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
/// Transformers", arXiv 2210.17323.
public struct SparseGPT: LayerwisePruning {
    /// Share of the mean diagonal of `XᵀX` that is added to its diagonal; 0 or more.
    public var damping: Double
    /// Columns whose mask is chosen together; 1 or more. Rounded up to whole groups or blocks of the pattern.
    public var blockSize: Int

    /// The defaults are the authors'.
    public init(damping: Double = 0.01, blockSize: Int = 128) {
        self.damping = damping
        self.blockSize = blockSize
    }

    public var card: MethodCard {
        MethodCard(
            name: "sparsegpt", family: .compensating,
            paper: .init(
                authors: "Elias Frantar, Dan Alistarh",
                title: "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", arXiv: "2301.00774"),
            composition: ["w² / [H⁻¹]ⱼⱼ of the columns to come", "largest by pattern, per 128 columns", "OBS update"])
    }
    public var requirement: ScoreRequirement { .gram }
    public var defaultScope: Pattern.Scope { .layer }

    public func supports(_ pattern: Pattern) -> Bool {
        if case .rows = pattern.unit { false } else { true }
    }

    public func prune(
        _ weight: inout Tensor<Float>, statistics: InputStatistics?, request: PruningRequest
    ) throws -> SparsePattern {
        var group = [weight]
        let masks = try prune(group: &group, statistics: statistics, requests: [request])
        weight = group[0]
        return masks[0]
    }

    public func prune(
        group weights: inout [Tensor<Float>], statistics: InputStatistics?, requests: [PruningRequest]
    ) throws -> [SparsePattern] {
        require(weights.count == requests.count)
        if blockSize < 1 { throw LacunaError.invalidArgument("blockSize", reason: "must be positive") }
        guard let statistics else {
            throw LacunaError.invalidArgument("statistics", reason: "\(card.name) needs calibration")
        }
        for (weight, request) in zip(weights, requests) {
            try requireSupport(request.pattern)
            if weight.rank != 2 || weight.columns != statistics.columns {
                throw LacunaError.invalidArgument(
                    "statistics",
                    reason: "\(statistics.columns) inputs were seen, the weight is of shape \(weight.shape)")
            }
        }
        let factor = try InverseFactor(statistics, damping: damping)
        var masks: [SparsePattern] = []
        for index in weights.indices {
            masks.append(try sweep(&weights[index], factor, request: requests[index]))
        }
        return masks
    }

    /// Columns that are chosen together, and columns whose corrections are gathered before the rest is updated.
    private func widths(for pattern: Pattern) -> (window: Int, block: Int) {
        func rounded(_ unit: Int) -> Int { (blockSize + unit - 1) / unit * unit }
        let width: Int =
            switch pattern.unit {
            case .entry, .rows: 1
            case .block(_, let columns), .columns(let columns): columns
            }
        if case .every(let m, .input) = pattern.competition { return (m * width, rounded(m * width)) }
        return (rounded(width), rounded(width))
    }

    private func sweep(_ weight: inout Tensor<Float>, _ factor: InverseFactor, request: PruningRequest) throws
        -> SparsePattern
    {
        let (rows, columns) = (weight.rows, weight.columns)
        let widths = widths(for: request.pattern)
        var shares = WindowShares(request, rows: rows)
        var mask = SparsePattern(rows: rows, columns: columns, keepingAll: true)
        weight.withMutablePointer { w in
            for dead in factor.deadColumns { for i in 0..<rows { w[i * columns + dead] = 0 } }
        }
        let errors = Buffer<Float>(uninitialized: rows * min(widths.block, max(columns, 1)))
        let scales = request.values == .int4 ? Buffer<Float>(repeating: 0, count: rows) : nil
        for start in stride(from: 0, to: columns, by: widths.block) {
            let block = start..<min(start + widths.block, columns)
            for first in stride(from: start, to: block.upperBound, by: widths.window) {
                let window = first..<min(first + widths.window, block.upperBound)
                let chosen = try Selection.mask(
                    scores: saliency(weight, factor, window), pattern: request.pattern,
                    sparsity: shares.next(columns: window.count))
                weight.withMutablePointer { w in
                    eliminate(
                        w, columns: columns, chosen, window: window, block: block, factor, errors.pointer,
                        scales: scales?.pointer)
                }
                mask.remove(chosen, at: first)
            }
            let rest = columns - block.upperBound
            weight.withMutablePointer { w in
                factor.upper.withPointer { u in
                    LinearAlgebra.parallelGemm(
                        m: rows, n: rest, k: block.count, alpha: -1, errors.pointer, leadingA: block.count,
                        u + start * columns + block.upperBound, leadingB: columns, beta: 1,
                        into: w + block.upperBound, leadingC: columns)
                }
            }
        }
        return mask
    }

    /// `w² / U_jj²` for the columns of a window.
    private func saliency(_ weight: Tensor<Float>, _ factor: InverseFactor, _ window: Range<Int>) -> Tensor<Float> {
        let (rows, columns, width) = (weight.rows, weight.columns, window.count)
        let scales = factor.upper.withPointer { u in
            window.map { j in 1 / (u[j * columns + j] * u[j * columns + j]) }
        }
        var result = Tensor<Float>(uninitialized: [rows, width])
        weight.withPointer { w in
            scales.withUnsafeBufferPointer { scales in
                result.withMutablePointer { target in
                    Parallel.forRanges(rows, grain: max(1, 65536 / width)) { range in
                        for i in range {
                            let row = w + i * columns + window.lowerBound
                            for j in 0..<width { target[i * width + j] = row[j] * row[j] * scales[j] }
                        }
                    }
                }
            }
        }
        return result
    }

    /// Removes what `chosen` removes and rounds what it keeps, corrects the columns of the block behind it, and notes the errors
    /// for those behind the block.
    ///
    /// - Parameter scales: Of each row's group at the beginning of the window; nil to round nothing.
    private func eliminate(
        _ weight: UnsafeMutablePointer<Float>, columns: Int, _ chosen: SparsePattern, window: Range<Int>,
        block: Range<Int>, _ factor: InverseFactor, _ errors: UnsafeMutablePointer<Float>,
        scales: UnsafeMutablePointer<Float>?
    ) {
        let removed = chosen.inverted()
        let (first, end) = (window.lowerBound, block.upperBound)
        factor.upper.withPointer { u in
            Parallel.forRanges(chosen.rows, grain: max(1, 32768 / (window.count * block.count))) { range in
                for i in range {
                    let row = weight + i * columns
                    let error = errors + i * block.count
                    func replace(_ j: Int, by value: Float) {
                        let direction = u + j * columns
                        let e = (row[j] - value) / direction[j]
                        error[j - block.lowerBound] = e
                        row[j] = value
                        if e != 0 { for t in j + 1..<max(end, j + 1) { row[t] -= e * direction[t] } }
                    }
                    guard let scales else {
                        for j in window { error[j - block.lowerBound] = 0 }
                        removed.forEachKeptColumn(row: i) { replace(first + $0, by: 0) }
                        continue
                    }
                    for j in window {
                        if j % Quantization.int4Group == 0 {
                            scales[i] = Self.scale(row, from: j, columns: columns) { j in
                                window.contains(j) && removed[i, j - first]
                            }
                        }
                        let scale = scales[i]
                        let code = removed[i, j - first] ? 0 : Quantization.int4Code(row[j], BFloat16(scale))
                        replace(j, by: scale * Float(code))
                    }
                }
            }
        }
    }

    /// The scale of the group that begins at column `start`, of what is known to stay.
    private static func scale(
        _ row: UnsafePointer<Float>, from start: Int, columns: Int, isRemoved: (Int) -> Bool
    ) -> Float {
        let group = start..<min(start + Quantization.int4Group, columns)
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: group.count) { values in
            for j in group { values.initializeElement(at: j - start, to: isRemoved(j) ? 0 : row[j]) }
            return Quantization.int4Scale(values.baseAddress!, count: group.count).float
        }
    }
}

/// Shares a sparsity out among the windows of a sweep so that their counts add up to the matrix's exactly.
private struct WindowShares {
    let pattern: Pattern
    let sparsity: Double?
    let rows: Int
    private var seen = 0
    private var removed = 0

    init(_ request: PruningRequest, rows: Int) {
        (pattern, sparsity, self.rows) = (request.pattern, request.sparsity, rows)
    }

    /// The sparsity of the next window.
    mutating func next(columns: Int) -> Double? {
        guard let sparsity, case .scope = pattern.competition, sparsity >= 0, sparsity <= 1 else { return sparsity }
        let units = units(columns)
        if units == 0 { return sparsity }
        seen += units
        let share = Selection.removedCount(sparsity: sparsity, of: seen) - removed
        removed += share
        return Double(share) / Double(units)
    }

    /// How many things compete in a window.
    private func units(_ columns: Int) -> Int {
        let isByRow = pattern.competition == .scope(.row)
        switch pattern.unit {
        case .entry: return isByRow ? columns : rows * columns
        case .block(let height, let width):
            return (isByRow ? 1 : (rows + height - 1) / height) * ((columns + width - 1) / width)
        case .rows(let size): return (rows + size - 1) / size
        case .columns(let size): return (columns + size - 1) / size
        }
    }
}

extension SparsePattern {
    /// Removes, in the columns from `first` on, what `window` removes.
    fileprivate mutating func remove(_ window: SparsePattern, at first: Int) {
        let removed = window.inverted()
        withMutableWords { words, wordsPerRow in
            for row in 0..<removed.rows {
                removed.forEachKeptColumn(row: row) { column in
                    let place = first + column
                    words[row * wordsPerRow + place / 64] &= ~(1 << UInt64(place % 64))
                }
            }
        }
    }
}
