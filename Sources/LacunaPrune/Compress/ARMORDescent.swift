import LacunaLearn
import LacunaSparse
import LacunaTensor

/// The block coordinate descent of ``ARMOR`` on one matrix, between unit rows and columns.
struct ARMORDescent {
    /// The lengths that were taken out of rows and columns.
    struct Scales {
        var rows: [Float]
        var columns: [Float]
    }

    /// Wrappers and core.
    struct State {
        /// `A` [outputs, blockSize]: row i has the entries of its block's columns.
        var a: Tensor<Float>
        /// `C` [outputs, inputs], 0 where nothing is kept.
        var core: Tensor<Float>
        var mask: SparsePattern
        /// `B` [inputs, blockSize], as `A`.
        var b: Tensor<Float>

        /// The three factors of the matrix itself: dense block-diagonal `diag(r₂) A`, the core, `B diag(r₁)`.
        func unscaled(_ scales: Scales) -> (
            a: Tensor<Float>, core: (values: Tensor<Float>, mask: SparsePattern), b: Tensor<Float>
        ) {
            func diagonal(_ blocks: Tensor<Float>, _ scale: (_ row: Int, _ column: Int) -> Float) -> Tensor<Float> {
                let (size, side) = (blocks.rows, blocks.columns)
                var result = Tensor<Float>(zeros: [size, size])
                blocks.withPointer { source in
                    result.withMutablePointer { target in
                        for i in 0..<size {
                            let first = i / side * side
                            for j in first..<min(first + side, size) {
                                target[i * size + j] = source[i * side + j - first] * scale(i, j)
                            }
                        }
                    }
                }
                return result
            }
            return (
                diagonal(a) { row, _ in scales.rows[row] }, (core, mask),
                diagonal(b) { _, column in scales.columns[column] }
            )
        }
    }

    let settings: ARMOR
    let scales: Scales
    private(set) var best: State
    /// The loss of the best state.
    private(set) var loss: Double
    /// The loss after every step on groups, and before it.
    private(set) var steps: [(before: Double, after: Double)] = []

    private let n: Int
    private let m: Int
    private let stream: UInt64
    /// `W̄`.
    private let target: Tensor<Float>
    private let energy: [Float]
    private let norm: Double
    private let rows: Int
    private let columns: Int
    private let side: Int
    /// The supports of a group of so many columns: n of them, as bits.
    private let supports: [[Int]]

    init(_ settings: ARMOR, _ weight: Tensor<Float>, _ energy: [Float], n: Int, m: Int, stream: UInt64) throws {
        self.settings = settings
        (self.n, self.m, self.stream, self.energy) = (n, m, stream, energy)
        (rows, columns, side) = (weight.rows, weight.columns, settings.blockSize)
        (target, scales) = Self.normalized(weight)
        supports = (0...m).map { width in (0..<1 << width).filter { $0.nonzeroBitCount == min(n, width) } }
        let (width, target) = (columns, target)
        var scores = target
        var sum = 0.0
        scores.withMutablePointer { p in
            for i in 0..<target.count {
                p[i] = p[i] * p[i] * energy[i % width]
                sum += Double(p[i])
            }
        }
        norm = sum > 0 ? sum : 1
        let mask = try Selection.mask(scores: scores, pattern: .nm(n: n, m: m), sparsity: nil)
        func identity(_ size: Int, _ side: Int) -> Tensor<Float> {
            var blocks = Tensor<Float>(zeros: [size, side])
            blocks.withMutablePointer { p in for i in 0..<size { p[i * side + i % side] = 1 } }
            return blocks
        }
        best = State(
            a: identity(rows, side), core: mask.applied(to: target), mask: mask, b: identity(columns, side))
        loss = 0
        loss = forward(best).loss
    }

    /// Columns, then rows, of length 1 (a little is added to the lengths, so that zeros stay zeros).
    private static func normalized(_ weight: Tensor<Float>) -> (Tensor<Float>, Scales) {
        let (rows, columns) = (weight.rows, weight.columns)
        var result = weight
        var byColumn = [Double](repeating: 0, count: columns)
        var byRow = [Float](repeating: 0, count: rows)
        var lengths = [Float](repeating: 0, count: columns)
        result.withMutablePointer { p in
            for i in 0..<rows {
                for j in 0..<columns { byColumn[j] += Double(p[i * columns + j] * p[i * columns + j]) }
            }
            for j in 0..<columns { lengths[j] = Float(byColumn[j].squareRoot()) + 1e-5 }
            for i in 0..<rows {
                var sum = 0.0
                for j in 0..<columns {
                    p[i * columns + j] /= lengths[j]
                    sum += Double(p[i * columns + j] * p[i * columns + j])
                }
                byRow[i] = Float(sum.squareRoot()) + 1e-5
                for j in 0..<columns { p[i * columns + j] /= byRow[i] }
            }
        }
        return (result, Scales(rows: byRow, columns: lengths))
    }

    // MARK: The loss and its gradients

    private func block(_ index: Int, of size: Int) -> Range<Int> { index * side..<min((index + 1) * side, size) }
    private func blocks(of size: Int) -> Int { (size + side - 1) / side }

    /// `W̄ - A C B` and the loss.
    private func forward(_ state: State) -> (error: Tensor<Float>, product: Tensor<Float>, loss: Double) {
        let (width, side) = (columns, side)
        var product = Tensor<Float>(uninitialized: [rows, columns])  // C B
        var error = target
        state.core.withPointer { core in
            state.b.withPointer { b in
                product.withMutablePointer { p in
                    Parallel.forEach(blocks(of: columns)) { j in
                        let part = block(j, of: columns)
                        LinearAlgebra.gemm(
                            m: rows, n: part.count, k: part.count, core + part.lowerBound, leadingA: width,
                            b + part.lowerBound * side, leadingB: side, into: p + part.lowerBound, leadingC: width)
                    }
                }
            }
        }
        let partial = Buffer<Double>(repeating: 0, count: blocks(of: rows))
        state.a.withPointer { a in
            product.withPointer { p in
                error.withMutablePointer { e in
                    energy.withUnsafeBufferPointer { h in
                        Parallel.forEach(blocks(of: rows)) { i in
                            let part = block(i, of: rows)
                            LinearAlgebra.gemm(
                                m: part.count, n: width, k: part.count, alpha: -1, a + part.lowerBound * side,
                                leadingA: side, p + part.lowerBound * width, leadingB: width, beta: 1,
                                into: e + part.lowerBound * width, leadingC: width)
                            var sum = 0.0
                            for row in part {
                                for c in 0..<width {
                                    let x = e[row * width + c]
                                    sum += Double(x * x * h[c])
                                }
                            }
                            partial.pointer[i] = sum
                        }
                    }
                }
            }
        }
        return (error, product, partial.elements.reduce(0, +) / norm)
    }

    private struct Gradients {
        var a: Tensor<Float>
        /// With respect to all entries of the core, those that are 0 included.
        var core: Tensor<Float>
        var b: Tensor<Float>
    }

    private func gradients(_ state: State, _ error: Tensor<Float>, _ product: Tensor<Float>) -> Gradients {
        let (width, side) = (columns, side)
        var slope = error  // of the loss by A C B
        let factor = Float(-2 / norm)
        slope.withMutablePointer { g in
            energy.withUnsafeBufferPointer { h in
                Parallel.forRanges(rows, grain: max(1, 65536 / max(width, 1))) { range in
                    for row in range { for c in 0..<width { g[row * width + c] *= factor * h[c] } }
                }
            }
        }
        var a = Tensor<Float>(zeros: [rows, side])
        var turned = Tensor<Float>(uninitialized: [rows, columns])  // Aᵀ slope
        slope.withPointer { g in
            product.withPointer { p in
                state.a.withPointer { wrapper in
                    a.withMutablePointer { a in
                        turned.withMutablePointer { t in
                            Parallel.forEach(blocks(of: rows)) { i in
                                let part = block(i, of: rows)
                                let start = part.lowerBound * width
                                LinearAlgebra.gemm(
                                    m: part.count, n: part.count, k: width, g + start, leadingA: width, p + start,
                                    leadingB: width, transposedB: true, into: a + part.lowerBound * side,
                                    leadingC: side)
                                LinearAlgebra.gemm(
                                    m: part.count, n: width, k: part.count, wrapper + part.lowerBound * side,
                                    leadingA: side, transposedA: true, g + start, leadingB: width, into: t + start,
                                    leadingC: width)
                            }
                        }
                    }
                }
            }
        }
        var b = Tensor<Float>(zeros: [columns, side])
        var core = Tensor<Float>(uninitialized: [rows, columns])
        turned.withPointer { t in
            state.core.withPointer { values in
                state.b.withPointer { wrapper in
                    b.withMutablePointer { b in
                        core.withMutablePointer { core in
                            Parallel.forEach(blocks(of: columns)) { j in
                                let part = block(j, of: columns)
                                LinearAlgebra.gemm(
                                    m: part.count, n: part.count, k: rows, values + part.lowerBound, leadingA: width,
                                    transposedA: true, t + part.lowerBound, leadingB: width,
                                    into: b + part.lowerBound * side, leadingC: side)
                                LinearAlgebra.gemm(
                                    m: rows, n: part.count, k: part.count, t + part.lowerBound, leadingA: width,
                                    wrapper + part.lowerBound * side, leadingB: side, transposedB: true,
                                    into: core + part.lowerBound, leadingC: width)
                            }
                        }
                    }
                }
            }
        }
        return Gradients(a: a, core: core, b: b)
    }

    // MARK: The descent

    /// Goes through all iterations.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the loss is no number.
    mutating func descend() throws {
        var state = best
        let parameters = [Parameter(state.a), Parameter(state.core), Parameter(state.b)]
        let adam = Adam(learningRate: settings.learningRate)
        var seen = forward(state)
        for iteration in 0..<settings.iterations {
            let slopes = gradients(state, seen.error, seen.product)
            for (parameter, gradient) in zip(parameters, [slopes.a, state.mask.applied(to: slopes.core), slopes.b]) {
                gradient.withPointer { parameter.gradientPointer.update(from: $0, count: parameter.count) }
            }
            adam.steps += 1
            for parameter in parameters { adam.update(parameter, offset: 0, count: parameter.count) }
            (state.a, state.core, state.b) = (parameters[0].value, parameters[1].value, parameters[2].value)
            seen = forward(state)
            note(state, seen.loss)
            if settings.movesCore {
                let before = seen.loss
                let changed = moveGroups(&state, seen.error, gradients(state, seen.error, seen.product).core, iteration)
                forget(changed, parameters[1])
                parameters[1].value = state.core
                seen = forward(state)
                steps.append((before, seen.loss))
                note(state, seen.loss)
            }
            if !seen.loss.isFinite {
                throw LacunaError.numerical(
                    operation: settings.card.name, reason: "the loss is no number at a rate of \(settings.learningRate)"
                )
            }
        }
    }

    private mutating func note(_ state: State, _ loss: Double) {
        if loss < self.loss { (best, self.loss) = (state, loss) }
    }

    /// What Adam remembers of entries that were set anew is of other numbers.
    private func forget(_ entries: [Int], _ core: Parameter<Float>) {
        for name in ["first", "second"] {
            let slot = core.slot(name)
            for entry in entries { slot[entry] = 0 }
        }
    }

    /// One group in every pair of blocks becomes the best that it can be while everything else stays. Pairs do not meet in
    /// any entry of `A C B`, so the order does not matter.
    ///
    /// - Returns: The entries of the groups.
    private func moveGroups(_ state: inout State, _ error: Tensor<Float>, _ slope: Tensor<Float>, _ iteration: Int)
        -> [Int]
    {
        let (width, across) = (columns, blocks(of: columns))
        let pairs = blocks(of: rows) * across
        let choices = Buffer<(row: Int, column: Int)>(repeating: (0, 0), count: pairs)
        let values = Buffer<Float>(repeating: 0, count: pairs * m)
        let kept = Buffer<Int>(repeating: 0, count: pairs)
        error.withPointer { e in
            slope.withPointer { g in
                state.a.withPointer { a in
                    state.b.withPointer { b in
                        state.core.withPointer { core in
                            Parallel.forEach(pairs) { pair in
                                let (i, j) = (block(pair / across, of: rows), block(pair % across, of: columns))
                                var generator = SeededGenerator(
                                    seed: settings.seed,
                                    stream: (stream << 40) ^ UInt64(iteration * pairs + pair))
                                let choice = group(g, i, j, generator.uniform())
                                choices.pointer[pair] = choice
                                kept.pointer[pair] = solve(
                                    choice, i, j, e, a, b, core, into: values.pointer + pair * m)
                            }
                        }
                    }
                }
            }
        }
        var changed: [Int] = []
        state.core.withMutablePointer { core in
            state.mask.withMutableWords { words, perRow in
                for pair in 0..<pairs where kept.pointer[pair] >= 0 {
                    let (row, column) = choices.pointer[pair]
                    for c in 0..<min(m, width - column) {
                        let (place, isKept) = (column + c, kept.pointer[pair] >> c & 1 == 1)
                        core[row * width + place] = values.pointer[pair * m + c]
                        changed.append(row * width + place)
                        let bit = UInt64(1) << UInt64(place % 64)
                        if isKept {
                            words[row * perRow + place / 64] |= bit
                        } else {
                            words[row * perRow + place / 64] &= ~bit
                        }
                    }
                }
            }
        }
        return changed
    }

    /// A group of a pair of blocks, by a uniform number: groups are as probable as their gradients' magnitudes say.
    private func group(_ slope: UnsafePointer<Float>, _ i: Range<Int>, _ j: Range<Int>, _ uniform: Double) -> (
        row: Int, column: Int
    ) {
        func size(_ row: Int, _ column: Int) -> Double {
            var sum = 0.0
            for c in column..<min(column + m, columns) { sum += Double(abs(slope[row * columns + c])) }
            return sum
        }
        var total = 0.0
        for row in i {
            for column in stride(from: j.lowerBound, to: j.upperBound, by: m) { total += size(row, column) }
        }
        var rest = uniform * total
        for row in i {
            for column in stride(from: j.lowerBound, to: j.upperBound, by: m) {
                rest -= size(row, column)
                if rest < 0 { return (row, column) }
            }
        }
        return (i.lowerBound, j.lowerBound)
    }

    /// The best support and values of a group.
    ///
    /// With `a` the column of `A` that meets the group's row, `B` the group's rows of its wrapper and `R` what the rest of the
    /// core leaves of the block: `y = B h Rᵀ a`, `K = B h Bᵀ`; values `K_SS⁻¹ y_S / ‖a‖²` gain `y_Sᵀ K_SS⁻¹ y_S / ‖a‖²`.
    ///
    /// - Returns: The support's bits; -1 where the group cannot change anything.
    private func solve(
        _ choice: (row: Int, column: Int), _ i: Range<Int>, _ j: Range<Int>, _ error: UnsafePointer<Float>,
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ core: UnsafePointer<Float>,
        into values: UnsafeMutablePointer<Float>
    ) -> Int {
        let (width, count) = (columns, min(m, columns - choice.column))
        let inner = choice.row - i.lowerBound
        var square = 0.0
        for row in i { square += Double(a[row * side + inner] * a[row * side + inner]) }
        guard square > 0 else { return -1 }
        // aᵀ R h, entry by entry.
        var pull = [Double](repeating: 0, count: j.count)
        for row in i {
            let weight = Double(a[row * side + inner])
            for (c, column) in j.enumerated() { pull[c] += weight * Double(error[row * width + column]) }
        }
        func wrapper(_ k: Int, _ c: Int) -> Double { Double(b[(choice.column + k) * side + c]) }
        for k in 0..<count {
            let value = Double(core[choice.row * width + choice.column + k])
            if value != 0 { for c in 0..<j.count { pull[c] += square * value * wrapper(k, c) } }
        }
        var y = [Double](repeating: 0, count: count)
        var gram = [Double](repeating: 0, count: count * count)
        for (c, column) in j.enumerated() {
            let h = Double(energy[column])
            for k in 0..<count {
                y[k] += wrapper(k, c) * h * pull[c]
                for l in 0...k { gram[k * count + l] += wrapper(k, c) * h * wrapper(l, c) }
            }
        }
        let damping = 1e-9 * (0..<count).reduce(0) { max($0, gram[$1 * count + $1]) }
        guard damping > 0 else { return -1 }
        for k in 0..<count {
            gram[k * count + k] += damping
            for l in 0..<k { gram[l * count + k] = gram[k * count + l] }
        }
        var best = (gain: -Double.infinity, support: -1, values: [Double]())
        for support in supports[count] {
            let members = (0..<count).filter { support >> $0 & 1 == 1 }
            guard let solution = Self.solve(gram, count, members, y) else { continue }
            let gain = zip(members, solution).reduce(0) { $0 + y[$1.0] * $1.1 }
            if gain > best.gain { best = (gain, support, solution) }
        }
        guard best.support >= 0 else { return -1 }
        for k in 0..<m { values[k] = 0 }
        for (member, value) in zip((0..<count).filter { best.support >> $0 & 1 == 1 }, best.values) {
            values[member] = Float(value / square)
        }
        return best.support
    }

    /// `K_SS⁻¹ y_S` by elimination with pivots on the diagonal; nil if one is not positive.
    private static func solve(_ gram: [Double], _ count: Int, _ members: [Int], _ y: [Double]) -> [Double]? {
        let n = members.count
        var matrix = members.map { row in members.map { gram[row * count + $0] } }
        var right = members.map { y[$0] }
        for k in 0..<n {
            guard matrix[k][k] > 0 else { return nil }
            for row in k + 1..<max(n, k + 1) {
                let factor = matrix[row][k] / matrix[k][k]
                for column in k..<n { matrix[row][column] -= factor * matrix[k][column] }
                right[row] -= factor * right[k]
            }
        }
        for k in (0..<n).reversed() {
            for column in k + 1..<max(n, k + 1) { right[k] -= matrix[k][column] * right[column] }
            right[k] /= matrix[k][k]
        }
        return right
    }
}
