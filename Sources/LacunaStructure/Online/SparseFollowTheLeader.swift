import LacunaTensor

/// Least squares on a stream of sparse features, without forgetting and without a replay buffer: after every example the
/// coefficients of its active features are set to their best values given all examples so far and the other coefficients.
///
/// With `A = Σ φ φᵀ`, `B = Σ φ yᵀ` and `t` examples, the leader minimises `(1/t) Σ ‖Wᵀφ - y‖² + ε ‖W‖²`; a new example
/// with active set `s` changes `A` and `B` in the rows `s` only, and the update solves exactly for `W[s]`:
/// `(A[s,s]/t + ε I) W[s] = (B[s] - A[s,:] W + A[s,s] W[s]) / t`.
///
/// Zichen Liu, Chao Du, Wee Sun Lee, Min Lin, "Locality Sensitive Sparse Encoding for Learning World Models Online",
/// arXiv 2401.13034.
public struct SparseFollowTheLeader: Sendable {
    /// How many features there are.
    public let features: Int
    /// Numbers that are predicted.
    public let outputs: Int
    /// ε, which keeps features that always appear together apart.
    public let ridge: Double
    /// Examples seen.
    public private(set) var count = 0
    /// `W` [features, outputs].
    public private(set) var coefficients: [Double]
    /// `B` [features, outputs].
    private(set) var targets: [Double]
    /// `A`.
    private(set) var gram: GrowingRows
    /// Place of each feature in the active set, or -1. All -1 between calls.
    private var position: [Int32]

    /// - Parameter ridge: What is added to the diagonal of the mean Gram matrix, above 0.
    public init(features: Int, outputs: Int, ridge: Double = 1e-5) {
        require(features > 0 && outputs > 0 && ridge > 0)
        self.features = features
        self.outputs = outputs
        self.ridge = ridge
        coefficients = [Double](repeating: 0, count: features * outputs)
        targets = coefficients
        gram = GrowingRows(count: features)
        position = [Int32](repeating: -1, count: features)
    }

    /// Goes on where another stopped. Arrays are [features, outputs], rows are as many as features.
    init(
        count: Int, ridge: Double, outputs: Int, coefficients: [Double], targets: [Double], gram: GrowingRows
    ) {
        self.init(features: coefficients.count / outputs, outputs: outputs, ridge: ridge)
        require(targets.count == coefficients.count && gram.columns.count == features)
        (self.count, self.coefficients, self.targets, self.gram) = (count, coefficients, targets, gram)
    }

    /// Entries of `A` that are stored.
    public var storedEntries: Int { gram.entries }

    /// `Wᵀφ` [outputs].
    ///
    /// - Parameter code: Places below ``features``.
    /// - Complexity: O(active · outputs).
    public func predict(_ code: LocalitySensitiveEncoding.Code) -> [Double] {
        var result = [Double](repeating: 0, count: outputs)
        for (place, weight) in zip(code.places, code.weights) {
            for k in 0..<outputs { result[k] += weight * coefficients[Int(place) * outputs + k] }
        }
        return result
    }

    /// Learns one example.
    ///
    /// - Parameters:
    ///   - code: Places ascending and below ``features``.
    ///   - target: `outputs` numbers.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for places out of order or range and for numbers that are not
    ///   finite, without learning anything; ``LacunaError/numerical(operation:reason:)`` if the block is not positive
    ///   definite or its solution not finite, in which case the example counts and the coefficients stay.
    /// - Complexity: O(|s|³ + Σ stored entries of the rows `s`), however long the stream.
    public mutating func update(_ code: LocalitySensitiveEncoding.Code, target: [Double]) throws {
        let s = code.places
        guard target.count == outputs, target.allSatisfy(\.isFinite), code.weights.allSatisfy(\.isFinite),
            s.count == code.weights.count, isActiveSet(s)
        else {
            throw LacunaError.invalidArgument("example", reason: "its places do not ascend, or it is not finite")
        }
        if s.isEmpty {
            count += 1
            return
        }
        gram.addOuter(s, code.weights)
        for (place, weight) in zip(s, code.weights) {
            for k in 0..<outputs { targets[Int(place) * outputs + k] += weight * target[k] }
        }
        count += 1
        try solve(s)
    }

    /// Sets the coefficients of the features `s`, which ascend, to their best values given all others.
    ///
    /// Sweeping it over sets that cover all features converges to ridge regression on everything seen.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for places out of order or range;
    ///   ``LacunaError/numerical(operation:reason:)`` as ``update(_:target:)``.
    public mutating func refit(_ s: [UInt32]) throws {
        guard isActiveSet(s) else {
            throw LacunaError.invalidArgument("features", reason: "do not ascend below \(features)")
        }
        guard count > 0, !s.isEmpty else { return }
        try solve(s)
    }

    private func isActiveSet(_ s: [UInt32]) -> Bool {
        zip(s.dropFirst(), s).allSatisfy { $0 > $1 } && s.last.map { Int($0) < features } ?? true
    }

    private mutating func solve(_ s: [UInt32]) throws {
        let n = s.count
        for (k, place) in s.enumerated() { position[Int(place)] = Int32(k) }
        defer { for place in s { position[Int(place)] = -1 } }
        let scale = 1 / Double(count)
        var block = [Double](repeating: 0, count: n * n)
        var right = [Double](repeating: 0, count: n * outputs)
        for (k, place) in s.enumerated() {
            for o in 0..<outputs { right[k * outputs + o] = scale * targets[Int(place) * outputs + o] }
            // One walk along the row gives both its part of the block and its product with the other coefficients.
            gram.forEach(in: Int(place)) { column, value in
                let inside = position[column]
                if inside >= 0 {
                    block[k * n + Int(inside)] = value * scale
                } else {
                    for o in 0..<outputs {
                        right[k * outputs + o] -= scale * value * coefficients[column * outputs + o]
                    }
                }
            }
            block[k * n + k] += ridge
        }
        let solved: Bool = block.withUnsafeMutableBufferPointer { block in
            right.withUnsafeMutableBufferPointer { right in
                guard LinearAlgebra.choleskyInPlace(block.baseAddress!, n: n) else { return false }
                LinearAlgebra.solveCholesky(block.baseAddress!, n: n, right.baseAddress!, count: outputs)
                return right.allSatisfy(\.isFinite)
            }
        }
        guard solved else {
            throw LacunaError.numerical(
                operation: "follow the leader",
                reason: "the block of \(n) features is not positive definite, or not finite")
        }
        for (k, place) in s.enumerated() {
            for o in 0..<outputs { coefficients[Int(place) * outputs + o] = right[k * outputs + o] }
        }
    }
}

/// Rows of a sparse symmetric matrix that grow as entries appear: columns ascending, with their values.
struct GrowingRows: Sendable {
    private(set) var columns: [[UInt32]]
    private(set) var values: [[Double]]

    init(count: Int) {
        columns = [[UInt32]](repeating: [], count: count)
        values = [[Double]](repeating: [], count: count)
    }

    /// Adds a row, whose columns ascend.
    mutating func append(_ columns: [UInt32], _ values: [Double]) {
        self.columns.append(columns)
        self.values.append(values)
    }

    var entries: Int { columns.reduce(0) { $0 + $1.count } }

    func forEach(in row: Int, _ body: (_ column: Int, _ value: Double) -> Void) {
        columns[row].withUnsafeBufferPointer { columns in
            values[row].withUnsafeBufferPointer { values in
                for k in columns.indices { body(Int(columns[k]), values[k]) }
            }
        }
    }

    /// Adds `v vᵀ` at the rows and columns `s`, which ascend.
    ///
    /// - Complexity: O(Σ stored entries of the rows `s` + |s|²).
    mutating func addOuter(_ s: [UInt32], _ v: [Double]) {
        for (a, row) in s.enumerated() where v[a] != 0 { add(v[a], s, v, to: Int(row)) }
    }

    private mutating func add(_ factor: Double, _ s: [UInt32], _ v: [Double], to row: Int) {
        // In place as long as nothing is missing, which is so once a neighbourhood has been seen.
        var missing = 0
        let count = columns[row].count
        columns[row].withUnsafeBufferPointer { columns in
            values[row].withUnsafeMutableBufferPointer { values in
                var k = 0
                for b in s.indices where v[b] != 0 {
                    while k < count && columns[k] < s[b] { k += 1 }
                    if k < count && columns[k] == s[b] { values[k] += factor * v[b] } else { missing += 1 }
                }
            }
        }
        if missing == 0 { return }
        var (mergedColumns, mergedValues) = ([UInt32](), [Double]())
        mergedColumns.reserveCapacity(count + missing)
        mergedValues.reserveCapacity(count + missing)
        var k = 0
        for b in s.indices where v[b] != 0 {
            while k < count && columns[row][k] < s[b] {
                mergedColumns.append(columns[row][k])
                mergedValues.append(values[row][k])
                k += 1
            }
            if k < count && columns[row][k] == s[b] { continue }
            mergedColumns.append(s[b])
            mergedValues.append(factor * v[b])
        }
        while k < count {
            mergedColumns.append(columns[row][k])
            mergedValues.append(values[row][k])
            k += 1
        }
        columns[row] = mergedColumns
        values[row] = mergedValues
    }
}
