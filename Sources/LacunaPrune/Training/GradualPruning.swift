import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Gradual magnitude pruning inside a run: dense first, then ever sparser, then recovery under a fixed mask.
///
/// Between two shares of the run the sparsity follows the cubic ramp `s (1 - (1-u)³)` (Michael Zhu, Suyog Gupta, "To
/// Prune, or Not to Prune", arXiv 1710.01878) or a line; masks only grow. The default window, from 25 % to 75 %, is that of
/// Tian Jin, Ahmed Imtiaz Humayun, Utku Evci, Suvinay Subramanian, Amir Yazdanbakhsh, Dan Alistarh, Gintare Karolina
/// Dziugaite, "The Journey Matters: Average Parameter Count over Pre-training Unifies Sparse and Dense Scaling Laws",
/// arXiv 2501.12486, who measure it in compute (``Measure/compute``); by default it is in steps, that is in examples or tokens.
public final class GradualPruning: TrainingMethod {
    /// How the sparsity rises within the window.
    public enum Ramp: String, Sendable, Hashable, CaseIterable {
        /// `s (1 - (1-u)³)`: fast at first, when there is most to choose from.
        case cubic
        /// `s u`.
        case linear
    }

    /// What the window is a share of.
    public enum Measure: String, Sendable, Hashable, CaseIterable {
        /// Steps, and so examples or tokens.
        case steps
        /// Multiply-adds with the weights in use of the layers that are pruned: dense steps take more of them.
        case compute
    }

    /// The sparsity at the end, 0...1.
    public let sparsity: Double
    /// The shares of the run between which it rises, in steps.
    public let window: ClosedRange<Double>
    /// How it rises.
    public let ramp: Ramp
    /// The layers that are pruned, each by itself to the same sparsity. Their weights are dense.
    public let layers: LayerChoice
    /// Steps between prunings.
    public let interval: Int
    /// Sum over the steps so far of the share of weights in use.
    private var densitySum = 0.0
    private var stepsSeen = 0
    private var weights: [DenseWeight] = []

    /// - Parameters:
    ///   - window: Shares of the run, in what `measure` says; ``window`` has them in steps.
    ///   - interval: Steps between prunings.
    /// - Throws: `LacunaError.invalidArgument` for numbers out of range, and for shares of compute of a run that ends without a weight.
    public init(
        sparsity: Double, window: ClosedRange<Double> = 0.25...0.75, measure: Measure = .steps, ramp: Ramp = .cubic,
        layers: LayerChoice = .allButOutput, interval: Int = 20
    ) throws {
        guard (0...1).contains(sparsity) else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) is not in 0...1")
        }
        guard window.lowerBound >= 0, window.upperBound <= 1 else {
            throw LacunaError.invalidArgument("window", reason: "\(window) is not within 0...1")
        }
        guard interval >= 1 else {
            throw LacunaError.invalidArgument("interval", reason: "\(interval) is not positive")
        }
        guard measure == .steps || sparsity < 1 else {
            throw LacunaError.invalidArgument(
                "measure", reason: "a run that ends with no weights computes nothing there")
        }
        self.sparsity = sparsity
        self.window = measure == .steps ? window : Self.steps(window, of: sparsity, ramp)
        self.ramp = ramp
        self.layers = layers
        self.interval = interval
    }

    public var card: MethodCard {
        MethodCard(
            name: "gradual", family: .sparseTraining,
            paper: .init(
                authors:
                    "Tian Jin, Ahmed Imtiaz Humayun, Utku Evci, Suvinay Subramanian, Amir Yazdanbakhsh, Dan Alistarh, "
                    + "Gintare Karolina Dziugaite",
                title:
                    "The Journey Matters: Average Parameter Count over Pre-training Unifies Sparse and Dense Scaling Laws",
                arXiv: "2501.12486"),
            composition: ["|w|", "within layers, cubic ramp", "masks that only grow"],
            implements: [
                "cubic and linear ramps",
                "windows in steps or in compute",
                "mean density as counted, the law and its fit (`lacuna fit law`)",
            ])
    }

    /// The mean over a ramp of the share of the sparsity that is reached.
    private static func mean(_ ramp: Ramp) -> Double { ramp == .cubic ? 0.75 : 0.5 }

    /// A window in shares of compute, in shares of steps. A step costs 1 before the window, 1 - s behind it, and on average
    /// 1 - c s within.
    private static func steps(_ window: ClosedRange<Double>, of sparsity: Double, _ ramp: Ramp) -> ClosedRange<Double> {
        let (a, b) = (window.lowerBound, window.upperBound)
        let (before, within, behind) = (a, (b - a) / (1 - mean(ramp) * sparsity), (1 - b) / (1 - sparsity))
        let all = before + within + behind
        return before / all...min((before + within) / all, 1)
    }

    /// The sparsity at a share of the run.
    public func sparsity(at progress: Double) -> Double {
        if progress < window.lowerBound { return 0 }
        let length = window.upperBound - window.lowerBound
        let u = length > 0 ? min((progress - window.lowerBound) / length, 1) : 1
        let rest = 1 - u
        return ramp == .cubic ? sparsity * (1 - rest * rest * rest) : sparsity * u
    }

    /// The mean over a run of the share of weights in use: `1 - s (c (b - a) + 1 - b)` for the window a...b, with c 3/4 for
    /// the cubic ramp and 1/2 for the line.
    public var meanDensity: Double {
        let (a, b) = (window.lowerBound, window.upperBound)
        return 1 - sparsity * (Self.mean(ramp) * (b - a) + 1 - b)
    }

    /// The same as counted so far.
    public var measuredMeanDensity: Double { stepsSeen == 0 ? 1 : densitySum / Double(stepsSeen) }

    public func begin(_ run: TrainingRun) throws { (densitySum, stepsSeen) = (0, 0) }

    public func attach(_ run: TrainingRun) throws {
        weights = try layers.layers(of: run.model).map { name, layer in
            guard let weight = layer.dense else {
                throw LacunaError.unsupported(file: nil, what: "pruning \(layer.weight.storage) weights ('\(name)')")
            }
            return weight
        }
    }

    public func beforeStep(_ run: TrainingRun) throws {
        let target = sparsity(at: run.progress)
        let isEdge = target == sparsity && weights.contains { $0.mask.map(\.sparsity) ?? 0 < sparsity - 1e-6 }
        if target > 0 && (run.step % interval == 0 || isEdge) {
            for weight in weights {
                // Within what is in use: masks only grow.
                weight.mask = try Selection.mask(
                    scores: MagnitudeScore().scores(weight: weight.parameter.value), pattern: .unstructured(.layer),
                    sparsity: target, within: weight.mask)
            }
        }
        let total = weights.reduce(0) { $0 + $1.parameter.count }
        densitySum += Double(weights.reduce(0) { $0 + $1.activeCount }) / Double(max(total, 1))
        stepsSeen += 1
    }

    public func end(_ run: TrainingRun) throws { run.metrics.append(("mean_density", measuredMeanDensity)) }

    public var state: JSONValue { ["density": .number(densitySum), "steps": JSONValue(stepsSeen)] }
    public func restore(_ state: JSONValue) throws {
        guard let density = state["density"]?.doubleValue, let steps = state["steps"]?.intValue else {
            throw LacunaError.malformed(file: "checkpoint", location: "gradual", reason: "has no densities or steps")
        }
        (densitySum, stepsSeen) = (density, steps)
    }
}
