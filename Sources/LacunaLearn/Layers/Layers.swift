import LacunaTensor

/// A convolution of images [n, channels, height, width].
public final class Conv2d: UnaryLayer {
    /// [outputs, inputs / groups, height, width].
    public let weight: Parameter<Float>
    /// [outputs]; nil for none.
    public let bias: Parameter<Float>?
    /// How the kernel moves.
    public let sliding: Sliding
    /// Groups of channels that do not mix; a divisor of inputs and outputs.
    public let groups: Int

    /// Weights as `initialization` says, biases 0.
    public init(
        inputChannels: Int, outputChannels: Int, kernelSize: Int, sliding: Sliding = Sliding(), groups: Int = 1,
        bias: Bool = true, initialization: Initialization = .uniform, using generator: inout SeededGenerator
    ) {
        require(inputChannels % groups == 0 && outputChannels % groups == 0, "channels do not divide into groups")
        let fanIn = inputChannels / groups * kernelSize * kernelSize
        weight = Parameter(
            initialization.tensor(
                [outputChannels, inputChannels / groups, kernelSize, kernelSize], fanIn: fanIn, using: &generator))
        self.bias = bias ? Parameter(Tensor(zeros: [outputChannels])) : nil
        self.sliding = sliding
        self.groups = groups
    }

    /// [n, outputs, height, width] of images [n, inputs, height, width].
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let y = x.convolved(weight.on(x.tape), bias: bias?.on(x.tape), sliding: sliding, groups: groups)
        x.tape.note(rows: y.shape[0] * y.shape[2] * y.shape[3], dense: weight.count, active: weight.activeCount)
        return y
    }
}

/// A table of vectors, one for each of `count` items.
public final class Embedding: Module {
    /// [count, dimensions].
    public let weight: Parameter<Float>

    /// A table without weight decay, normal of deviation 1 unless said otherwise.
    public init(
        count: Int, dimensions: Int, initialization: Initialization = .normal(1), using generator: inout SeededGenerator
    ) {
        weight = Parameter(
            initialization.tensor([count, dimensions], fanIn: dimensions, using: &generator), decays: false)
    }

    /// Vectors [indices, dimensions].
    public func callAsFunction(_ indices: [Int32], on tape: Tape<Float>) -> Variable<Float> {
        weight.on(tape).gathered(indices)
    }
}

/// Layer normalisation with gain and bias; see ``Variable/layerNormalized(gain:bias:epsilon:)``.
public final class LayerNorm: UnaryLayer {
    /// [dimensions], 1 at first.
    public let weight: Parameter<Float>
    /// [dimensions], 0 at first.
    public let bias: Parameter<Float>
    /// Added to the variance.
    public let epsilon: Double

    /// A norm of rows of `dimensions` numbers.
    public init(dimensions: Int, epsilon: Double = 1e-5) {
        weight = Parameter(Tensor(repeating: 1, shape: [dimensions]))
        bias = Parameter(Tensor(zeros: [dimensions]))
        self.epsilon = epsilon
    }

    /// Each row with mean 0 and deviation 1, times the gain, plus the bias.
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        x.layerNormalized(gain: weight.on(x.tape), bias: bias.on(x.tape), epsilon: epsilon)
    }
}

/// RMS normalisation with gain; see ``Variable/rmsNormalized(gain:epsilon:)``.
public final class RMSNorm: UnaryLayer {
    /// [dimensions], 1 at first.
    public let weight: Parameter<Float>
    /// Added to the mean square.
    public let epsilon: Double

    /// A norm of rows of `dimensions` numbers.
    public init(dimensions: Int, epsilon: Double = 1e-6) {
        weight = Parameter(Tensor(repeating: 1, shape: [dimensions]))
        self.epsilon = epsilon
    }

    /// Each row divided by the root of its mean square, times the gain.
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        x.rmsNormalized(gain: weight.on(x.tape), epsilon: epsilon)
    }
}

/// Batch normalisation of [n, channels, ...]: by the batch's statistics while training, by running ones otherwise.
public final class BatchNorm: UnaryLayer {
    /// [channels], 1 at first.
    public let weight: Parameter<Float>
    /// [channels], 0 at first.
    public let bias: Parameter<Float>
    /// [channels], not trained: what evaluation takes off.
    public let runningMean: Parameter<Float>
    /// Unbiased, as is customary.
    public let runningVariance: Parameter<Float>
    /// How much a batch weighs in the running statistics.
    public var momentum: Float
    /// Added to the variance.
    public let epsilon: Double

    /// A norm of images or rows of `channels` channels.
    public init(channels: Int, momentum: Float = 0.1, epsilon: Double = 1e-5) {
        weight = Parameter(Tensor(repeating: 1, shape: [channels]))
        bias = Parameter(Tensor(zeros: [channels]))
        runningMean = Parameter(Tensor(zeros: [channels]), isTrainable: false)
        runningVariance = Parameter(Tensor(repeating: 1, shape: [channels]), isTrainable: false)
        self.momentum = momentum
        self.epsilon = epsilon
    }

    /// The normalised batch. While training this also moves the running statistics, except where a part is computed again.
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let (gain, offset) = (weight.on(x.tape), bias.on(x.tape))
        if !x.tape.isTraining {
            return x.batchNormalized(
                gain: gain, bias: offset,
                statistics: (
                    runningMean.buffer.elements.map(Double.init), runningVariance.buffer.elements.map(Double.init)
                ), epsilon: epsilon
            ).output
        }
        let result = x.batchNormalized(gain: gain, bias: offset, epsilon: epsilon)
        if x.tape.isRecomputing { return result.output }
        let count = Float(x.count / max(weight.count, 1))
        for i in 0..<weight.count {
            let variance = Float(result.variances[i]) * count / max(count - 1, 1)
            runningMean.buffer.pointer[i] += momentum * (Float(result.means[i]) - runningMean.buffer.pointer[i])
            runningVariance.buffer.pointer[i] += momentum * (variance - runningVariance.buffer.pointer[i])
        }
        return result.output
    }
}

/// Normalisation of groups of channels within each example; see
/// ``Variable/groupNormalized(groups:gain:bias:epsilon:)``.
public final class GroupNorm: UnaryLayer {
    /// [channels], 1 at first.
    public let weight: Parameter<Float>
    /// [channels], 0 at first.
    public let bias: Parameter<Float>
    /// Of channels, each with statistics of its own.
    public let groups: Int
    /// Added to the variance.
    public let epsilon: Double

    /// - Precondition: `groups` divides `channels`.
    public init(groups: Int, channels: Int, epsilon: Double = 1e-5) {
        require(groups > 0 && channels % groups == 0, "\(channels) channels do not divide into \(groups) groups")
        weight = Parameter(Tensor(repeating: 1, shape: [channels]))
        bias = Parameter(Tensor(zeros: [channels]))
        self.groups = groups
        self.epsilon = epsilon
    }

    /// The normalised batch, [n, channels, ...].
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        x.groupNormalized(groups: groups, gain: weight.on(x.tape), bias: bias.on(x.tape), epsilon: epsilon)
    }
}

/// Sets random entries to 0 while training.
public final class Dropout: UnaryLayer {
    /// Share of entries that become 0; the others are divided by what is left of 1.
    public let fraction: Double
    /// - Parameter fraction: In 0..<1.
    public init(_ fraction: Double) { self.fraction = fraction }
    /// None.
    public var parts: [(name: String, part: Any)] { [] }
    /// `x` with random entries set to 0 while the tape is training, `x` otherwise.
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { x.dropout(fraction) }
}
