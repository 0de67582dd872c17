import LacunaLearn
import LacunaModels
import LacunaTensor

/// Lets every token have at most k activations in each feed-forward part while a network is trained: of the ReLU's outputs the k largest
/// stay, the others are 0, and the gradient goes through what stayed.
///
/// Zonglin Li, Chong You, Srinadh Bhojanapalli, Daliang Li, Ankit Singh Rawat, Sashank J. Reddi, Ke Ye, Felix Chern, Felix Yu, Ruiqi Guo,
/// Sanjiv Kumar, "The Lazy Neuron Phenomenon: On Emergence of Activation Sparsity in Transformers", arXiv 2210.06313: Top-k
/// Transformers. What was learned is run with ``ActivationGate/init(rectified:largest:)``.
public final class TopKActivation: TrainingHook {
    /// Activations that a token has at most.
    public let k: Int
    /// Whether networks stay as trained when the run ends; otherwise the selection is taken off.
    public let remains: Bool
    private var layers: [TrainableFeedForward] = []

    /// - Parameter remains: Whether the network goes on to select after the run, for evaluations on the tape.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than 1 activation.
    public init(k: Int, remains: Bool = true) throws {
        guard k >= 1 else { throw LacunaError.invalidArgument("k", reason: "\(k) is not at least 1") }
        (self.k, self.remains) = (k, remains)
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a network without feed-forward parts, or with narrower ones than k;
    ///   ``LacunaError/unsupported(file:what:)`` for functions other than ReLU.
    public func attach(_ run: TrainingRun) throws {
        layers = try run.model.watchableFeedForwards(rectified: true)
        for layer in layers {
            guard layer.up.outputDimensions >= k else {
                throw LacunaError.invalidArgument("k", reason: "\(k) of \(layer.up.outputDimensions) neurons")
            }
            let k = k
            layer.sparsifier = { $0.topK(k) }
        }
    }

    public func end(_ run: TrainingRun) throws {
        if !remains { for layer in layers { layer.sparsifier = nil } }
    }
}

extension ActivationGate {
    /// Computes of each feed-forward part, for every token, the k neurons with the largest activations.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than 1 neuron;
    ///   ``LacunaError/unsupported(file:what:)`` for a decoder whose function is another than ReLU.
    public init(rectified decoder: Transformer, largest k: Int) throws {
        guard k >= 1 else { throw LacunaError.invalidArgument("k", reason: "\(k) is not at least 1") }
        guard decoder.configuration.activation == .relu, !decoder.hasExperts else {
            throw LacunaError.unsupported(
                file: nil, what: "the largest activations of '\(decoder.configuration.activation.rawValue)'")
        }
        let rule = Rule(.largest(k))
        let hasGates = decoder.configuration.hasGates
        self.init(
            inputs: decoder.blocks.map { _ in hasGates ? [:] : [.down: rule] },
            neurons: hasGates ? decoder.blocks.map { _ in rule } : [])
    }
}
