import LacunaTensor

/// Least squares: the loss on a set is `L₀ - ½ c_Sᵀ G_SS⁻¹ c_S` for the Gram matrix `G` of the columns and their products `c` with
/// the target, so that sets cost nothing but small factorisations.
final class QuadraticSubsets: SubsetSearch {
    let standing = BestSubset.Standing.exchanged
    private let design: any Design
    private let weights, means: [Double]
    private let products, diagonal: [Double]
    private let nullLoss: Double
    private let hasIntercept: Bool
    /// Rows of the Gram matrix that were needed.
    private var rows: [Int: [Double]] = [:]
    private var p: Int { products.count }
    /// What is left of a column beside others, below which it is a sum of them.
    private static let dependent = 1e-10

    init<F: Datafit>(_ problem: Problem<F, L1>) {
        let state = SolverState(problem, from: nil)
        design = problem.core.design
        weights = problem.datafit.weights
        means = problem.core.columns.means
        hasIntercept = problem.hasIntercept
        let columns = problem.core.columns
        products = (0..<problem.design.columns).map { columns.isVoid[$0] ? 0 : -state.gradient.pointer[$0] }
        diagonal = columns.isVoid.indices.map { columns.isVoid[$0] ? 0 : columns.squaredNorms.pointer[$0] }
        nullLoss = state.nullLoss
    }

    private func row(_ j: Int) -> [Double] {
        if let known = rows[j] { return known }
        var out = [Double](repeating: 0, count: p)
        let all = (0..<p).map { UInt32($0) }
        design.gram(
            [UInt32(j)], all, weights: weights, totalWeight: 1,
            means: hasIntercept ? (first: [means[j]], second: means) : nil, into: &out, leading: p)
        rows[j] = out
        return out
    }

    /// A set's factor, and for every column of the table what it has left beside the set: its product with what is left of the
    /// target, and its square.
    private struct Rest {
        var loss: Double
        var products: [Double]
        var squares: [Double]
    }

    /// By Gram and Schmidt on the columns of the set; nil if they depend on each other.
    private func rest(_ chosen: [Int]) -> Rest? {
        var rest = Rest(loss: nullLoss, products: products, squares: diagonal)
        var directions: [[Double]] = []
        for j in chosen {
            guard rest.squares[j] > Self.dependent * diagonal[j] else { return nil }
            let root = rest.squares[j].squareRoot()
            // Products of every column with the next orthonormal direction.
            var direction = row(j)
            for earlier in directions {
                let share = earlier[j]
                for i in 0..<p { direction[i] -= share * earlier[i] }
            }
            let along = rest.products[j] / root
            for i in 0..<p {
                direction[i] /= root
                rest.products[i] -= along * direction[i]
                rest.squares[i] -= direction[i] * direction[i]
            }
            rest.loss -= along * along / 2
            directions.append(direction)
        }
        return rest
    }

    private func best(_ rest: Rest, without taken: Set<Int>) -> (column: Int, gain: Double)? {
        var best: (column: Int, gain: Double)?
        for j in 0..<p where !taken.contains(j) && rest.squares[j] > Self.dependent * diagonal[j] {
            let gain = rest.products[j] * rest.products[j] / (2 * rest.squares[j])
            if gain > best?.gain ?? 0 { best = (j, gain) }
        }
        return best
    }

    func loss(_ chosen: [Int]) -> Double { rest(chosen)?.loss ?? .infinity }

    func grown(_ chosen: [Int]) -> [Int]? {
        rest(chosen).flatMap { best($0, without: Set(chosen)) }.map { chosen + [$0.column] }
    }

    func promising(_ size: Int) -> [Int] {
        var chosen: [Int] = []
        let gains = (0..<p).map { diagonal[$0] > 0 ? products[$0] * products[$0] / diagonal[$0] : 0 }
        for j in (0..<p).sorted(by: { (gains[$0], $1) > (gains[$1], $0) }) where chosen.count < size && gains[j] > 0 {
            if let rest = rest(chosen), rest.squares[j] > Self.dependent * diagonal[j] { chosen.append(j) }
        }
        return chosen
    }

    func exchanged(_ chosen: [Int]) -> [Int] {
        var chosen = chosen
        guard var loss = rest(chosen)?.loss else { return chosen }
        while true {
            var better: (set: [Int], loss: Double)?
            for j in chosen {
                let others = chosen.filter { $0 != j }
                guard let rest = rest(others), let found = best(rest, without: Set(others)) else { continue }
                let next = rest.loss - found.gain
                if next < (better?.loss ?? loss) - 1e-12 * nullLoss { better = (others + [found.column], next) }
            }
            guard let better else { return chosen }
            (chosen, loss) = better
        }
    }

    // MARK: Bounds

    func proven(_ chosen: [Int], maximumBounds: Int) throws -> [Int]? {
        let usable = (0..<p).filter { diagonal[$0] > 0 }
        guard usable.count <= 300, usable.count < weights.count, chosen.count < usable.count else {
            return chosen.count >= usable.count ? chosen : nil
        }
        // The inverse of the whole Gram matrix, which bounds need.
        let m = usable.count
        var gram = Tensor<Double>(zeros: [m, m])
        for (a, i) in usable.enumerated() {
            let row = row(i)
            for (b, j) in usable.enumerated() { gram[a, b] = row[j] / (diagonal[i] * diagonal[j]).squareRoot() }
        }
        guard let factor = try? gram.cholesky(),
            (0..<m).allSatisfy({ factor[$0, $0] * factor[$0, $0] > Self.dependent }),
            let inverse = try? factor.inverseFromCholesky()
        else { return nil }
        let scaled = usable.map { products[$0] / diagonal[$0].squareRoot() }
        let places = Dictionary(uniqueKeysWithValues: usable.enumerated().map { ($1, $0) })
        var search = BoundedSearch(
            size: chosen.count, best: chosen.compactMap { places[$0] }, loss: loss(chosen), slack: 1e-11 * nullLoss,
            left: maximumBounds)
        var coefficients = [Double](repeating: 0, count: m)
        var whole = nullLoss
        for a in 0..<m {
            for b in 0..<m { coefficients[a] += inverse[a, b] * scaled[b] }
            whole -= coefficients[a] * scaled[a] / 2
        }
        search.visit(
            Array(0..<m), forced: [], inverse: inverse.scalars, coefficients: coefficients, loss: whole)
        return search.left >= 0 ? search.best.map { usable[$0] } : nil
    }

    /// Leaves columns out one after another, and turns back where what is left fits no better than the best set so far.
    private struct BoundedSearch {
        let size: Int
        var best: [Int]
        var loss: Double
        let slack: Double
        var left: Int

        /// - Parameters:
        ///   - columns: What is not left out.
        ///   - forced: What stays, of these.
        ///   - inverse: Of the Gram matrix of the columns, [count, count].
        ///   - coefficients: Of least squares on the columns.
        mutating func visit(
            _ columns: [Int], forced: Set<Int>, inverse: [Double], coefficients: [Double], loss here: Double
        ) {
            left -= 1
            if left < 0 { return }
            let count = columns.count
            if count == size {
                if here < loss - slack { (best, loss) = (columns, here) }
                return
            }
            // What the loss rises by without each column; the dearest first, whose branch is the shortest.
            var forced = forced
            let rises = (0..<count).map { coefficients[$0] * coefficients[$0] / (2 * inverse[$0 * count + $0]) }
            for a in (0..<count).sorted(by: { (rises[$0], $1) > (rises[$1], $0) }) where !forced.contains(columns[a]) {
                if here + rises[a] < loss - slack {
                    var (rest, smaller, fewer): ([Int], [Double], [Double]) = ([], [], [])
                    rest.reserveCapacity(count - 1)
                    smaller.reserveCapacity((count - 1) * (count - 1))
                    let pivot = inverse[a * count + a]
                    for b in 0..<count where b != a {
                        rest.append(columns[b])
                        let share = inverse[b * count + a] / pivot
                        fewer.append(coefficients[b] - share * coefficients[a])
                        for c in 0..<count where c != a {
                            smaller.append(inverse[b * count + c] - share * inverse[a * count + c])
                        }
                    }
                    visit(rest, forced: forced, inverse: smaller, coefficients: fewer, loss: here + rises[a])
                    if left < 0 { return }
                }
                // Sets with this column and all that are forced would be too large.
                if forced.count == size { return }
                forced.insert(columns[a])
            }
        }
    }
}
