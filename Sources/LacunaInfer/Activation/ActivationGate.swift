import LacunaModels
import LacunaSparse
import LacunaTensor

/// The gate of every method of activation sparsity: for each matrix of each layer, what its inputs are weighted by and how they
/// are chosen; for each layer, how its neurons are.
///
/// - Complexity: O(inputs) a product; O(inputs) with a larger constant where the largest are chosen.
public struct ActivationGate: InputGate {
    /// How one matrix's inputs, or one layer's neurons, are chosen.
    public struct Rule: Sendable, Hashable {
        /// Which scores are chosen.
        public enum Choice: Sendable, Hashable {
            /// Scores above this.
            case above(Float)
            /// This many of the largest scores; of equals the later ones.
            case largest(Int)
            /// The numbers, not their magnitudes, above the threshold that they give themselves.
            case statistical(StatisticalTopK)
            /// These, whatever the numbers are; ascending.
            case fixed([UInt32])
        }

        /// How scores choose.
        public var choice: Choice
        /// What magnitudes are multiplied by, one number an input; nil for ones.
        public var weights: [Float]?

        /// Chooses by `|x_i|`, or by `|x_i| · weights[i]`.
        public init(_ choice: Choice, weights: [Float]? = nil) { (self.choice, self.weights) = (choice, weights) }

        /// The inputs that are chosen, ascending; nil if one is not a number where the largest are sought.
        ///
        /// - Parameter x: [count].
        public func active(_ x: UnsafePointer<Float>, count: Int) -> [UInt32]? {
            if let weights {
                require(weights.count == count, "\(weights.count) weights for \(count) inputs")
                return weights.withUnsafeBufferPointer { active(x, $0.baseAddress, count) }
            }
            return active(x, nil, count)
        }

        private func active(_ x: UnsafePointer<Float>, _ weights: UnsafePointer<Float>?, _ count: Int) -> [UInt32]? {
            switch choice {
            case .fixed(let chosen): return chosen
            case .statistical(let selection): return selection.active(x, count: count)
            case .above(let limit):
                return [UInt32](unsafeUninitializedCapacity: count) { chosen, n in
                    // Every index is written, and counts if it is chosen: a branch would be guessed wrong half of the time.
                    var place = 0
                    if let weights {
                        for i in 0..<count {
                            chosen[place] = UInt32(truncatingIfNeeded: i)
                            place &+= abs(x[i]) * weights[i] > limit ? 1 : 0
                        }
                    } else {
                        for i in 0..<count {
                            chosen[place] = UInt32(truncatingIfNeeded: i)
                            place &+= abs(x[i]) > limit ? 1 : 0
                        }
                    }
                    n = place
                }
            case .largest(let k):
                let scores = Buffer<Float>(uninitialized: max(count, 1))
                for i in 0..<count { scores.pointer[i] = abs(x[i]) * (weights?[i] ?? 1) }
                let left = max(count - k, 0)
                guard let line = RankThreshold(smallest: left, of: scores.pointer, count: count) else { return nil }
                var ties = line.ties
                return [UInt32](unsafeUninitializedCapacity: count) { chosen, n in
                    n = 0
                    for i in 0..<count {
                        let score = scores.pointer[i]
                        if score < line.value { continue }
                        if score == line.value && ties > 0 {
                            ties -= 1
                            continue
                        }
                        chosen[n] = UInt32(i)
                        n += 1
                    }
                }
            }
        }
    }

    /// [layer][role]; nil reads everything.
    private let inputs: [[Rule?]]
    /// [layer]; nil computes all.
    private let neurons: [Rule?]
    private let readsActivations: Bool
    public let choosesByMatrix: Bool

    /// - Parameters:
    ///   - inputs: The rule of each layer's matrices; roles without one read everything.
    ///   - neurons: The rule of each layer's neurons; nil for all neurons.
    ///   - byActivations: Whether rules of neurons look at `f(gate x)` rather than at `gate x`.
    public init(inputs: [[LinearRole: Rule]], neurons: [Rule?] = [], byActivations: Bool = true) {
        self.inputs = inputs.map { rules in LinearRole.allCases.map { rules[$0] } }
        self.neurons = neurons
        readsActivations = byActivations
        // Asking once for matrices that choose alike saves scanning an input again.
        choosesByMatrix = inputs.contains { rules in
            LinearRole.groups.contains { group in Set(group.map { rules[$0] }).count > 1 }
        }
    }

    private static func place(_ role: LinearRole) -> Int {
        switch role {
        case .query: 0
        case .key: 1
        case .value: 2
        case .output: 3
        case .gate: 4
        case .up: 5
        case .down: 6
        }
    }

    public func active(
        _ input: UnsafePointer<Float>, count: Int, layer: Int, roles: [LinearRole]
    ) -> [UInt32]? {
        if roles == [.down], choosesNeurons(layer: layer) {
            // Neurons that were not computed are zeros.
            return Rule(.above(0)).active(input, count: count)
        }
        guard inputs.indices.contains(layer), let role = roles.first else { return nil }
        return inputs[layer][Self.place(role)]?.active(input, count: count)
    }

    public func choosesNeurons(layer: Int) -> Bool { neurons.indices.contains(layer) && neurons[layer] != nil }

    public func neurons(
        preactivations: UnsafePointer<Float>, activations: UnsafePointer<Float>, count: Int, layer: Int
    ) -> [UInt32]? {
        guard choosesNeurons(layer: layer) else { return nil }
        return neurons[layer]?.active(readsActivations ? activations : preactivations, count: count)
    }
}

extension StoredMatrix {
    /// `‖W[:, i]‖` of every column.
    ///
    /// - Complexity: O(rows · columns); rows are decoded some at a time.
    public var columnNorms: [Float] {
        var squares = [Double](repeating: 0, count: columns)
        let (step, width) = (64, columns)
        let part = Buffer<Float>(uninitialized: max(step * width, 1))
        for start in stride(from: 0, to: rows, by: step) {
            let end = min(start + step, rows)
            decode(rows: start..<end, into: part.pointer)
            for r in 0..<end - start {
                for c in 0..<width {
                    let w = Double(part.pointer[r * width + c])
                    squares[c] += w * w
                }
            }
        }
        return squares.map { Float($0.squareRoot()) }
    }
}

/// Stores that leave inputs unread.
public enum GatedStores {
    /// The matrix with its values as they are, stored so that products read active inputs only.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for stores whose values cannot be turned (integers have scales by
    ///   output), naming the weight and what can be done.
    public static func turned(_ matrix: any StoredMatrix, name: String) throws -> any GatedMatrix {
        if let matrix = matrix as? any GatedMatrix { return matrix }
        let hasScales = matrix.format.values == .int8 || matrix.format.values == .int4
        if matrix is DenseMatrix, !hasScales {
            return try InputMajorMatrix(matrix.densified(), values: matrix.format.values)
        }
        if matrix is BitmaskMatrix || matrix is CSRMatrix, !hasScales {
            return try TransposedMatrix(turning: matrix)
        }
        throw LacunaError.unsupported(
            file: nil,
            what:
                "leaving out inputs of \(name), stored as \(matrix.format); weights in f32 or bf16 can (--weights bf16)"
        )
    }
}
