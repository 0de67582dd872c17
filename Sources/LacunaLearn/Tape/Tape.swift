import LacunaTensor

/// Records operations on variables as they are computed, and runs their derivatives backwards.
///
/// Reverse-mode differentiation by an explicit list: every operation appends one closure, ``backward(from:)`` runs them
/// last to first. There is no graph to sort and no recursion. Buffers go back to a pool as soon as nothing needs them,
/// so use one tape for a whole training run. A tape and its variables belong to one thread; operations spread over
/// the thread pool by themselves, with results that do not depend on the number of threads.
///
/// ```swift
/// let tape = Tape<Float>()
/// let loss = Loss.crossEntropy(model(tape.constant(images)), labels: labels)
/// tape.backward(from: loss)          // gradients are in the model's parameters
/// optimizer.step(model.parameters)
/// ```
///
/// An operation that is not there can be added from outside: ``operation(inputs:shape:forward:backward:)``. Memory can be
/// had for time: ``recomputing(_:)``.
public final class Tape<Scalar: LearningScalar> {
    struct Entry {
        let output: Variable<Scalar>
        let backward: (UnsafePointer<Scalar>) -> Void
    }

    private var entries: [Entry] = []
    /// The parameters that the record was computed from, and how often each had changed by then.
    private var leaves: [(parameter: Parameter<Scalar>, version: Int)] = []
    /// Whether a part of the forward pass is being run again during the backward pass: what it remembers, such as running
    /// statistics, it has remembered already.
    public internal(set) var isRecomputing = false
    /// Where the memory of variables comes from and goes.
    public let pool: BufferPool<Scalar>
    /// Whether dropout drops and batch norm uses the batch's statistics.
    public var isTraining = true
    /// Whether operations are recorded. Evaluation needs no record: see ``withoutRecording(_:)``.
    public private(set) var isRecording = true
    /// Drawn from by dropout and other operations that are random while training.
    public var generator: SeededGenerator
    /// What products of matrices read of activations, gradients and weights, forward and backward: those of dense weights, and of frozen
    /// ones that store floats. Convolutions, attention and products with sparse weights read floats.
    public var precision = ProductPrecision.f32 {
        didSet { require(precision == .f32 || Scalar.self == Float.self, "only floats are rounded") }
    }
    /// Multiply-adds of the matrix products and convolutions computed so far, forward and backward.
    public var multiplyAdds = 0
    /// What layers noted about their products; nil while no one asks.
    var costs: [CostRecord]?

    /// A tape that is training and recording.
    ///
    /// - Parameter seed: Decides what ``generator`` gives.
    public init(seed: UInt64 = 0, pool: BufferPool<Scalar> = BufferPool()) {
        self.pool = pool
        generator = SeededGenerator(seed: seed, stream: 0x7A9E)
    }

    /// Number of operations recorded and not yet run backwards.
    public var count: Int { entries.count }

    // MARK: Leaves

    /// Numbers that need no gradient, such as a batch of inputs.
    public func constant(_ tensor: Tensor<Scalar>) -> Variable<Scalar> { leaf(tensor, needsGradient: false) }

    /// Numbers whose gradient stays readable in ``Variable/gradient`` after ``backward(from:)``.
    public func variable(_ tensor: Tensor<Scalar>) -> Variable<Scalar> { leaf(tensor, needsGradient: true) }

    private func leaf(_ tensor: Tensor<Scalar>, needsGradient: Bool) -> Variable<Scalar> {
        let storage = pool.take(tensor.count)
        tensor.withPointer { storage.pointer.update(from: $0, count: tensor.count) }
        return Variable(shape: tensor.shape, tape: self, storage: storage, needsGradient: needsGradient)
    }

    // MARK: Recording

    /// Calls `body` without recording: what it computes needs no gradients. For evaluation.
    public func withoutRecording<R>(_ body: () throws -> R) rethrows -> R { try recording(false, body) }

    func recording<R>(_ records: Bool, _ body: () throws -> R) rethrows -> R {
        let before = isRecording
        isRecording = records
        defer { isRecording = before }
        return try body()
    }

    /// As ``withoutRecording(_:)``, with dropout and batch norm as they are after training.
    public func evaluating<R>(_ body: () throws -> R) rethrows -> R {
        let before = isTraining
        isTraining = false
        defer { isTraining = before }
        return try withoutRecording(body)
    }

    /// A variable for an operation to write its result to.
    func output(_ shape: [Int], _ inputs: Variable<Scalar>?...) -> Variable<Scalar> { output(shape, of: inputs) }

    func output(_ shape: [Int], of inputs: [Variable<Scalar>?]) -> Variable<Scalar> {
        let needed = isRecording && inputs.contains { $0?.needsGradient ?? false }
        return Variable(
            shape: shape, tape: self, storage: pool.take(shape.reduce(1, *)), needsGradient: needed)
    }

    /// Remembers how the gradient of `output` becomes gradients of the operation's inputs.
    @inline(__always)
    func record(_ output: Variable<Scalar>, _ backward: @escaping (UnsafePointer<Scalar>) -> Void) {
        if output.needsGradient { entries.append(Entry(output: output, backward: backward)) }
    }

    /// Remembers that a parameter is part of the record.
    func noteLeaf(_ parameter: Parameter<Scalar>) { leaves.append((parameter, parameter.version)) }

    /// How often parameters were noted.
    var leafCount: Int { leaves.count }

    /// The first variable of a number whose gradient is computed at once, while that is done; and whether it reached older ones.
    var reducedFrom: Int?
    var reachesOutside = false
    private var serials = 0

    func nextSerial() -> Int {
        defer { serials += 1 }
        return serials
    }

    /// Takes back the operations recorded since there were `mark`, with what they hold.
    func forgetOperations(from mark: Int) { while entries.count > mark { entries.removeLast() } }

    // MARK: Backwards

    /// Adds the gradient of a single number, times `seed`, to all parameters it was computed from, and forgets the
    /// record.
    ///
    /// - Precondition: Since the forward pass no parameter in it has changed: its operations read values in place.
    public func backward(from loss: Variable<Scalar>, seed: Scalar = 1) {
        require(loss.count == 1, "backward needs a single number, not shape \(loss.shape)")
        require(loss.tape === self, "a variable of another tape")
        guard loss.needsGradient else { return reset() }
        for (parameter, version) in leaves {
            require(
                parameter.version == version,
                "a parameter of shape \(parameter.shape) changed between the forward and the backward pass")
        }
        loss.accumulate { gradient, add in gradient[0] = add != 0 ? gradient[0] + seed : seed }
        runBackwards(to: 0)
        leaves = []
    }

    /// Runs the operations recorded since there were `mark`, the last one first.
    func runBackwards(to mark: Int) {
        while entries.count > mark, let entry = entries.popLast() {
            if let gradient = entry.output.takeGradient() { entry.backward(UnsafePointer(gradient.pointer)) }
        }
    }

    /// Forgets the record without running it.
    public func reset() {
        // From the last to the first, so that long chains are not released recursively.
        forgetOperations(from: 0)
        leaves = []
    }
}
