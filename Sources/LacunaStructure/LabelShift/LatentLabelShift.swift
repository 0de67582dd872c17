import LacunaTensor

/// Finds classes in rows without labels that come from several domains, in which the classes are mixed differently but look the
/// same: rows whose domains are alike belong together, however far their features are apart.
///
///     p_d(x) = Σ_y p(x|y) p_d(y),   p(d|x) = Σ_y p(d|y) p(y|x)      (domains counting alike)
///
/// What a classifier of domains says of each row, its profile `p(d|x)`, is a mixture of the profiles `p(d|y)` of the classes. Rows
/// are clustered by their profiles; those of the classes are the corners of the clusters' (each class needs rows that are
/// its own alone), found by successive projection, or by factorisation of the clusters' shares. The mixtures follow by Bayes,
/// and with them `p(y|x, d)`.
///
/// Manley Roberts, Pranav Mani, Saurabh Garg, Zachary Lipton, "Unsupervised Learning under Latent Label Shift", arXiv 2207.13179,
/// who factorise; corners are the recommendation here, since they are what the classes are identified by. Successive projection:
/// Mário Araújo and others, Chemometrics and Intelligent Laboratory Systems 2001.
public struct LatentLabelShift: Sendable {
    /// How profiles of classes are found.
    public enum Recovery: String, Sendable, CaseIterable {
        /// The corners of the clusters' profiles.
        case corners
        /// Non-negative factors of the clusters' shares, as in the paper; not unique, the best of several starts.
        case factors
    }

    /// How many classes, from 1 up to the number of domains.
    public var classes: Int
    /// Clusters of profiles; four for each class, and no fewer than there are domains, for nil.
    public var clusters: Int?
    /// Clusters of a smaller share of the rows are left out, as their profiles are noise; where there are many clusters, those of less
    /// than an eighth of an even share.
    public var smallestShare: Double
    /// How profiles of classes are found.
    public var recovery: Recovery
    /// Of the clusters' starts and the factors'.
    public var seed: UInt64

    /// Settings as their properties say.
    public init(
        classes: Int, clusters: Int? = nil, smallestShare: Double = 0.01, recovery: Recovery = .corners,
        seed: UInt64 = 0
    ) {
        require(classes >= 1 && (clusters ?? classes) >= classes && smallestShare >= 0 && smallestShare < 1)
        self.classes = classes
        self.clusters = clusters
        self.smallestShare = smallestShare
        self.recovery = recovery
        self.seed = seed
    }

    /// What the domains tell about the classes.
    public struct Result: Sendable, Equatable {
        /// `p(d|y)`, domains counting alike [classes, domains].
        public let profiles: Tensor<Double>
        /// `p_d(y)`: how each domain mixes the classes [domains, classes].
        public let mixtures: Tensor<Double>
        /// `p(y)` over all domains, which count alike [classes].
        public let shares: [Double]
        /// The ratio of the largest singular value of ``mixtures`` to the smallest: the larger, the less the domains tell the
        /// classes apart.
        public let condition: Double
        /// Inner products of the profiles [classes, classes].
        private let gram: Tensor<Double>

        /// What follows from the profiles of the classes alone, by Bayes.
        ///
        /// - Parameter profiles: `p(d|y)`, each row summing to 1 [classes, domains].
        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers that are not finite and at least 0.
        public init(profiles: Tensor<Double>) throws {
            guard profiles.rank == 2, profiles.count > 0, profiles.scalars.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
                throw LacunaError.invalidArgument("profiles", reason: "are not finite numbers of at least 0")
            }
            let (k, d) = (profiles.rows, profiles.columns)
            // p(y) with Σ_y p(d|y) p(y) = 1/D.
            let gram = profiles.multiplied(by: profiles, otherTransposed: true)
            let products = (0..<k).map { y in (0..<d).reduce(0) { $0 + profiles[y, $1] } / Double(d) }
            let prior = NonNegativeLeastSquares.solve(gram: gram, products: products)
            let total = prior.reduce(0, +)
            let shares = prior.map { total > 0 ? $0 / total : 1 / Double(k) }
            var mixtures = Tensor<Double>(zeros: [d, k])
            for domain in 0..<d {
                let weights = (0..<k).map { profiles[$0, domain] * shares[$0] }
                let sum = weights.reduce(0, +)
                for y in 0..<k { mixtures[domain, y] = sum > 0 ? weights[y] / sum : 1 / Double(k) }
            }
            let values = try mixtures.svd().s
            (self.profiles, self.mixtures, self.shares, self.gram) = (profiles, mixtures, shares, gram)
            condition = (values.max() ?? 0) / max(values.min() ?? 0, .leastNormalMagnitude)
        }

        /// `p(y|x, d)` for a row of this profile, seen in a domain; `p(y|x)` for nil.
        ///
        /// - Parameter profile: [domains].
        public func probabilities(_ profile: [Double], domain: Int?) -> [Double] {
            let (k, d) = (profiles.rows, profiles.columns)
            require(profile.count == d && (domain.map { (0..<d).contains($0) } ?? true))
            let products = (0..<k).map { y in (0..<d).reduce(0) { $0 + profiles[y, $1] * profile[$1] } }
            var values = NonNegativeLeastSquares.solve(gram: gram, products: products)
            if let domain { for y in 0..<k { values[y] *= profiles[y, domain] } }
            let total = values.reduce(0, +)
            return total > 0 ? values.map { $0 / total } : [Double](repeating: 1 / Double(k), count: k)
        }

        /// The likeliest class of each row.
        ///
        /// - Parameters:
        ///   - profiles: [n, domains].
        ///   - domains: Of each row, from 0.
        public func classes(_ profiles: Tensor<Double>, domains: [Int]) -> [Int] {
            (0..<profiles.rows).map { i in
                let found = probabilities((0..<profiles.columns).map { profiles[i, $0] }, domain: domains[i])
                return found.indices.max { found[$0] < found[$1] } ?? 0
            }
        }
    }

    /// - Parameters:
    ///   - profiles: `p(d|x)` of every row, domains counting alike [n, domains]; of rows that the classifier has not learnt by
    ///     heart.
    ///   - domains: Of each row, from 0.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for more classes than domains, sizes that differ, and profiles that
    ///   are not finite numbers of at least 0; ``LacunaError/numerical(operation:reason:)`` where fewer kinds of profiles are
    ///   found than classes; as ``KMeans/fit(_:)``.
    public func fit(profiles: Tensor<Double>, domains: [Int]) throws -> Result {
        let (n, d) = (profiles.rows, profiles.columns)
        guard classes <= d else {
            throw LacunaError.invalidArgument(
                "classes", reason: "are \(classes), the domains \(d): no more classes can be told apart than domains")
        }
        guard domains.count == n, domains.allSatisfy({ (0..<d).contains($0) }) else {
            throw LacunaError.invalidArgument("domains", reason: "are not \(n) numbers from 0 to \(d - 1)")
        }
        guard profiles.scalars.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
            throw LacunaError.invalidArgument("profiles", reason: "are not finite numbers of at least 0")
        }
        var sizes = [Double](repeating: 0, count: d)
        for domain in domains { sizes[domain] += 1 }
        guard let empty = sizes.firstIndex(of: 0) else {
            return try fit(profiles, domains, sizes)
        }
        throw LacunaError.invalidArgument("domains", reason: "number \(empty) has no row")
    }

    private func fit(_ profiles: Tensor<Double>, _ domains: [Int], _ sizes: [Double]) throws -> Result {
        let (n, d) = (profiles.rows, profiles.columns)
        let count = min(n, clusters ?? max(4 * classes, d))
        let clustering = try KMeans(clusters: max(count, classes), seed: seed).fit(profiles)
        // The share of every domain in every cluster.
        var shares = Tensor<Double>(zeros: [clustering.means.rows, d])
        for i in 0..<n { shares[clustering.places[i], domains[i]] += 1 / sizes[domains[i]] }
        let masses = (0..<shares.rows).map { c in (0..<d).reduce(0) { $0 + shares[c, $1] } / Double(d) }
        let least = min(smallestShare, 1 / Double(8 * shares.rows))
        let kept = masses.indices.filter { masses[$0] >= least && masses[$0] > 0 }
        let found: Tensor<Double>
        switch recovery {
        case .corners:
            let rows = kept.map { c in (0..<d).map { shares[c, $0] / (masses[c] * Double(d)) } }
            found = try Self.corners(Tensor(rows.flatMap { $0 }, shape: [rows.count, d]), count: classes)
        case .factors:
            let rows = kept.flatMap { c in (0..<d).map { shares[c, $0] } }
            let weights = try factors(Tensor(rows, shape: [kept.count, d]))
            found = Self.normalized(weights)
        }
        return try Result(profiles: found)
    }

    private static func normalized(_ rows: Tensor<Double>) -> Tensor<Double> {
        var result = rows
        for i in 0..<rows.rows {
            let sum = (0..<rows.columns).reduce(0) { $0 + rows[i, $1] }
            for j in 0..<rows.columns { result[i, j] = sum > 0 ? rows[i, j] / sum : 1 / Double(rows.columns) }
        }
        return result
    }

    /// The rows that others are mixtures of: the longest, then the longest of what is left beside it, and so on.
    static func corners(_ rows: Tensor<Double>, count: Int) throws -> Tensor<Double> {
        var rest = rows
        var chosen: [Int] = []
        let scale = rows.scalars.reduce(0) { max($0, abs($1)) }
        for _ in 0..<count {
            let squares = (0..<rows.rows).map { i in (0..<rows.columns).reduce(0) { $0 + rest[i, $1] * rest[i, $1] } }
            guard let next = squares.indices.max(by: { squares[$0] < squares[$1] }),
                squares[next].squareRoot() > 1e-9 * scale
            else {
                throw LacunaError.numerical(
                    operation: "label shift",
                    reason: "the domains tell apart \(chosen.count) kinds of rows, fewer than \(count) classes")
            }
            chosen.append(next)
            let direction = (0..<rows.columns).map { rest[next, $0] / squares[next].squareRoot() }
            for i in 0..<rows.rows {
                let along = (0..<rows.columns).reduce(0) { $0 + rest[i, $1] * direction[$1] }
                for j in 0..<rows.columns { rest[i, j] -= along * direction[j] }
            }
        }
        return Tensor(chosen.flatMap { i in (0..<rows.columns).map { rows[i, $0] } }, shape: [count, rows.columns])
    }

    /// `W` of `H ≈ C W`, columns of `C` summing to 1, by multiplicative steps (Daniel Lee, Sebastian Seung, NeurIPS 2000).
    private func factors(_ h: Tensor<Double>) throws -> Tensor<Double> {
        let (m, d, k) = (h.rows, h.columns, classes)
        guard m >= k else {
            throw LacunaError.numerical(
                operation: "label shift", reason: "\(m) clusters are left, fewer than \(k) classes")
        }
        var best: (weights: Tensor<Double>, error: Double)?
        for start in 0..<5 {
            var generator = SeededGenerator(seed: seed, stream: 0xFAC7 &+ UInt64(start))
            let size = (h.scalars.reduce(0, +) / Double(m * d * k)).squareRoot()
            var c = Tensor((0..<m * k).map { _ in size * (0.1 + generator.uniform()) }, shape: [m, k])
            var w = Tensor((0..<k * d).map { _ in size * (0.1 + generator.uniform()) }, shape: [k, d])
            for _ in 0..<2000 {
                c = Self.scaled(
                    c, by: h.multiplied(by: w, otherTransposed: true),
                    over: c.multiplied(by: w.multiplied(by: w, otherTransposed: true)))
                w = Self.scaled(
                    w, by: c.multiplied(by: h, transposed: true),
                    over: c.multiplied(by: c, transposed: true).multiplied(by: w))
            }
            let error = zip(h.scalars, c.multiplied(by: w).scalars).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            for y in 0..<k {
                let sum = (0..<m).reduce(0) { $0 + c[$1, y] }
                for j in 0..<d { w[y, j] *= sum }
            }
            if error < best?.error ?? .infinity { best = (w, error) }
        }
        // p_d(y) are the columns of W, made to sum to 1; p(d|y) in proportion to them.
        guard var weights = best?.weights else { return h }
        for j in 0..<d {
            let sum = (0..<k).reduce(0) { $0 + weights[$1, j] }
            if sum > 0 { for y in 0..<k { weights[y, j] /= sum } }
        }
        return weights
    }

    private static func scaled(_ a: Tensor<Double>, by b: Tensor<Double>, over c: Tensor<Double>) -> Tensor<Double> {
        let values = zip(a.scalars, zip(b.scalars, c.scalars)).map { $0 * $1.0 / max($1.1, 1e-300) }
        return Tensor(values, shape: a.shape)
    }
}
