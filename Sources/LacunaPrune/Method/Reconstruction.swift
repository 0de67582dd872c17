import LacunaLearn
import LacunaModels
import LacunaTensor

/// Trains some parameters so that a part of a network gives what it gave before it was compressed: steps of Adam on the mean
/// squared difference, relative to the size of the targets.
public struct Reconstruction: Sendable, Hashable {
    /// Steps; 0 trains nothing.
    public var steps: Int
    /// Of Adam, falling to 0 along a cosine. What parameters it changes may scale it (``Parameter/rateFactor``).
    public var learningRate: Double
    /// Rows, or sequences, of a step.
    public var batch: Int
    /// What products of a step read of weights, activations and gradients.
    public var precision = ProductPrecision.f32

    /// Steps of one batch each.
    public init(steps: Int, learningRate: Double, batch: Int) {
        (self.steps, self.learningRate, self.batch) = (steps, learningRate, batch)
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range.
    public func validate() throws {
        guard steps >= 0, learningRate >= 0, learningRate.isFinite, batch > 0 else {
            throw LacunaError.invalidArgument(
                "reconstruction", reason: "\(steps) steps of \(batch) at a rate of \(learningRate)")
        }
    }

    /// Runs the steps.
    ///
    /// - Parameters:
    ///   - parameters: What is trained.
    ///   - pair: What a step reads and what it should come to, given the step.
    ///   - forward: What the part makes of what it reads.
    /// - Returns: The relative error of the first and of the last step; nil without steps.
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the error is not finite; what `step` throws.
    @discardableResult
    public func run(
        _ parameters: [Parameter<Float>], pair: (_ step: Int) throws -> (input: Tensor<Float>, target: Tensor<Float>),
        forward: (Variable<Float>) -> Variable<Float>, step report: (_ step: Int) throws -> Void = { _ in }
    ) throws -> (first: Double, last: Double)? {
        try validate()
        let tape = Tape<Float>()
        tape.precision = precision
        let optimizer = Adam(learningRate: learningRate)
        let schedule = Schedule.cosine(from: learningRate, to: 0, steps: max(steps, 1))
        var errors: (first: Double, last: Double)?
        for step in 0..<steps {
            let (input, target) = try pair(step)
            for parameter in parameters { parameter.clearGradient() }
            let wanted = tape.constant(target)
            let loss = Loss.featureDistance(student: forward(tape.constant(input)), teacher: wanted)
            let error = Double(loss.item)
            guard error.isFinite else {
                throw LacunaError.numerical(
                    operation: "reconstruction", reason: "the error is \(error) at step \(step)")
            }
            errors = (errors?.first ?? error, error)
            tape.backward(from: loss)
            optimizer.learningRate = schedule(step)
            optimizer.step(parameters)
            try report(step)
        }
        for parameter in parameters { parameter.removeSlots() }
        return errors
    }
}

/// What a block reads in calibration, and what the dense block makes of it.
public struct BlockStates: Sendable {
    /// Hidden states in front of the block, [tokens, width] each: whole sequences one after the other.
    public let inputs: [Tensor<Float>]
    /// What the dense block gives for these.
    public let targets: [Tensor<Float>]
    /// Tokens of a sequence.
    public let sequenceLength: Int

    /// Sequences of all batches.
    public var sequences: Int { inputs.reduce(0) { $0 + $1.rows / sequenceLength } }

    /// Some sequences, by their indices.
    func selecting(_ indices: [Int]) -> (input: Tensor<Float>, target: Tensor<Float>) {
        func rows(_ batches: [Tensor<Float>]) -> Tensor<Float> {
            var result: [Float] = []
            for index in indices {
                var place = index
                for batch in batches {
                    let count = batch.rows / sequenceLength
                    if place < count {
                        result += batch.rows(place * sequenceLength..<(place + 1) * sequenceLength).scalars
                        break
                    }
                    place -= count
                }
            }
            return Tensor(result, shape: [indices.count * sequenceLength, batches[0].columns])
        }
        return (rows(inputs), rows(targets))
    }
}

extension Reconstruction {
    /// Trains the parameters of one block of a network that are trainable, on sequences in an order that the seed decides.
    ///
    /// - Throws: As ``run(_:pair:forward:step:)``.
    @discardableResult
    public func run(
        block: TrainableBlock, _ states: BlockStates, seed: UInt64, step report: (_ step: Int) throws -> Void = { _ in }
    ) throws -> (first: Double, last: Double)? {
        let (length, count) = (states.sequenceLength, min(batch, states.sequences))
        let places = (0..<count * length).map { Int32($0 % length) }
        var generator = SeededGenerator(seed: seed, stream: 0xB10C)
        var order: [Int] = []
        return try run(
            block.trainableParameters,
            pair: { _ in
                if order.count < count { order = Array(0..<states.sequences).shuffled(using: &generator) }
                defer { order.removeFirst(count) }
                return states.selecting(Array(order.prefix(count)))
            }, forward: { block($0, positions: places, batch: count) }, step: report)
    }
}
