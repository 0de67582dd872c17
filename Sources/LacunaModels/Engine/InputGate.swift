import LacunaSparse
import LacunaTensor

/// Decides which inputs of a linear layer are read, and which neurons of a feed-forward part are computed: activation
/// sparsity. The others count as 0, or as what the layer's ``GatedMatrix`` has in their place.
public protocol InputGate: Sendable {
    /// The inputs to read, ascending; nil for all of them.
    ///
    /// - Parameters:
    ///   - input: One vector of `count` numbers.
    ///   - role: The layers that are about to multiply it; those that share an input share the choice.
    func active(_ input: UnsafePointer<Float>, count: Int, layer: Int, roles: [LinearRole]) -> [UInt32]?
    /// Whether layers that share an input choose each for itself; ``active(_:count:layer:roles:)`` is then asked for one role at
    /// a time. False unless said.
    var choosesByMatrix: Bool { get }
    /// Whether ``neurons(preactivations:activations:count:layer:)`` is to be asked in a layer with a gated feed-forward part.
    /// False unless said.
    func choosesNeurons(layer: Int) -> Bool
    /// The neurons `f(gate x) · up x` of a feed-forward part to compute, ascending; nil for all of them. Rows of `up` are
    /// read for these alone, the others' outputs are 0.
    ///
    /// - Parameters:
    ///   - preactivations: `gate x` [count].
    ///   - activations: `f(gate x)` [count].
    func neurons(
        preactivations: UnsafePointer<Float>, activations: UnsafePointer<Float>, count: Int, layer: Int
    ) -> [UInt32]?
}

/// A matrix with weights that stand for those of the inputs that a gate leaves out.
public protocol SubstitutedMatrix: GatedMatrix {
    /// How many weights are read in the place of the others, as soon as an input is left out.
    var substituteCount: Int { get }
}

extension InputGate {
    public var choosesByMatrix: Bool { false }
    public func choosesNeurons(layer: Int) -> Bool { false }
    public func neurons(
        preactivations: UnsafePointer<Float>, activations: UnsafePointer<Float>, count: Int, layer: Int
    ) -> [UInt32]? { nil }
}

/// Reads inputs of at least a magnitude in the layers of some roles.
///
/// James Liu, Pragaash Ponnusamy, Tianle Cai, Han Guo, Yoon Kim, Ben Athiwaratkun, "Training-Free Activation Sparsity in
/// Large Language Models", arXiv 2408.14690, with one threshold a role.
public struct ThresholdGate: InputGate {
    /// What magnitude an input must reach, by role; roles without one read everything.
    public let thresholds: [LinearRole: Float]

    /// - Precondition: No threshold is negative.
    public init(_ thresholds: [LinearRole: Float]) {
        require(thresholds.values.allSatisfy { $0 >= 0 }, "a negative threshold")
        self.thresholds = thresholds
    }

    public func active(
        _ input: UnsafePointer<Float>, count: Int, layer: Int, roles: [LinearRole]
    ) -> [UInt32]? {
        // Layers that share an input read what the least strict of them wants.
        let limits = roles.map { thresholds[$0] ?? 0 }
        guard let limit = limits.min(), limit > 0 else { return nil }
        return (0..<UInt32(count)).filter { abs(input[Int($0)]) >= limit }
    }
}
