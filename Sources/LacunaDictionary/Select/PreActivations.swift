import CLacuna
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// The product of inputs with an encoder, of which only what a competition leaves is ever kept.
///
/// The full matrix [tokens, features] exists a tile at a time, in memory that stays in the caches. How it is cut
/// depends on shapes alone, so results do not depend on the number of threads.
struct PreActivations {
    /// [tokens, inputs].
    let inputs: Tensor<Float>
    /// [features, inputs].
    let weight: UnsafePointer<Float>
    /// [features], added to the products.
    let bias: [Float]
    /// Multiplies what competes; nil for nothing.
    var gradients: GradientTerm?
    /// What scores are multiplied by, such as the norm of a feature's direction; nil for 1.
    var featureScale: [Float]?

    /// The downstream term of ``SelectionRule/gradientAware(_:strength:)``.
    struct GradientTerm {
        /// [tokens, outputs].
        let gradients: Tensor<Float>
        /// [features, outputs].
        let decoder: UnsafePointer<Float>
        /// β divided by the root mean square of `g·d`.
        let factor: Float
    }

    /// What is kept.
    enum Competition {
        /// The largest of every token.
        case token(Int)
        /// The largest of all tokens together.
        case batch(Int)
        /// The largest of every feature.
        case feature([Int])
        /// Those above a number for each feature, or one for all.
        case above([Float])
    }

    private var tokens: Int { inputs.rows }
    private var width: Int { bias.count }

    /// Rows of a tile: enough for the matrix product to be worth its preparation, few enough for the caches.
    private static let tileRows = 256

    /// Memory of tiles, which threads hand on: fresh memory for every tile would cost as much as reading it several
    /// times.
    private final class TileMemory: @unchecked Sendable {
        private let free = Locked<[Buffer<Float>]>([])
        private let size: Int

        init(_ size: Int) { self.size = size }

        func with<Result>(_ body: (UnsafeMutablePointer<Float>) -> Result) -> Result {
            let buffer = free.withLock { $0.popLast() } ?? Buffer<Float>(uninitialized: size)
            defer { free.withLock { $0.append(buffer) } }
            return body(buffer.pointer)
        }
    }

    /// The code of every token [tokens, features]: pre-activations where they win, nothing elsewhere.
    ///
    /// - Parameter signed: Whether magnitudes compete; otherwise only positive entries are kept.
    func selected(_ competition: Competition, signed: Bool) -> SparseMatrix<Float> {
        selected(competition, signed: signed, rank: 0) { [$0] }
    }

    /// The same where other processes have other tokens, which compete with those of this one as if they stood before and
    /// behind them.
    ///
    /// - Parameters:
    ///   - rank: Which of the processes this is.
    ///   - gather: Gives the scores of all, by rank: only those that could win travel.
    func selected(
        _ competition: Competition, signed: Bool, rank: Int, gather: ([Float]) throws -> [[Float]]
    ) rethrows -> SparseMatrix<Float> {
        switch competition {
        case .feature(let counts): try byFeature(counts, signed: signed, rank: rank, gather: gather)
        case .batch(let total): try byBatch(total, signed: signed, rank: rank, gather: gather)
        case .token, .above: byToken(competition, signed: signed)
        }
    }

    /// Kept entries of consecutive rows.
    private struct Kept {
        var counts: [Int] = []
        var columns: [UInt32] = []
        var values: [Float] = []
        /// Scores that compete further, if they are not the values.
        var scores: [Float] = []
    }

    // MARK: Tiles

    /// Calls `body` for every tile of rows with the pre-activations [rows, features].
    private func forEachTile(_ body: (_ tile: Int, _ rows: Range<Int>, _ values: UnsafeMutablePointer<Float>) -> Void) {
        let d = inputs.columns
        let memory = TileMemory(min(Self.tileRows, tokens) * width)
        inputs.withPointer { x in
            bias.withUnsafeBufferPointer { bias in
                Parallel.forEach(tileCount) { tile in
                    let rows = tile * Self.tileRows..<min((tile + 1) * Self.tileRows, tokens)
                    memory.with { values in
                        LinearAlgebra.gemm(
                            m: rows.count, n: width, k: d, x + rows.lowerBound * d, leadingA: d, weight, leadingB: d,
                            transposedB: true, into: values, leadingC: width)
                        Float.kernels.pointee.add_row(values, bias.baseAddress, values, rows.count, width, 0)
                        body(tile, rows, values)
                    }
                }
            }
        }
    }

    private var tileCount: Int { (tokens + Self.tileRows - 1) / Self.tileRows }

    /// What competes, for a tile's pre-activations: magnitudes or positive parts, times the factors.
    private func scores(
        _ values: UnsafePointer<Float>, _ rows: Range<Int>, signed: Bool, into scores: UnsafeMutablePointer<Float>
    ) {
        let n = rows.count * width
        Float.kernels.pointee.unary(Int32(signed ? LK_ABS : LK_RELU), values, scores, n)
        if let featureScale {
            featureScale.withUnsafeBufferPointer {
                Float.kernels.pointee.multiply_row(scores, $0.baseAddress, scores, rows.count, width, 0)
            }
        }
        guard let gradients else { return }
        let d = gradients.gradients.columns
        let slopes = Buffer<Float>(uninitialized: n)
        gradients.gradients.withPointer { g in
            LinearAlgebra.gemm(
                m: rows.count, n: width, k: d, g + rows.lowerBound * d, leadingA: d, gradients.decoder, leadingB: d,
                transposedB: true, into: slopes.pointer, leadingC: width)
        }
        Float.kernels.pointee.unary(Int32(LK_ABS), slopes.pointer, slopes.pointer, n)
        Float.kernels.pointee.affine(Double(gradients.factor), slopes.pointer, 1, slopes.pointer, n, 0)
        Float.kernels.pointee.binary(Int32(LK_MULTIPLY), scores, slopes.pointer, scores, n, 0)
    }

    /// Whether what competes is something other than the values themselves.
    private func needsScores(signed: Bool) -> Bool { signed || gradients != nil || featureScale != nil }

    // MARK: Competitions

    private func byToken(_ competition: Competition, signed: Bool) -> SparseMatrix<Float> {
        var parts = [Kept](repeating: Kept(), count: tileCount)
        parts.withUnsafeMutableBufferPointer { parts in
            let target = UncheckedTarget(parts.baseAddress)
            forEachTile { tile, rows, values in
                var kept = Kept()
                kept.counts.reserveCapacity(rows.count)
                let compared: UnsafeMutablePointer<Float>
                let own: Buffer<Float>?
                if needsScores(signed: signed) {
                    own = Buffer<Float>(uninitialized: rows.count * width)
                    scores(values, rows, signed: signed, into: own!.pointer)
                    compared = own!.pointer
                } else {
                    own = nil
                    compared = values
                }
                let words = Buffer<UInt64>(uninitialized: (width + 63) / 64)
                for r in 0..<rows.count {
                    let (row, score) = (values + r * width, compared + r * width)
                    let before = kept.columns.count
                    switch competition {
                    case .token(let k):
                        Float.markLargest(score, width, min(k, width), words.pointer)
                        for w in 0..<words.count {
                            var rest = words.pointer[w]
                            while rest != 0 {
                                let j = w * 64 + rest.trailingZeroBitCount
                                rest &= rest - 1
                                if score[j] > 0 {
                                    kept.columns.append(UInt32(j))
                                    kept.values.append(row[j])
                                }
                            }
                        }
                    case .above(let limits):
                        limits.withUnsafeBufferPointer { limits in
                            if limits.count == 1 {
                                let limit = limits[0]
                                for j in 0..<width where score[j] > limit {
                                    kept.columns.append(UInt32(j))
                                    kept.values.append(row[j])
                                }
                            } else {
                                for j in 0..<width where score[j] > limits[j] {
                                    kept.columns.append(UInt32(j))
                                    kept.values.append(row[j])
                                }
                            }
                        }
                    default: break
                    }
                    kept.counts.append(kept.columns.count - before)
                }
                withExtendedLifetime(own) {}
                target.pointer![tile] = kept
            }
        }
        return assembled(parts, rows: tokens, columns: width)
    }

    private func byBatch(
        _ total: Int, signed: Bool, rank: Int, gather: ([Float]) throws -> [[Float]]
    ) rethrows -> SparseMatrix<Float> {
        // Each tile keeps what could win if it won everything; then the winners of all tiles compete.
        var parts = [Kept](repeating: Kept(), count: tileCount)
        parts.withUnsafeMutableBufferPointer { parts in
            let target = UncheckedTarget(parts.baseAddress)
            forEachTile { tile, rows, values in
                let n = rows.count * width
                let score = Buffer<Float>(uninitialized: n)
                scores(values, rows, signed: signed, into: score.pointer)
                // Not a number anywhere leaves nothing: the loss then says so.
                let line = RankThreshold(smallest: max(0, n - total), of: score.pointer, count: n)
                var kept = Kept()
                var skipped = 0
                for r in 0..<rows.count {
                    let before = kept.columns.count
                    if let line {
                        for j in 0..<width {
                            let s = score.pointer[r * width + j]
                            if s < line.value || s <= 0 { continue }
                            if s == line.value && skipped < line.ties {
                                skipped += 1
                                continue
                            }
                            kept.columns.append(UInt32(j))
                            kept.values.append(values[r * width + j])
                            kept.scores.append(s)
                        }
                    }
                    kept.counts.append(kept.columns.count - before)
                }
                target.pointer![tile] = kept
            }
        }
        let everywhere = try gather(parts.flatMap(\.scores))
        let all = everywhere.flatMap(\.self)
        if all.count > total, let line = RankThreshold(smallest: all.count - total, of: all, count: all.count) {
            // Of equals the first are left out, wherever they are.
            var skipped = everywhere[..<rank].reduce(0) { $0 + $1.count { $0 == line.value } }
            for tile in parts.indices {
                let old = parts[tile]
                var kept = Kept()
                var i = 0
                for count in old.counts {
                    let before = kept.columns.count
                    for e in i..<i + count {
                        let s = old.scores[e]
                        if s < line.value { continue }
                        if s == line.value && skipped < line.ties {
                            skipped += 1
                            continue
                        }
                        kept.columns.append(old.columns[e])
                        kept.values.append(old.values[e])
                    }
                    i += count
                    kept.counts.append(kept.columns.count - before)
                }
                parts[tile] = kept
            }
        }
        return assembled(parts, rows: tokens, columns: width)
    }

    private func byFeature(
        _ counts: [Int], signed: Bool, rank: Int, gather: ([Float]) throws -> [[Float]]
    ) rethrows -> SparseMatrix<Float> {
        let d = inputs.columns
        let tiles = (width + Self.tileRows - 1) / Self.tileRows
        var parts = [Kept](repeating: Kept(), count: tiles)
        parts.withUnsafeMutableBufferPointer { parts in
            let target = UncheckedTarget(parts.baseAddress)
            inputs.withPointer { x in
                Parallel.forEach(tiles) { tile in
                    let features = tile * Self.tileRows..<min((tile + 1) * Self.tileRows, width)
                    let n = features.count * tokens
                    let values = Buffer<Float>(uninitialized: n)
                    LinearAlgebra.gemm(
                        m: features.count, n: tokens, k: d, weight + features.lowerBound * d, leadingA: d, x,
                        leadingB: d, transposedB: true, into: values.pointer, leadingC: tokens)
                    let score = Buffer<Float>(uninitialized: tokens)
                    let words = Buffer<UInt64>(uninitialized: (tokens + 63) / 64)
                    var kept = Kept()
                    for (i, j) in features.enumerated() {
                        let row = values.pointer + i * tokens
                        Float.kernels.pointee.affine(1, row, Double(bias[j]), row, tokens, 0)
                        Float.kernels.pointee.unary(
                            Int32(signed ? LK_ABS : LK_RELU), row, score.pointer, tokens)
                        Float.markLargest(score.pointer, tokens, min(counts[j], tokens), words.pointer)
                        let before = kept.columns.count
                        for w in 0..<words.count {
                            var rest = words.pointer[w]
                            while rest != 0 {
                                let t = w * 64 + rest.trailingZeroBitCount
                                rest &= rest - 1
                                if score.pointer[t] > 0 {
                                    kept.columns.append(UInt32(t))
                                    kept.values.append(row[t])
                                }
                            }
                        }
                        kept.counts.append(kept.columns.count - before)
                    }
                    target.pointer![tile] = kept
                }
            }
        }
        // What could win here competes with what could win elsewhere: a feature's scores, with their number before them.
        let own = parts.flatMap { part in
            var place = 0
            return part.counts.map { count in
                defer { place += count }
                return part.values[place..<place + count].map { signed ? abs($0) : $0 }
            }
        }
        let everywhere = try gather(own.flatMap { [Float($0.count)] + $0 })
        if everywhere.count > 1 {
            let all = everywhere.map { Self.lists($0, width) }
            var feature = 0
            for tile in parts.indices {
                let old = parts[tile]
                var (kept, place) = (Kept(), 0)
                for count in old.counts {
                    let before = kept.columns.count
                    let scores = all.flatMap { $0[feature] }
                    let surplus = max(0, scores.count - counts[feature])
                    if let line = RankThreshold(smallest: surplus, of: scores, count: scores.count) {
                        var skipped = all[..<rank].reduce(0) { $0 + $1[feature].count { $0 == line.value } }
                        for i in 0..<count {
                            let s = own[feature][i]
                            if s < line.value { continue }
                            if s == line.value && skipped < line.ties {
                                skipped += 1
                                continue
                            }
                            kept.columns.append(old.columns[place + i])
                            kept.values.append(old.values[place + i])
                        }
                    }
                    kept.counts.append(kept.columns.count - before)
                    place += count
                    feature += 1
                }
                parts[tile] = kept
            }
        }
        return assembled(parts, rows: width, columns: tokens).transposed()
    }

    /// Lists that are written one after the other, each with its length before it.
    private static func lists(_ numbers: [Float], _ count: Int) -> [ArraySlice<Float>] {
        var place = 0
        return (0..<count).map { _ in
            let from = place + 1
            place = from + Int(numbers[place])
            return numbers[from..<place]
        }
    }

    private func assembled(_ parts: [Kept], rows: Int, columns: Int) -> SparseMatrix<Float> {
        let starts = Buffer<Int>(repeating: 0, count: rows + 1)
        let total = parts.reduce(0) { $0 + $1.columns.count }
        let (indices, values) = (Buffer<UInt32>(uninitialized: total), Buffer<Float>(uninitialized: total))
        var (row, place) = (0, 0)
        for part in parts {
            part.columns.withUnsafeBufferPointer {
                if let base = $0.baseAddress { (indices.pointer + place).update(from: base, count: $0.count) }
            }
            part.values.withUnsafeBufferPointer {
                if let base = $0.baseAddress { (values.pointer + place).update(from: base, count: $0.count) }
            }
            place += part.columns.count
            for count in part.counts {
                starts.pointer[row + 1] = starts.pointer[row] + count
                row += 1
            }
        }
        return SparseMatrix(
            SparsePattern(rows: rows, columns: columns, starts: starts, columnIndices: indices), buffer: values)
    }
}

/// Memory that the items of a parallel loop write to at places of their own.
struct UncheckedTarget<T>: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<T>?
    init(_ pointer: UnsafeMutablePointer<T>?) { self.pointer = pointer }
}
