import CLacuna
import LacunaTensor

/// One run of ``Selection``: units, their scores, a line through every set of competitors.
struct SelectionRun {
    let pattern: Pattern
    let amount: Amount
    let unitScore: Selection.UnitScore

    init(_ pattern: Pattern, _ amount: Amount, _ unitScore: Selection.UnitScore) throws {
        try pattern.validate()
        try amount.validate()
        if let (n, m, _) = pattern.group, amount != .count(n) {
            throw LacunaError.invalidArgument("amount", reason: "the pattern \(pattern) keeps \(n) of every \(m)")
        }
        if case (.every(let m, _), .count(let n)) = (pattern.competition, amount), n > m {
            throw LacunaError.invalidArgument("count", reason: "\(n) of every \(m) cannot be kept")
        }
        self.pattern = pattern
        self.amount = amount
        self.unitScore = unitScore
    }

    /// A matrix whose units compete.
    typealias Matrix = (name: String, scores: Tensor<Float>, within: SparsePattern?)

    func masks(of matrices: [Matrix]) throws -> [SparsePattern] {
        var grids: [UnitGrid] = []
        var units: [(name: String, scores: Tensor<Float>)] = []
        for (name, scores, within) in matrices {
            if scores.rank != 2 {
                throw LacunaError.invalidArgument(name, reason: "must be a matrix, not of shape \(scores.shape)")
            }
            let grid = UnitGrid(rows: scores.rows, columns: scores.columns, pattern.unit)
            var reduced = grid.reduced(scores, unitScore)
            if let within {
                guard within.rows == scores.rows && within.columns == scores.columns else {
                    throw LacunaError.invalidArgument(
                        "within", reason: "\(name): [\(within.rows), \(within.columns)] for \(scores.shape)")
                }
                Self.lower(&reduced, outside: grid.touched(by: within))
            }
            grids.append(grid)
            units.append((name, reduced))
        }
        let kept: [SparsePattern]
        switch pattern.competition {
        case .scope(.global): kept = try together(units)
        case .scope(.layer): kept = try units.flatMap { try together([$0]) }
        case .scope(.row): kept = try units.map(rowwise)
        case .every(let m, .input): kept = try units.map { try groups($0, m, alongRows: true) }
        case .every(let m, .output): kept = try units.map { try groups($0, m, alongRows: false) }
        }
        return matrices.indices.map { i in
            let mask = grids[i].expanded(kept[i])
            return matrices[i].within.map(mask.intersection) ?? mask
        }
    }

    private static func lower(_ scores: inout Tensor<Float>, outside mask: SparsePattern) {
        let outside = mask.inverted()
        scores.withMutablePointer { p in
            for r in 0..<mask.rows { outside.forEachKeptColumn(row: r) { p[r * mask.columns + $0] = -.infinity } }
        }
    }

    /// The error for scores that contain NaN, with the place of the first.
    private static func undefinedScore(_ scores: Tensor<Float>, _ name: String) -> LacunaError {
        let (count, width) = (scores.count, max(scores.columns, 1))
        let first = scores.withPointer { p in (0..<count).first { p[$0].isNaN } } ?? 0
        return .numerical(
            operation: "selection", reason: "\(name): the score at [\(first / width), \(first % width)] is not a number"
        )
    }

    // MARK: Lines

    /// How many of `n` competitors go, unless their scores have to be looked at to know.
    private func removed(of n: Int) throws -> Int? {
        switch amount {
        case .sparsity(let sparsity): return Selection.removedCount(sparsity: sparsity, of: n)
        case .count(let count):
            if count > n { throw LacunaError.invalidArgument("count", reason: "\(count) of \(n) cannot be kept") }
            return n - count
        case .above, .mass: return nil
        }
    }

    /// How many of the numbers go so that the rest is just a share of the sum; nil if one is negative or NaN.
    private static func removed(leaving share: Double, of numbers: [Float]) -> Int? {
        if !numbers.allSatisfy({ $0 >= 0 || $0 == -.infinity }) { return nil }
        // What lies outside of what may be kept counts for nothing.
        let sorted = numbers.sorted(by: >)
        let needed = share * sorted.reduce(0.0) { $0 + Double(max($1, 0)) }
        var (sum, kept) = (0.0, 0)
        while kept < sorted.count && sum < needed * (1 - 1e-12) {
            sum += Double(sorted[kept])
            kept += 1
        }
        return sorted.count - kept
    }

    /// The line through all units of some matrices.
    private func line(_ units: [(name: String, scores: Tensor<Float>)]) throws -> RankThreshold {
        func undefined() -> LacunaError {
            let bad = units.first { unit in
                unit.scores.withPointer { RankThreshold.hasNaN($0, unit.scores.count) }
            }
            guard let bad else {
                return .numerical(operation: "selection", reason: "a score is negative where shares are summed")
            }
            return Self.undefinedScore(bad.scores, bad.name)
        }
        let tensors = units.map(\.scores)
        if case .above(let number) = amount {
            guard RankThreshold(smallest: 0, of: tensors) != nil else { throw undefined() }
            return .through(number)
        }
        var k = try removed(of: tensors.reduce(0) { $0 + $1.count })
        if case .mass(let share) = amount { k = Self.removed(leaving: share, of: tensors.flatMap(\.scalars)) }
        guard let k, let line = RankThreshold(smallest: k, of: tensors) else { throw undefined() }
        return line
    }

    /// All units of some matrices compete.
    private func together(_ units: [(name: String, scores: Tensor<Float>)]) throws -> [SparsePattern] {
        let line = try line(units)
        var ties = line.ties
        return units.map { Self.above(line, $0.scores, ties: &ties) }
    }

    /// What lies above a line; takes its share from the `ties` that are still to be removed.
    private static func above(_ line: RankThreshold, _ scores: Tensor<Float>, ties: inout Int) -> SparsePattern {
        let (rows, columns) = (scores.rows, scores.columns)
        let grain = max(1, 65536 / max(columns, 1))
        let pieces = (rows + grain - 1) / grain
        // The ties that each piece has to remove: what is left after the pieces before it. Only needed if some stay.
        let shares = Buffer<Int>(repeating: ties, count: pieces)
        return scores.withPointer { p in
            if line.ties != line.equal {
                Parallel.forRanges(rows, grain: grain) { range in
                    var equal = 0
                    for i in range.lowerBound * columns..<range.upperBound * columns where p[i] == line.value {
                        equal += 1
                    }
                    shares.pointer[range.lowerBound / grain] = equal
                }
                for piece in 0..<pieces {
                    let share = min(ties, shares.pointer[piece])
                    shares.pointer[piece] = share
                    ties -= share
                }
            }
            return SparsePattern(
                rows: rows, columns: columns,
                words: { words, wordsPerRow in
                    Parallel.forRanges(rows, grain: grain) { range in
                        var ties = shares.pointer[range.lowerBound / grain]
                        for row in range {
                            ties -= min(
                                ties,
                                Kernels.best.mask_above(
                                    p + row * columns, columns, line.value, ties, words + row * wordsPerRow))
                        }
                    }
                })
        }
    }

    /// The units of every row compete.
    private func rowwise(_ units: (name: String, scores: Tensor<Float>)) throws -> SparsePattern {
        let (rows, columns) = (units.scores.rows, units.scores.columns)
        let fixed = try rows == 0 ? 0 : removed(of: columns)
        let failed = Buffer<Bool>(repeating: false, count: rows)
        let mask = units.scores.withPointer { p in
            SparsePattern(
                rows: rows, columns: columns,
                words: { words, wordsPerRow in
                    Parallel.forRanges(rows, grain: max(1, 32768 / max(columns, 1))) { range in
                        for row in range {
                            let start = p + row * columns
                            guard let line = line(start, columns, fixed) else {
                                failed.pointer[row] = true
                                continue
                            }
                            _ = Kernels.best.mask_above(
                                start, columns, line.value, line.ties, words + row * wordsPerRow)
                        }
                    }
                })
        }
        if failed.elements.contains(true) { throw failure(units) }
        return mask
    }

    /// The line through `count` numbers of which `fixed` go; nil if they do not allow one.
    private func line(_ numbers: UnsafePointer<Float>, _ count: Int, _ fixed: Int?) -> RankThreshold? {
        if let fixed { return RankThreshold(smallest: fixed, of: numbers, count: count) }
        if RankThreshold.hasNaN(numbers, count) { return nil }
        if case .above(let number) = amount { return .through(number) }
        guard case .mass(let share) = amount,
            let k = Self.removed(leaving: share, of: Array(UnsafeBufferPointer(start: numbers, count: count)))
        else { return nil }
        return RankThreshold(smallest: k, of: numbers, count: count)
    }

    private func failure(_ units: (name: String, scores: Tensor<Float>)) -> LacunaError {
        if units.scores.withPointer({ RankThreshold.hasNaN($0, units.scores.count) }) {
            return Self.undefinedScore(units.scores, units.name)
        }
        return .numerical(
            operation: "selection", reason: "\(units.name): a score is negative where shares are summed")
    }

    // MARK: Groups

    /// Every `m` consecutive units compete.
    private func groups(_ units: (name: String, scores: Tensor<Float>), _ m: Int, alongRows: Bool) throws
        -> SparsePattern
    {
        let (rows, columns) = (units.scores.rows, units.scores.columns)
        let n: Int? =
            switch amount {
            case .count(let n): n
            case .sparsity(let sparsity): m - Selection.removedCount(sparsity: sparsity, of: m)
            case .above, .mass: nil
            }
        if let n, Self.canCompare(units.scores, m, alongRows) {
            return GroupKernels.mask(units.scores, n: n, m: m, alongRows: alongRows)
        }
        // A band is what a group covers along the rows: bands share no word of the mask.
        let height = alongRows ? 1 : m
        let bands = (rows + height - 1) / height
        let failed = Buffer<Bool>(repeating: false, count: bands)
        let mask = units.scores.withPointer { p in
            SparsePattern(
                rows: rows, columns: columns,
                words: { words, wordsPerRow in
                    Parallel.forRanges(bands, grain: max(1, 65536 / max(columns * height, 1))) { range in
                        let numbers = Buffer<Float>(uninitialized: m)
                        /// Cuts the group of `size` units from [row, column] on.
                        func cut(row: Int, column: Int, size: Int) -> Bool {
                            let (downward, across) = alongRows ? (0, 1) : (1, 0)
                            for i in 0..<size {
                                numbers.pointer[i] = p[(row + i * downward) * columns + column + i * across]
                            }
                            let fixed = n.map { size - Selection.keptCount(n: $0, m: m, size: size) }
                            guard let line = line(numbers.pointer, size, fixed) else { return false }
                            var ties = line.ties
                            for i in 0..<size {
                                let x = numbers.pointer[i]
                                if x < line.value { continue }
                                if x == line.value && ties > 0 {
                                    ties -= 1
                                    continue
                                }
                                let c = column + i * across
                                words[(row + i * downward) * wordsPerRow + c / 64] |= 1 << UInt64(c % 64)
                            }
                            return true
                        }
                        for band in range {
                            let row = band * height
                            for column in stride(from: 0, to: columns, by: alongRows ? m : 1) {
                                let size = alongRows ? min(m, columns - column) : min(m, rows - row)
                                if !cut(row: row, column: column, size: size) { failed.pointer[band] = true }
                            }
                        }
                    }
                })
        }
        if failed.elements.contains(true) { throw failure(units) }
        return mask
    }

    /// Whether the kernels that compare magnitudes give what a line would: no score may be negative or NaN.
    private static func canCompare(_ scores: Tensor<Float>, _ m: Int, _ alongRows: Bool) -> Bool {
        guard GroupKernels.exist(m: m, alongRows: alongRows) else { return false }
        let count = scores.count
        return scores.withPointer { p in
            var bad: UInt32 = 0
            for i in 0..<count { bad |= p[i] >= 0 ? 0 : 1 }
            return bad == 0
        }
    }
}
