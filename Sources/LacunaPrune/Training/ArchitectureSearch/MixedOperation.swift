import LacunaLearn
import LacunaTensor

/// Candidates for one place of a network, all computed, and added with weights that sum to 1: `Σ_o softmax(α)_o · o(x)`.
public final class MixedOperation: Module {
    /// nil stands for nothing at all: its weight adds zeros.
    public let candidates: [(any UnaryLayer)?]
    private let places: [Int32]

    /// - Precondition: One candidate is a layer; all give one shape.
    public init(_ candidates: [(any UnaryLayer)?]) {
        self.candidates = candidates
        places = candidates.indices.filter { candidates[$0] != nil }.map { Int32($0) }
        require(!places.isEmpty, "no candidate is a layer")
    }

    public var parts: [(name: String, part: Any)] {
        candidates.enumerated().compactMap { index, layer in layer.map { (String(index), $0) } }
    }

    /// - Parameter weights: [1, candidates].
    public func callAsFunction(_ x: Variable<Float>, weights: Variable<Float>) -> Variable<Float> {
        let outputs = candidates.compactMap { $0?(x) }
        let rows = Variable.concatenated(rows: outputs.map { $0.reshaped([1, $0.count]) })
        return weights.gathered(columns: places).multiplied(by: rows).reshaped(outputs[0].shape)
    }
}
