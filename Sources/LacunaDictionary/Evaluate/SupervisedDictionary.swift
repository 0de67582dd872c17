import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A dictionary of known attributes: one direction for every value of each, by least squares. What unsupervised
/// dictionaries are measured against on a task whose attributes are known.
///
/// Aleksandar Makelov, George Lange, Neel Nanda, "Towards Principled Evaluations of Sparse Autoencoders for
/// Interpretability and Control", arXiv 2405.08366.
public struct SupervisedDictionary: Sendable {
    /// Values that each attribute may take.
    public let values: [Int]
    /// The mean of the activations, [dimensions].
    public let bias: Tensor<Float>
    /// A direction for every value of every attribute, attribute by attribute, [Σ values, dimensions].
    public let directions: Tensor<Float>

    /// How directions are found.
    public enum Fit: Sendable, Hashable {
        /// The mean of centred activations over the examples that have the value.
        case means
        /// Least squares of centred activations on all indicators together, of smallest norm.
        case leastSquares
    }

    /// - Parameters:
    ///   - activations: [examples, dimensions].
    ///   - attributes: The value of each attribute in every example, counted from 0: [examples][attributes].
    ///   - values: How many values each attribute has.
    /// - Throws: `LacunaError.invalidArgument` for tables that do not fit each other; `.numerical`.
    public init(_ activations: Tensor<Float>, attributes: [[Int]], values: [Int], fit: Fit = .leastSquares) throws {
        guard activations.rank == 2, activations.rows >= 1, attributes.count == activations.rows else {
            throw LacunaError.invalidArgument("attributes", reason: "\(attributes.count) rows for \(activations.shape)")
        }
        if let bad = attributes.firstIndex(where: { row in
            row.count != values.count || zip(row, values).contains { $0 < 0 || $0 >= $1 }
        }) {
            throw LacunaError.invalidArgument(
                "attributes", reason: "example \(bad) has \(attributes[bad]), of \(values)")
        }
        self.values = values
        let total = values.reduce(0, +)
        let (n, d) = (activations.rows, activations.columns)
        let mean = activations.rowMean
        bias = Tensor(mean)
        var centered = activations
        centered.withMutablePointer { p in for t in 0..<n { for i in 0..<d { p[t * d + i] -= mean[i] } } }
        var indicators = Tensor<Float>(zeros: [n, total])
        for (t, row) in attributes.enumerated() {
            for place in Self.places(row, values) { indicators[t, place] = 1 }
        }
        switch fit {
        case .means:
            var sums = indicators.multiplied(by: centered, transposed: true)
            for v in 0..<total {
                let count = (0..<n).reduce(Float(0)) { $0 + indicators[$1, v] }
                for i in 0..<d where count > 0 { sums[v, i] /= count }
            }
            directions = sums
        case .leastSquares:
            var solver = StreamingLeastSquares(inputs: total, outputs: d, intercept: false)
            solver.add(indicators, centered)
            let found = try solver.solve()
            directions = Tensor(found.scalars.map(Float.init), shape: found.shape)
        }
    }

    /// Rows of ``directions`` of the values of one example.
    private static func places(_ row: [Int], _ values: [Int]) -> [Int] {
        var start = 0
        return zip(row, values).map { value, count in
            defer { start += count }
            return start + value
        }
    }

    /// What attributes stand for: the bias and a direction each, [examples, dimensions].
    public func reconstruct(_ attributes: [[Int]]) -> Tensor<Float> {
        let d = bias.count
        var result = Tensor<Float>(uninitialized: [attributes.count, d])
        for (t, row) in attributes.enumerated() {
            for i in 0..<d { result[t, i] = bias[i] }
            for place in Self.places(row, values) { for i in 0..<d { result[t, i] += directions[place, i] } }
        }
        return result
    }

    /// Activations with one attribute changed: less the direction of the old value, plus that of the new one.
    public func edited(_ activations: Tensor<Float>, attribute: Int, from old: [Int], to new: [Int]) -> Tensor<Float> {
        let start = values[..<attribute].reduce(0, +)
        var result = activations
        for t in 0..<activations.rows {
            for i in 0..<activations.columns {
                result[t, i] += directions[start + new[t], i] - directions[start + old[t], i]
            }
        }
        return result
    }
}

/// What the features of a dictionary have to do with known attributes, and what changing a few of them does.
public enum AttributeProbe {
    /// `F₁` of "feature is active" for "attribute has the value", for every feature and value: [features][values]. 0
    /// for features that are never active and values that do not occur.
    public static func scores(_ code: SparseMatrix<Float>, attribute: [Int], values: Int) -> [[Double]] {
        require(attribute.count == code.rows && attribute.allSatisfy { (0..<values).contains($0) }, "one value a row")
        var both = [[Int]](repeating: [Int](repeating: 0, count: values), count: code.columns)
        var active = [Int](repeating: 0, count: code.columns)
        code.forEachEntry { t, j, value in
            if value != 0 {
                both[j][attribute[t]] += 1
                active[j] += 1
            }
        }
        let having = (0..<values).map { v in attribute.count { $0 == v } }
        return (0..<code.columns).map { j in
            (0..<values).map { v in
                let total = active[j] + having[v]
                return total > 0 ? 2 * Double(both[j][v]) / Double(total) : 0
            }
        }
    }

    /// Activations moved towards counterfactual ones by changing at most `budget` features of each row, greedily:
    /// every change replaces a feature's strength by that in the counterfactual, and the one that brings the edit
    /// nearest to the whole difference is taken.
    ///
    /// - Parameters:
    ///   - activations: [rows, dimensions]; and `counterfactuals` of the same shape.
    /// - Returns: The edited activations: the dictionary's error stays as it is.
    /// - Throws: As ``SparseAutoencoder/encode(_:gradients:scope:)``.
    public static func edited(
        _ activations: Tensor<Float>, towards counterfactuals: Tensor<Float>, by dictionary: SparseAutoencoder,
        budget: Int
    ) throws -> Tensor<Float> {
        require(activations.shape == counterfactuals.shape && budget >= 0, "pairs of rows and a budget")
        let (from, to) = (
            try dictionary.encode(activations).densified(), try dictionary.encode(counterfactuals).densified()
        )
        let (n, d, width) = (activations.rows, activations.columns, dictionary.width)
        var result = activations
        let directions = dictionary.decoderWeight.buffer.pointer
        for t in 0..<n {
            var goal = (0..<d).map { Double(counterfactuals[t, $0]) - Double(activations[t, $0]) }
            var candidates = (0..<width).filter { from[t, $0] != to[t, $0] }
            for _ in 0..<budget where !candidates.isEmpty {
                // ‖goal - c d‖² - ‖goal‖² = c² ‖d‖² - 2 c goal·d.
                let gains = candidates.map { j -> Double in
                    let c = Double(to[t, j]) - Double(from[t, j])
                    var (dot, square) = (0.0, 0.0)
                    for i in 0..<d {
                        let e = Double(directions[j * d + i])
                        dot += goal[i] * e
                        square += e * e
                    }
                    return c * c * square - 2 * c * dot
                }
                let best = gains.indices.min { gains[$0] < gains[$1] }!
                let j = candidates.remove(at: best)
                let c = Double(to[t, j]) - Double(from[t, j])
                for i in 0..<d {
                    goal[i] -= c * Double(directions[j * d + i])
                    result[t, i] += Float(c * Double(directions[j * d + i]))
                }
            }
        }
        return result
    }

    /// How much each feature has to do with a reconstruction: `f_j d_j·(x̂ - b) / ‖x̂ - b‖²`, which add up to 1 in
    /// every row that is not 0.
    public static func weights(_ dictionary: SparseAutoencoder, _ code: SparseMatrix<Float>) -> SparseMatrix<Float> {
        var whole = dictionary.decode(code)
        let (n, d) = (whole.rows, whole.columns)
        let bias = dictionary.decoderBias.buffer.pointer
        whole.withMutablePointer { p in for t in 0..<n { for i in 0..<d { p[t * d + i] -= bias[i] } } }
        let squares = whole.withPointer { Directions.dots($0, $0, rows: n, columns: d) }
        let inner = SparseMatrix.sampled(whole, dictionary.decoderWeight.value, at: code.pattern)
        var result = code
        result.withMutableValues { values in
            inner.withValues { inner in
                code.pattern.forEachEntry { i, t, _ in
                    values[i] = squares[t] > 0 ? values[i] * inner[i] / squares[t] : 0
                }
            }
        }
        return result
    }
}
