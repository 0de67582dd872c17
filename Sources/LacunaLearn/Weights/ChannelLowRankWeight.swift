import LacunaSparse
import LacunaTensor

/// A low-rank product beside some whole columns: `y = γ B φ(A x) + (1 - γ) C x[I]`, all three matrices trained.
///
/// Without `φ` this is a matrix. With it there is none, so that such a layer can be trained, used on the tape and kept in a
/// network's file, but not stored as a matrix (``TrainableWeight/isLinear``).
///
/// Jiaxi Li and others, "LOST: Low-rank and Sparse Pre-training for Large Language Models", arXiv 2508.02668.
public final class ChannelLowRankWeight: StatefulModule, TrainableWeight {
    /// `A` [rank, inputs].
    public let a: Parameter<Float>
    /// `B` [outputs, rank].
    public let b: Parameter<Float>
    /// `C` [outputs, channels.count].
    public let values: Parameter<Float>
    /// `I`: the inputs that `C` reads, ascending.
    public private(set) var channels: [Int32]
    /// γ.
    public let mix: Float
    /// `φ`; nil for none.
    public let activation: Activation?

    /// - Precondition: Factors of one rank, a column of values for each channel, channels that ascend within the inputs.
    public init(
        a: Tensor<Float>, b: Tensor<Float>, values: Tensor<Float>, channels: [Int32], mix: Float,
        activation: Activation? = nil
    ) {
        require(a.rank == 2 && b.rank == 2 && a.shape[0] == b.shape[1], "factors of different rank")
        require(values.shape == [b.shape[0], channels.count], "values of shape \(values.shape)")
        require(Self.isValid(channels, below: a.shape[1]), "channels that do not ascend within the inputs")
        (self.a, self.b) = (Parameter(a), Parameter(b))
        self.values = Parameter(values, decays: true)
        (self.channels, self.mix, self.activation) = (channels, mix, activation)
    }

    private static func isValid(_ channels: [Int32], below limit: Int) -> Bool {
        (channels.first ?? 0) >= 0 && Int(channels.last ?? -1) < limit
            && zip(channels, channels.dropFirst()).allSatisfy(<)
    }

    public var outputs: Int { b.shape[0] }
    public var inputs: Int { a.shape[1] }
    /// Rows of `A`, columns of `B`.
    public var rank: Int { a.shape[0] }
    public var activeCount: Int { rank == 0 ? values.count : outputs * inputs }
    public var multiplyAdds: Int { a.count + b.count + values.count }
    public var byteCount: Int { a.buffer.byteCount + b.buffer.byteCount + values.buffer.byteCount + 4 * channels.count }
    public var storage: String { "low-rank + channels" }
    public var isLinear: Bool { activation == nil }

    /// - Precondition: There is no `φ`.
    public func densified() -> Tensor<Float> {
        require(isLinear, "a layer with a \(activation?.rawValue ?? "") inside has no matrix")
        var result = rank > 0 ? mix * b.value.multiplied(by: a.value) : Tensor(zeros: [outputs, inputs])
        let columns = values.value
        for row in 0..<outputs {
            for (place, channel) in channels.enumerated() {
                result[row, Int(channel)] += (1 - mix) * columns[row, place]
            }
        }
        return result
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let tape = x.tape
        var low = x.linear(a.on(tape))
        if let activation { low = low.map(activation) }
        var y = low.linear(b.on(tape)).affine(mix)
        if !channels.isEmpty {
            y = y + x.gathered(columns: channels).linear(values.on(tape)).affine(1 - mix)
        }
        return bias.map { y.addingRow($0) } ?? y
    }

    public var integerState: [(name: String, values: [Int32])] { [("channels", channels)] }

    public func restore(integerState: [String: [Int32]], file: String) throws {
        let restored = integerState["channels"] ?? []
        guard restored.count == channels.count, Self.isValid(restored, below: inputs) else {
            throw LacunaError.malformed(
                file: file, location: "channels", reason: "are not \(channels.count) ascending ones below \(inputs)")
        }
        channels = restored
    }
}
