import LacunaTensor

/// Changes parameters by their gradients.
///
/// What an optimiser keeps about a parameter lives in the parameter's slots, one number for each stored value, so it
/// follows sparse patterns and checkpoints by itself. Masked entries and their state are 0 again after every step. A
/// parameter without a gradient stays as it is.
public protocol Optimizer: AnyObject {
    /// Of the next step.
    var learningRate: Double { get set }
    /// Number of steps done. Set when a run is resumed.
    var steps: Int { get set }
    /// What it is called in reports.
    var name: String { get }
    /// Updates `count` values from `offset` on, by ``learningRate``, which already has the parameter's
    /// ``Parameter/rateFactor`` in it, and by the weight decay that ``Parameter/decay(_:)`` gives.
    func update(_ parameter: Parameter<Float>, offset: Int, count: Int)
    /// Slots that ``update(_:offset:count:)`` uses.
    var slotNames: [String] { get }
}

extension Optimizer {
    /// Updates all parameters that have a gradient and counts the step.
    ///
    /// The gradient of an embedding touches few rows: with `rowSparse` only those rows are updated, and so are their
    /// states. For SGD without momentum and Adagrad without decay the result is the same; others then treat a row that
    /// does not occur as if the step had not happened.
    public func step(_ parameters: [Parameter<Float>], rowSparse: Bool = false) {
        steps += 1
        let rate = learningRate
        defer { learningRate = rate }
        for parameter in parameters where parameter.hasGradient && parameter.isTrainable {
            learningRate = rate * parameter.rateFactor
            // Made before the work is spread over threads.
            for slot in slotNames { _ = parameter.slot(slot) }
            if rowSparse, let rows = parameter.touchedRows, parameter.shape.count == 2 {
                let width = parameter.shape[1]
                for row in Set(rows) { update(parameter, offset: Int(row) * width, count: width) }
            } else {
                _ = parameter.gradientPointer
                spread(parameter.count, grain: 1 << 15) { update(parameter, offset: $0, count: $1) }
            }
            parameter.noteChange()
            parameter.applyMask()
        }
    }
}

extension Optimizer {
    /// Forgets what is kept about `parameters` and the steps done, as before the first step.
    public func restart(_ parameters: [Parameter<Float>]) {
        for parameter in parameters { for slot in slotNames { parameter.removeSlot(slot) } }
        steps = 0
    }
}

/// Stochastic gradient descent, with momentum (Polyak's or Nesterov's) and weight decay as part of the gradient.
///
/// `v = momentum v + (1 - dampening)(g + decay w)`, `w -= rate v`.
public final class SGD: Optimizer {
    public var learningRate: Double
    /// Share of the old velocity in the new one; 0 for none.
    public var momentum: Double
    /// What the gradient's part in the velocity lacks of 1.
    public var dampening: Double
    /// Added to the gradient, times the weight; only where a parameter decays.
    public var weightDecay: Double
    /// Whether the gradient is that at the place where the momentum leads.
    public var nesterov: Bool
    public var steps = 0

    /// Plain gradient descent unless it is said.
    public init(
        learningRate: Double, momentum: Double = 0, dampening: Double = 0, weightDecay: Double = 0,
        nesterov: Bool = false
    ) {
        self.learningRate = learningRate
        self.momentum = momentum
        self.dampening = dampening
        self.weightDecay = weightDecay
        self.nesterov = nesterov
    }

    public var name: String { "sgd" }
    public var slotNames: [String] { momentum == 0 ? [] : ["velocity"] }

    public func update(_ parameter: Parameter<Float>, offset: Int, count: Int) {
        Float.kernels.pointee.sgd(
            parameter.buffer.pointer + offset, parameter.gradientPointer + offset,
            momentum == 0 ? nil : parameter.slot("velocity") + offset, count, learningRate, momentum, dampening,
            parameter.decay(weightDecay), nesterov ? 1 : 0)
    }
}

/// Adam (Diederik Kingma, Jimmy Ba, arXiv 1412.6980), and AdamW (Ilya Loshchilov, Frank Hutter, arXiv 1711.05101) whose
/// weight decay bypasses the moments: `w -= rate · decay · w`.
public final class Adam: Optimizer {
    public var learningRate: Double
    /// Share of the old mean of gradients in the new one.
    public var beta1: Double
    /// Share of the old mean of squares in the new one.
    public var beta2: Double
    /// Added to the root of the mean square.
    public var epsilon: Double
    /// Only where a parameter decays.
    public var weightDecay: Double
    /// Whether the decay bypasses the moments (AdamW) or is part of the gradient.
    public var isDecoupled: Bool
    public var steps = 0

    /// Adam with its authors' defaults.
    public init(
        learningRate: Double = 1e-3, beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8,
        weightDecay: Double = 0, isDecoupled: Bool = false
    ) {
        self.learningRate = learningRate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        self.isDecoupled = isDecoupled
    }

    /// AdamW with its customary decay.
    public static func decoupled(
        learningRate: Double = 1e-3, beta1: Double = 0.9, beta2: Double = 0.999, weightDecay: Double = 0.01
    ) -> Adam {
        Adam(learningRate: learningRate, beta1: beta1, beta2: beta2, weightDecay: weightDecay, isDecoupled: true)
    }

    public var name: String { isDecoupled ? "adamw" : "adam" }
    public var slotNames: [String] { ["first", "second"] }

    public func update(_ parameter: Parameter<Float>, offset: Int, count: Int) {
        let decay = parameter.decay(weightDecay)
        Float.kernels.pointee.adam(
            parameter.buffer.pointer + offset, parameter.gradientPointer + offset, parameter.slot("first") + offset,
            parameter.slot("second") + offset, count, learningRate, beta1, beta2, epsilon, isDecoupled ? decay : 0,
            isDecoupled ? 0 : decay, 1 - power(beta1, Double(steps)), 1 - power(beta2, Double(steps)))
    }
}

/// Adagrad: `s += g²`, `w -= rate g / (√s + epsilon)`. John Duchi, Elad Hazan, Yoram Singer, JMLR 12 (2011).
public final class Adagrad: Optimizer {
    public var learningRate: Double
    /// Added to the root of the sum of squares.
    public var epsilon: Double
    /// Added to the gradient, times the weight; only where a parameter decays.
    public var weightDecay: Double
    public var steps = 0

    /// Adagrad with the usual defaults.
    public init(learningRate: Double = 0.01, epsilon: Double = 1e-10, weightDecay: Double = 0) {
        self.learningRate = learningRate
        self.epsilon = epsilon
        self.weightDecay = weightDecay
    }

    public var name: String { "adagrad" }
    public var slotNames: [String] { ["squares"] }

    public func update(_ parameter: Parameter<Float>, offset: Int, count: Int) {
        Float.kernels.pointee.adagrad(
            parameter.buffer.pointer + offset, parameter.gradientPointer + offset, parameter.slot("squares") + offset,
            count, learningRate, epsilon, parameter.decay(weightDecay))
    }
}

extension Parameter where Scalar == Float {
    /// The Euclidean norm of all gradients together. The order of additions depends on shapes alone.
    public static func gradientNorm(_ parameters: [Parameter<Float>]) -> Double {
        parameters.reduce(0.0) { total, parameter in
            guard parameter.hasGradient else { return total }
            return total + Float.kernels.pointee.sum_of_squares(parameter.gradientPointer, parameter.count)
        }.squareRoot()
    }

    /// Scales all gradients down together so that their norm is at most `limit`, and returns the norm before.
    @discardableResult
    public static func clipGradients(_ parameters: [Parameter<Float>], norm limit: Double) -> Double {
        let norm = gradientNorm(parameters)
        if norm > limit, norm.isFinite {
            for parameter in parameters { parameter.scaleGradient(by: Float(limit / norm)) }
        }
        return norm
    }
}

/// An exponential moving average of parameters, which often evaluates better than the last values.
public final class ParameterAverage {
    /// Share of the old average in the new one.
    public let decay: Double
    private let slot = Parameter<Float>.averageSlot

    /// - Precondition: `decay` is in 0..<1.
    public init(decay: Double = 0.999) {
        require((0..<1).contains(decay), "a decay of \(decay)")
        self.decay = decay
    }

    /// Takes in the present values. The first call starts the average with them.
    public func update(_ parameters: [Parameter<Float>]) {
        for parameter in parameters where parameter.isTrainable {
            let isNew = parameter.slots[slot] == nil
            Float.kernels.pointee.average(
                parameter.buffer.pointer, parameter.slot(slot), parameter.count, isNew ? 0 : decay)
        }
    }

    /// Runs `body` with the averages in the place of the values.
    public func evaluating<R>(_ parameters: [Parameter<Float>], _ body: () throws -> R) rethrows -> R {
        exchange(parameters)
        defer { exchange(parameters) }
        return try body()
    }

    private func exchange(_ parameters: [Parameter<Float>]) {
        for parameter in parameters {
            guard let average = parameter.slots[slot] else { continue }
            let (a, b) = (parameter.buffer.pointer, average.pointer)
            for i in 0..<parameter.count { (a[i], b[i]) = (b[i], a[i]) }
            parameter.noteChange()
        }
    }
}
