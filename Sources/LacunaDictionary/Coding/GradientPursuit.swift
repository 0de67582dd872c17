import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Codes of fixed directions, found greedily instead of by an encoder.
///
/// Lewis Smith, "Replacing SAE Encoders with Inference-Time Optimisation", 2024; Joshua Engels, Logan Riggs, Max
/// Tegmark, arXiv 2410.14670. Orthogonal matching pursuit: Pati, Rezaiifar, Krishnaprasad, 1993.
public enum Pursuit {
    /// What is done about the strengths of the chosen directions in every round.
    public enum Update: Sendable, Hashable {
        /// A step along the gradient of the squared error on the chosen directions, of the best length, after which
        /// strengths below 0 become 0.
        case gradient
        /// Least squares on the chosen directions; strengths may be negative.
        case orthogonal
    }

    /// Codes of at most `counts[t]` entries for every row of `x` [tokens, dimensions].
    ///
    /// - Parameters:
    ///   - directions: [features, dimensions].
    ///   - center: [dimensions], taken away first; nil for 0.
    ///   - counts: Entries of each row; the number of active features that an encoder gave it, for instance.
    /// - Returns: [tokens, features]. Rows may have fewer entries: a strength may become 0, and nothing is added
    ///   where no direction helps.
    /// - Throws: `LacunaError.invalidArgument` for shapes that do not fit, `.numerical` for numbers that are not
    ///   finite.
    public static func codes(
        of x: Tensor<Float>, directions: Tensor<Float>, center: Tensor<Float>? = nil, counts: [Int],
        update: Update = .gradient
    ) throws -> SparseMatrix<Float> {
        let (n, d, width) = (x.rows, x.columns, directions.rows)
        guard directions.columns == d, counts.count == n, counts.allSatisfy({ (0...width).contains($0) }),
            center?.count ?? d == d
        else {
            throw LacunaError.invalidArgument("pursuit", reason: "\(x.shape), \(directions.shape), \(counts.count)")
        }
        guard x.isFinite, directions.isFinite, center?.isFinite ?? true else {
            throw LacunaError.numerical(operation: "pursuit", reason: "numbers are not all finite")
        }
        var rest = x
        if let center {
            rest.withMutablePointer { r in
                center.withPointer { c in for t in 0..<n { for i in 0..<d { r[t * d + i] -= c[i] } } }
            }
        }
        let goal = rest
        var states = [Row](repeating: Row(), count: n)
        let rounds = counts.max() ?? 0
        for round in 0..<rounds {
            // The direction of every row that fits what is left best.
            let products = directions.withPointer { p in
                PreActivations(inputs: rest, weight: p, bias: [Float](repeating: 0, count: width)).selected(
                    .token(1), signed: update == .orthogonal)
            }
            let starts = products.pattern.rowStarts
            let columns = products.pattern.columnIndices
            states.withUnsafeMutableBufferPointer { states in
                let target = UncheckedTarget(states.baseAddress)
                rest.withMutablePointer { rest in
                    let rest = UncheckedTarget(rest)
                    directions.withPointer { directions in
                        goal.withPointer { goal in
                            Parallel.forRanges(n, grain: 16) { range in
                                for t in range where round < counts[t] && starts[t + 1] > starts[t] {
                                    target.pointer![t].extend(
                                        by: columns[starts[t]], directions, d, update, goal: goal + t * d,
                                        rest: rest.pointer! + t * d)
                                }
                            }
                        }
                    }
                }
            }
        }
        let sorted = states.map { row in
            zip(row.features, row.strengths).filter { $0.1 != 0 }.sorted { $0.0 < $1.0 }
        }
        var starts = [0]
        for row in sorted { starts.append(starts.last! + row.count) }
        return SparseMatrix(
            SparsePattern(
                rows: n, columns: width, starts: Buffer(starts),
                columnIndices: Buffer(sorted.flatMap { $0.map { UInt32($0.0) } })),
            buffer: Buffer(sorted.flatMap { $0.map { Float($0.1) } }))
    }

    /// The chosen directions of one row.
    private struct Row {
        var features: [Int] = []
        var strengths: [Double] = []
        /// Of the chosen directions, and their products with the row: what least squares needs.
        private var factor = GrowingFactor()
        private var products: [Double] = []

        mutating func extend(
            by feature: Int, _ directions: UnsafePointer<Float>, _ d: Int, _ update: Update, goal: UnsafePointer<Float>,
            rest: UnsafeMutablePointer<Float>
        ) {
            let isNew = !features.contains(feature)
            func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>) -> Double {
                (0..<d).reduce(0.0) { $0 + Double(a[$1]) * Double(b[$1]) }
            }
            switch update {
            case .gradient:
                if isNew {
                    features.append(feature)
                    strengths.append(0)
                }
                let gradient = features.map { dot(rest, directions + $0 * d) }
                var image = [Float](repeating: 0, count: d)
                for (g, j) in zip(gradient, features) {
                    for i in 0..<d { image[i] += Float(g) * directions[j * d + i] }
                }
                let length = dot(image, image)
                if length <= 0 { return }
                let step = dot(image, rest) / length
                for i in features.indices { strengths[i] = max(0, strengths[i] + step * gradient[i]) }
            case .orthogonal:
                let own = directions + feature * d
                // A direction that depends on the others changes nothing.
                guard isNew, factor.append((features + [feature]).map { dot(own, directions + $0 * d) }) else { return }
                features.append(feature)
                products.append(dot(own, goal))
                strengths = factor.solve(products)
            }
            rest.update(from: goal, count: d)
            for (f, j) in zip(strengths, features) where f != 0 {
                for i in 0..<d { rest[i] -= Float(f) * directions[j * d + i] }
            }
        }
    }
}

extension SparseAutoencoder {
    /// Codes by gradient pursuit with the decoder's directions, with as many entries a row as the encoder gives it.
    ///
    /// - Throws: As ``encode(_:gradients:scope:)``.
    public func pursue(_ x: Tensor<Float>) throws -> SparseMatrix<Float> {
        let code = try encode(x)
        let starts = code.pattern.rowStarts
        return try Pursuit.codes(
            of: x, directions: decoderWeight.value, center: decoderBias.value,
            counts: (0..<x.rows).map { starts[$0 + 1] - starts[$0] })
    }
}
