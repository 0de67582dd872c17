import LacunaIO
import LacunaLearn
import LacunaTensor

/// A network that holds several candidates for what it could be, and weights `α` between them.
public protocol SearchableNetwork: UnaryLayer {
    /// `α`. They are parts of the network and not trained with its weights: `Parameter/isTrainable` is false but for the moment of their
    /// own steps.
    var architecture: [Parameter<Float>] { get }
}

/// Learns which of a network's candidates to keep while its weights are trained: before every step of the weights `α` takes one down the
/// loss of examples held out, as it will be after that step.
///
/// With weights `w`, rate `ξ` and momentum `v`: `w' = w - ξ (μ v + ∇_w L_train(w, α) + λ w)`, and `α` learns by Adam from
/// `∇_α L_val(w', α) - ξ ∇²_{α w} L_train(w, α) · ∇_{w'} L_val(w', α)`, the product by central differences:
/// `(∇_α L_train(w + ε d) - ∇_α L_train(w - ε d)) / 2ε`, `d = ∇_{w'} L_val`, `ε = difference / ‖d‖`. Whatever else is trained counts as
/// weights, scores of a ``PopupWeight`` too. Hanxiao Liu, Karen Simonyan, Yiming Yang, "DARTS: Differentiable Architecture Search",
/// arXiv 1806.09055, with their numbers.
///
/// Weights and running statistics are as before when `α` has made its step. A step costs five passes where a plain one costs one.
public final class BilevelSearch<Source: BatchSource>: TrainingHook {
    private let network: any SearchableNetwork
    private let training: Source
    private let validation: Source
    private let rate: Schedule
    private let settings: BilevelSettings
    private let optimizer: Adam
    private let loss: (Source.Batch, Tape<Float>) throws -> Variable<Float>

    /// - Parameters:
    ///   - training: The source of the run, whose batch of the same step `w'` learns from.
    ///   - validation: Examples that the weights do not see.
    ///   - rate: `ξ`: that of the run's plan.
    ///   - loss: That of the run.
    /// - Throws: `LacunaError.invalidArgument` for settings out of range, and for a network without candidates.
    public init(
        _ network: any SearchableNetwork, training: Source, validation: Source, rate: Schedule,
        settings: BilevelSettings = BilevelSettings(),
        loss: @escaping (Source.Batch, Tape<Float>) throws -> Variable<Float>
    ) throws {
        try settings.validate()
        guard !network.architecture.isEmpty else {
            throw LacunaError.invalidArgument("network", reason: "has no candidates to choose from")
        }
        (self.network, self.training, self.validation, self.rate) = (network, training, validation, rate)
        (self.settings, self.loss) = (settings, loss)
        optimizer = Adam(
            learningRate: settings.rate, beta1: settings.beta1, beta2: settings.beta2, weightDecay: settings.decay)
        for parameter in network.architecture { parameter.isTrainable = false }
    }

    /// What an optimiser before kept about `α` is not this one's.
    public func begin(_ run: TrainingRun) throws { optimizer.restart(network.architecture) }

    public func beforeStep(_ run: TrainingRun) throws {
        let gradients = try gradients(run)
        let (tape, alphas) = (run.tape, network.architecture)
        run.model.clearGradients()
        for alpha in alphas { alpha.isTrainable = true }
        defer { for alpha in alphas { alpha.isTrainable = false } }
        // The gradient of Σ α g is g.
        for (alpha, gradient) in zip(alphas, gradients) {
            tape.backward(from: (alpha.on(tape) * tape.constant(gradient)).sum())
        }
        optimizer.step(alphas)
        run.model.clearGradients()
    }

    /// The gradients of `α` at the present step, in the order of ``SearchableNetwork/architecture``. Nothing else changes.
    func gradients(_ run: TrainingRun) throws -> [Tensor<Float>] {
        let (tape, alphas) = (run.tape, network.architecture)
        let own = Set(alphas.map { ObjectIdentifier($0) })
        let others = run.model.parameters.filter { !own.contains(ObjectIdentifier($0)) }
        let weights = others.filter(\.isTrainable)
        let before = others.map(\.value)
        func restore() { for (parameter, value) in zip(others, before) { parameter.value = value } }
        // Masks are taken anew by every value that is set; optimiser states of entries that stay are not touched.
        defer {
            restore()
            for alpha in alphas { alpha.isTrainable = false }
            for weight in weights { weight.isTrainable = true }
            run.model.clearGradients()
        }
        func differentiate(_ batch: Source.Batch) throws {
            run.model.clearGradients()
            tape.backward(from: try loss(batch, tape))
        }
        func alphaGradients() -> [Tensor<Float>] { alphas.map { $0.gradient ?? Tensor(zeros: $0.shape) } }

        let (seen, held) = (training.batch(step: run.step), validation.batch(step: run.step))
        let xi = Float(rate(run.step))
        if settings.isUnrolled {
            try differentiate(seen)
            advance(weights, by: xi, run.optimizer)
        }
        for alpha in alphas { alpha.isTrainable = true }
        try differentiate(held)
        let first = alphaGradients()
        guard settings.isUnrolled else { return first }
        let direction = weights.map { $0.gradient ?? Tensor(zeros: $0.shape) }
        let norm = direction.reduce(0.0) { $0 + $1.scalars.reduce(0.0) { $0 + Double($1) * Double($1) } }.squareRoot()
        guard norm > 0, norm.isFinite else { return first }
        let epsilon = Float(settings.difference / norm)
        func shifted(_ sign: Float) throws -> [Tensor<Float>] {
            restore()
            for (weight, step) in zip(weights, direction) { weight.value = weight.value + (sign * epsilon) * step }
            for weight in weights { weight.isTrainable = false }
            defer { for weight in weights { weight.isTrainable = true } }
            try differentiate(seen)
            return alphaGradients()
        }
        let (up, down) = (try shifted(1), try shifted(-1))
        return first.indices.map { first[$0] - (xi / (2 * epsilon)) * (up[$0] - down[$0]) }
    }

    /// One step of the weights as the optimiser's gradient, momentum and decay have it; of another optimiser than SGD, the gradient's.
    private func advance(_ weights: [Parameter<Float>], by xi: Float, _ optimizer: any Optimizer) {
        let descent = optimizer as? SGD
        for weight in weights {
            var step = weight.gradient ?? Tensor(zeros: weight.shape)
            if let descent {
                if let velocity = weight.slots["velocity"], descent.momentum != 0 {
                    step += Float(descent.momentum) * Tensor(velocity.elements, shape: weight.shape)
                }
                step += Float(weight.decay(descent.weightDecay)) * weight.value
            }
            weight.value = weight.value - xi * step
        }
    }

    public var state: JSONValue { JSONValue(optimizer.steps) }
    public func restore(_ state: JSONValue) throws {
        guard let steps = state.intValue, steps >= 0 else {
            throw LacunaError.malformed(file: "checkpoint", location: "search", reason: "has no count of steps")
        }
        optimizer.steps = steps
    }
}

/// Numbers of a ``BilevelSearch``.
public struct BilevelSettings: Sendable, Hashable {
    /// Of `α`'s Adam.
    public var rate = 3e-4
    /// Of `α`'s Adam.
    public var beta1 = 0.5, beta2 = 0.999
    /// Of `α`, as a part of the gradient.
    public var decay = 1e-3
    /// Length of the step that second derivatives are taken over.
    public var difference = 1e-2
    /// Whether `α` looks at the weights after their step. If not, it takes those of now for the best ones: two passes, no second derivatives.
    public var isUnrolled = true
    /// The authors' numbers.
    public init() {}

    func validate() throws {
        guard rate >= 0, rate.isFinite, (0..<1).contains(beta1), (0..<1).contains(beta2), decay >= 0, decay.isFinite
        else {
            throw LacunaError.invalidArgument("search", reason: "rate \(rate), β \(beta1) and \(beta2), decay \(decay)")
        }
        guard difference > 0, difference.isFinite else {
            throw LacunaError.invalidArgument("difference", reason: "\(difference) is not positive")
        }
    }
}
