import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Unlearning by fine-tuning on what may be remembered, with an L1 penalty that fades: the sparser a network is on the way, the
/// less of the forgotten examples is left in it.
///
/// The loss of the retained examples gets `γ_t ‖θ‖₁` over all trained parameters, with `γ_t = γ (1 - u / u₀)` for the share u of the
/// run that is done, and 0 from u₀ on. The penalty acts by its subgradient, as in the authors' release, or as a proximal
/// step behind the optimiser's, soft thresholding by rate · γ_t, which makes exact zeros; a subgradient that goes through
/// momentum m is 1 / (1 - m) times as strong as that. γ 0 is plain fine-tuning, and
/// from random weights retraining, the measure of all unlearning. Sparsity before unlearning is another way: prune, train
/// under the mask, then this method with γ 0.
///
/// Jinghan Jia, Jiancheng Liu, Parikshit Ram, Yuguang Yao, Gaowen Liu, Yang Liu, Pranay Sharma, Sijia Liu, "Model Sparsity
/// Can Simplify Machine Unlearning", arXiv 2304.04934. γ falls with every step where theirs falls with every epoch.
public final class SparseUnlearning: TrainingMethod {
    /// γ, 0 or more, of a sum over all parameters: 1e-5 to 1e-3 for most networks.
    public let gamma: Double
    /// u₀, above 0 and at most 1.
    public let end: Double
    /// Whether the penalty is a proximal step.
    public let isProximal: Bool

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(gamma: Double = 1e-3, end: Double = 1, isProximal: Bool = false) throws {
        guard gamma >= 0, gamma.isFinite else {
            throw LacunaError.invalidArgument("gamma", reason: "\(gamma) is negative or not finite")
        }
        guard end > 0, end <= 1 else {
            throw LacunaError.invalidArgument("end", reason: "\(end) is not above 0 and at most 1")
        }
        (self.gamma, self.end, self.isProximal) = (gamma, end, isProximal)
    }

    public var card: MethodCard {
        MethodCard(
            name: "unlearn", family: .sparseTraining,
            paper: .init(
                authors:
                    "Jinghan Jia, Jiancheng Liu, Parikshit Ram, Yuguang Yao, Gaowen Liu, Yang Liu, Pranay Sharma, Sijia Liu",
                title: "Model Sparsity Can Simplify Machine Unlearning", arXiv: "2304.04934"),
            composition: ["|w|", isProximal ? "soft threshold" : "L1 subgradient", "fine-tuning on retained examples"],
            implements: [
                "fading L1 by subgradient or proximal step",
                "pruning first, then unlearning, as phases",
                "forgotten, retained and test accuracy, attack on membership",
            ],
            leavesOut: ["gradient ascent, influence and Fisher baselines", "SynFlow masks"])
    }

    /// γ_t at a share of the run.
    public func gamma(at progress: Double) -> Double { gamma * max(0, 1 - progress / end) }

    public func gradientsReady(_ run: TrainingRun) throws {
        let strength = Float(gamma(at: run.progress))
        guard !isProximal, strength > 0 else { return }
        for parameter in run.model.parameters where parameter.isTrainable && parameter.hasGradient {
            let (w, g) = (parameter.buffer.pointer, parameter.gradientPointer)
            for i in 0..<parameter.count { g[i] += w[i] > 0 ? strength : w[i] < 0 ? -strength : 0 }
        }
    }

    public func afterStep(_ run: TrainingRun) throws {
        let strength = gamma(at: run.progress)
        guard isProximal, strength > 0 else { return }
        for parameter in run.model.parameters where parameter.isTrainable {
            let threshold = Float(strength * run.optimizer.learningRate * parameter.rateFactor)
            let w = parameter.buffer.pointer
            for i in 0..<parameter.count { w[i] = w[i] > 0 ? max(w[i] - threshold, 0) : min(w[i] + threshold, 0) }
            parameter.noteChange()
        }
    }

    public func end(_ run: TrainingRun) throws {
        let parameters = run.model.parameters.filter(\.isTrainable)
        let zeros = parameters.reduce(0) { sum, parameter in sum + parameter.buffer.elements.count { $0 == 0 } }
        let all = parameters.reduce(0) { $0 + $1.count }
        run.metrics.append(("zeros", Double(zeros) / Double(max(all, 1))))
    }
}

/// An attacker who sees how sure a network is of an example's label and says whether it was trained on it: above a threshold,
/// yes.
///
/// The threshold is the one of largest balanced accuracy on examples of which it is known; of several the largest. Samuel Yeom,
/// Irene Giacomelli, Matt Fredrikson, Somesh Jha, "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting",
/// arXiv 1709.01604; the authors of ``SparseUnlearning`` fit a support vector machine to the same number.
public struct MembershipAttack: Sendable, Hashable {
    /// A probability of the label at or above which an example is called a member.
    public let threshold: Double
    /// The mean of the shares of members and others that are recognised; a half is chance.
    public let balancedAccuracy: Double

    /// - Parameters:
    ///   - members: Probabilities that the network gives the labels of examples that it was trained on.
    ///   - others: Of examples that it was not trained on.
    /// - Throws: `LacunaError.invalidArgument` if either is empty or has a number that is none.
    /// - Complexity: O(n log n).
    public init(members: [Double], others: [Double]) throws {
        guard !members.isEmpty, !others.isEmpty, (members + others).allSatisfy({ !$0.isNaN }) else {
            throw LacunaError.invalidArgument("members", reason: "an attacker needs confidences of both kinds")
        }
        let all = (members.map { ($0, true) } + others.map { ($0, false) }).sorted { $0.0 > $1.0 }
        // Nobody is a member above all of them.
        var (threshold, best) = (Double.infinity, 0.5)
        var (found, wrong) = (0, 0)
        for (place, (value, isMember)) in all.enumerated() {
            if isMember { found += 1 } else { wrong += 1 }
            // Equal confidences fall on one side.
            if place + 1 < all.count && all[place + 1].0 == value { continue }
            let accuracy =
                0.5 * (Double(found) / Double(members.count) + 1 - Double(wrong) / Double(others.count))
            if accuracy > best { (threshold, best) = (value, accuracy) }
        }
        (self.threshold, balancedAccuracy) = (threshold, best)
    }

    /// The share of examples that are called no members.
    public func shareOfOthers(_ confidences: [Double]) -> Double {
        Double(confidences.count { $0 < threshold }) / Double(max(confidences.count, 1))
    }
}

/// How well examples are forgotten, how well the others are remembered. All four numbers are judged by their distance to
/// those of a network that never saw the forgotten examples, not by their size.
public struct UnlearningReport: Sendable, Hashable {
    /// Accuracy on what was to be forgotten.
    public var forgetAccuracy: Double
    /// Accuracy on what was to be retained.
    public var retainAccuracy: Double
    /// Accuracy on examples never seen.
    public var testAccuracy: Double
    /// The share of the forgotten examples that a ``MembershipAttack``, who knows the retained and the unseen ones, calls no
    /// members.
    public var membershipEfficacy: Double

    /// Examines a classifier.
    ///
    /// - Throws: `LacunaError.invalidArgument` for parts without examples, and outputs that are no numbers.
    public init(
        of network: any UnaryLayer, forget: LabelledExamples, retain: LabelledExamples, test: LabelledExamples
    ) throws {
        let (f, r, t) = (
            Self.examine(network, forget), Self.examine(network, retain), Self.examine(network, test)
        )
        (forgetAccuracy, retainAccuracy, testAccuracy) = (f.accuracy, r.accuracy, t.accuracy)
        let attack = try MembershipAttack(members: r.confidences, others: t.confidences)
        membershipEfficacy = attack.shareOfOthers(f.confidences)
    }

    /// The mean over the four numbers of their distance to those of another network: the authors' average gap.
    public func gap(to other: UnlearningReport) -> Double {
        (abs(forgetAccuracy - other.forgetAccuracy) + abs(retainAccuracy - other.retainAccuracy)
            + abs(testAccuracy - other.testAccuracy) + abs(membershipEfficacy - other.membershipEfficacy)) / 4
    }

    /// The accuracy, and the probabilities of the labels.
    private static func examine(
        _ network: any UnaryLayer, _ examples: LabelledExamples
    ) -> (accuracy: Double, confidences: [Double]) {
        let tape = Tape<Float>()
        var (right, confidences) = (0.0, [Double]())
        for start in stride(from: 0, to: examples.count, by: 250) {
            let part = examples.selecting(start..<min(start + 250, examples.count))
            tape.evaluating {
                let logits = network(tape.constant(part.inputs))
                right += Classification.accuracy(logits, part.labels) * Double(part.labels.count)
                let probabilities = logits.softmax().value
                for (row, label) in part.labels.enumerated() {
                    confidences.append(Double(probabilities[row, Int(label)]))
                }
            }
        }
        return (right / Double(max(examples.count, 1)), confidences)
    }
}

/// Training examples of which some are to be forgotten.
public struct ForgetSplit: Sendable {
    /// What is to be forgotten.
    public let forget: LabelledExamples
    /// The other examples.
    public let retain: LabelledExamples

    /// - Parameter forgotten: Places of the examples to be forgotten.
    /// - Throws: `LacunaError.invalidArgument` if either part is empty, or a place does not exist.
    public init(_ examples: LabelledExamples, forgetting forgotten: some Collection<Int>) throws {
        let gone = Set(forgotten)
        guard gone.allSatisfy({ (0..<examples.count).contains($0) }), !gone.isEmpty, gone.count < examples.count else {
            throw LacunaError.invalidArgument(
                "forget", reason: "\(gone.count) of \(examples.count) examples leave nothing to forget or to retain")
        }
        func part(_ places: [Int]) throws -> LabelledExamples {
            let (inputs, labels) = examples.selecting(places)
            return try LabelledExamples(inputs: inputs, labels: labels, classes: examples.classes)
        }
        forget = try part(gone.sorted())
        retain = try part((0..<examples.count).filter { !gone.contains($0) })
    }

    /// A share of the examples, drawn at random, is to be forgotten.
    ///
    /// - Throws: `LacunaError.invalidArgument` if that is none or all.
    public init(_ examples: LabelledExamples, share: Double, seed: UInt64) throws {
        guard share > 0, share < 1 else {
            throw LacunaError.invalidArgument("forget", reason: "\(share) is not between 0 and 1")
        }
        var generator = SeededGenerator(seed: seed, stream: 0xF06E)
        let count = Int((share * Double(examples.count)).rounded())
        let places = sampledPlaces(count, of: examples.count, using: &generator)
        try self.init(examples, forgetting: places.map { Int($0) })
    }
}
