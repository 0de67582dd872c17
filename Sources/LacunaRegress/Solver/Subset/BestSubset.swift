import LacunaTensor

/// The columns, so many of them and no more, on which an unpenalised fit loses least.
///
/// Sets grow by one column at a time, and after each step columns are exchanged until that lowers the loss no more. For least
/// squares every exchange of one column for another is tried, by the Gram matrix of the columns concerned, and where there are
/// more rows than columns a search by bounds may prove that no set of that size is better. For other losses the columns that
/// matter least are spliced out for those that promise most.
///
/// Junxian Zhu, Canhong Wen, Jin Zhu, Heping Zhang, Xueqin Wang, "A Polynomial Algorithm for Best-Subset Selection Problem", PNAS
/// 2020, whose steps these are for losses in general; the bounds are those of George Furnival, Robert Wilson, "Regressions by
/// Leaps and Bounds", Technometrics 1974: no subset fits better than the set it is of.
public struct BestSubset: Sendable {
    /// How exact the fits are: a bound of ``Certificate/relative``.
    public var tolerance: Double
    /// Sets whose bounds are looked at for a proof; 0 for none.
    public var maximumBounds: Int
    /// Told about every size, and asked whether to stop.
    public var progress: (any ProgressReporter)?

    /// - Parameters:
    ///   - tolerance: Above 0.
    ///   - maximumBounds: At least 0.
    public init(tolerance: Double = 1e-9, maximumBounds: Int = 50_000, progress: (any ProgressReporter)? = nil) {
        require(tolerance > 0 && maximumBounds >= 0)
        self.tolerance = tolerance
        self.maximumBounds = maximumBounds
        self.progress = progress
    }

    /// What is known of a set beside its fit.
    public enum Standing: Sendable, Equatable {
        /// No set of this size fits better.
        case best
        /// No exchange of one column for another fits better.
        case exchanged
        /// No exchange of the columns that matter least for those that promise most fits better.
        case spliced
    }

    /// A set of columns and the fit on it.
    public struct Result: Sendable, Equatable {
        /// Of all columns, 0 outside the set; its certificate is the distance to stationarity on the set.
        public let solution: Solution
        /// How sure it is that no other set of the size fits better.
        public let standing: Standing
    }

    /// The best sets found of 1, 2, … columns, up to `sizes.upperBound`; those within `sizes` are returned.
    ///
    /// - Parameters:
    ///   - problem: Its penalty does not count.
    ///   - sizes: From 1 up; at most as many as there are columns.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for sizes that are out of range;
    ///   ``LacunaError/unsupported(file:what:)`` for several outputs; ``LacunaError/cancelled``.
    /// - Complexity: For least squares, `k` columns of `p` and `n` rows: O(n p) for each column ever tried, and O(k³ p) for each
    ///   round of exchanges.
    public func solve<F: Datafit, P: Penalty>(_ problem: Problem<F, P>, sizes: ClosedRange<Int>) throws -> [Result] {
        let columns = problem.design.columns
        guard sizes.lowerBound >= 1, sizes.upperBound <= columns else {
            throw LacunaError.invalidArgument(
                "size", reason: "\(sizes.upperBound) of \(columns) columns; from 1 up to all of them can be chosen")
        }
        guard problem.datafit.outputs == 1 else {
            throw LacunaError.unsupported(file: nil, what: "a best subset with several outputs")
        }
        let plain = problem.with(penalty: L1(0))
        let search: any SubsetSearch =
            problem.datafit.isQuadratic
            ? QuadraticSubsets(plain) : try GeneralSubsets(plain, tolerance: tolerance)
        var results: [Result] = []
        var chosen: [Int] = []
        for size in 1...sizes.upperBound {
            try progress.report("subsets", size, of: sizes.upperBound)
            guard let next = try search.grown(chosen) else { break }
            chosen = try search.exchanged(next)
            if size < sizes.lowerBound { continue }
            // Growing can lead astray: the columns that promise most by themselves are another start.
            let other = try search.exchanged(search.promising(size))
            if other.count == size, try search.loss(other) < search.loss(chosen) { chosen = other }
            var standing = search.standing
            if maximumBounds > 0, let proven = try search.proven(chosen, maximumBounds: maximumBounds) {
                chosen = proven
                standing = .best
            }
            results.append(Result(solution: try fit(plain, chosen.sorted()), standing: standing))
        }
        guard let last = results.last else {
            throw LacunaError.numerical(
                operation: "best subset",
                reason: "there are no \(sizes.lowerBound) columns that tell anything apart from each other")
        }
        // Columns that are sums of the others add nothing, however many are asked for.
        while results.count < sizes.count { results.append(last) }
        return results
    }

    private func fit<F: Datafit>(_ problem: Problem<F, L1>, _ chosen: [Int]) throws -> Solution {
        let part = try Problem(
            ColumnSubset(problem.design, chosen), problem.datafit, L1(0), hasIntercept: problem.hasIntercept)
        return try ProximalNewton(tolerance: tolerance).solve(part).spread(
            from: chosen, columns: problem.design.columns)
    }
}

/// What a search over sets of columns needs to know of a loss.
protocol SubsetSearch {
    /// What is known of a set once it is exchanged.
    var standing: BestSubset.Standing { get }
    func loss(_ chosen: [Int]) throws -> Double
    /// With the column that lowers the loss most; nil if none does.
    func grown(_ chosen: [Int]) throws -> [Int]?
    /// The columns with the largest effect by themselves.
    func promising(_ size: Int) throws -> [Int]
    /// After exchanges, until none lowers the loss.
    func exchanged(_ chosen: [Int]) throws -> [Int]
    /// The best set of that size, if that can be proven within so many bounds.
    func proven(_ chosen: [Int], maximumBounds: Int) throws -> [Int]?
}

/// Any loss: fits on sets, and what their gradients and curvatures promise.
final class GeneralSubsets<F: Datafit>: SubsetSearch {
    let standing = BestSubset.Standing.spliced
    private let problem: Problem<F, L1>
    private let solver: ProximalNewton
    private let nullLoss: Double
    private var known: [[Int]: Fitted] = [:]

    private struct Fitted {
        let loss: Double
        /// For each column of the set what the loss would rise by without it, by its curvature.
        let sacrifices: [Int: Double]
        /// For each other column what the loss would fall by with it.
        let promises: [Double]
    }

    init(_ problem: Problem<F, L1>, tolerance: Double) throws {
        self.problem = problem
        solver = ProximalNewton(tolerance: max(tolerance, 1e-8))
        nullLoss = SolverState(problem, from: nil).nullLoss
    }

    private func fitted(_ chosen: [Int]) throws -> Fitted {
        let chosen = chosen.sorted()
        if let found = known[chosen] { return found }
        let (n, p) = (problem.design.rows, problem.design.columns)
        let datafit = problem.datafit
        var eta: [Double]
        var coefficients: [Double] = []
        if chosen.isEmpty {
            eta = [Double](
                repeating: problem.hasIntercept ? datafit.interceptsAlone()[0] : 0, count: n)
        } else {
            let design = ColumnSubset(problem.design, chosen)
            let solution = try solver.solve(
                Problem(design, datafit, L1(0), hasIntercept: problem.hasIntercept))
            eta = solution.predictors(design)
            coefficients = solution.coefficients
        }
        var (slope, bend) = ([Double](repeating: 0, count: n), [Double](repeating: 0, count: n))
        datafit.gradient(eta, into: &slope)
        datafit.curvature(eta, into: &bend)
        var gradient = [Double](repeating: 0, count: p)
        problem.design.correlations(nil, with: slope, into: &gradient)
        let total = bend.reduce(0, +)
        let moments = problem.design.moments(weights: bend.map { total > 0 ? $0 / total : 1 / Double(n) })
        let curvatures = (problem.hasIntercept ? moments.variances : moments.squares).map { $0 * total }
        var sacrifices: [Int: Double] = [:]
        for (j, beta) in zip(chosen, coefficients) { sacrifices[j] = curvatures[j] * beta * beta / 2 }
        let result = Fitted(
            loss: datafit.value(eta), sacrifices: sacrifices,
            promises: (0..<p).map { j in
                sacrifices[j] != nil || curvatures[j] <= 0 ? 0 : gradient[j] * gradient[j] / (2 * curvatures[j])
            })
        known[chosen] = result
        return result
    }

    func loss(_ chosen: [Int]) throws -> Double { try fitted(chosen).loss }

    private func largest(_ promises: [Double], _ count: Int) -> [Int] {
        Array(
            promises.indices.filter { promises[$0] > 0 }.sorted { (promises[$0], $1) > (promises[$1], $0) }.prefix(
                count))
    }

    func grown(_ chosen: [Int]) throws -> [Int]? {
        try largest(fitted(chosen).promises, 1).first.map { chosen + [$0] }
    }

    func promising(_ size: Int) throws -> [Int] { try largest(fitted([]).promises, size) }

    func exchanged(_ chosen: [Int]) throws -> [Int] {
        var chosen = chosen
        search: while true {
            let now = try fitted(chosen)
            let leaving = chosen.sorted { (now.sacrifices[$0] ?? 0, $0) < (now.sacrifices[$1] ?? 0, $1) }
            let entering = largest(now.promises, chosen.count)
            for count in 1...max(1, min(chosen.count, entering.count, 5)) {
                guard entering.count >= count else { break }
                let next = Array(leaving.dropFirst(count)) + entering.prefix(count)
                if try fitted(next).loss < now.loss - 1e-9 * nullLoss {
                    chosen = next
                    continue search
                }
            }
            return chosen
        }
    }

    func proven(_ chosen: [Int], maximumBounds: Int) throws -> [Int]? { nil }
}
