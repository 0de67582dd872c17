import LacunaLearn
import LacunaTensor

/// A term of the loss by which chosen layers of a network come to give what the same layers of a teacher give.
///
/// `soft · T² KL(teacher ‖ student) + features · Σ wᵢ · mean((fᵢ - f'ᵢ)²)`, with weights of mean 1 that are either all equal or in
/// proportion to the distances that were left when an earlier run ended.
public final class FeatureDistillation {
    /// Factors of the divergence of predictions and of the distance of features; 0 leaves one out.
    public let soft, features: Double
    /// What logits are divided by in the divergence; positive.
    public let temperature: Double
    /// One a layer, with mean 1.
    public private(set) var weights: [Double]
    private let teacher: any UnaryLayer
    private let own: [ObservedWeight]
    private let taught: [ObservedWeight]
    private let places: [(layer: Linear, weight: ObservedWeight)]
    private var sums: [Double]
    private var count = 0

    /// Watches the layers until ``finish()``.
    ///
    /// - Parameters:
    ///   - layers: The paths of layers of both networks.
    ///   - weights: Of the layers, positive or 0; divided by their mean. nil for equal ones.
    /// - Throws: `LacunaError.invalidArgument` for factors out of range, and for layers that the two do not share.
    public init(
        student: any UnaryLayer, teacher: any UnaryLayer, layers: [String], soft: Double = 10, features: Double = 5,
        temperature: Double = 2, weights: [Double]? = nil
    ) throws {
        guard soft >= 0, features >= 0, temperature > 0 else {
            throw LacunaError.invalidArgument(
                "distillation", reason: "factors \(soft) and \(features), temperature \(temperature)")
        }
        func find(_ network: any UnaryLayer) throws -> [Linear] {
            let all = Dictionary(network.linears.map { ($0.name, $0.layer) }) { first, _ in first }
            return try layers.map { name in
                guard let layer = all[name] else {
                    throw LacunaError.invalidArgument("layers", reason: "there is no linear layer '\(name)'")
                }
                return layer
            }
        }
        let (a, b) = (try find(student), try find(teacher))
        guard zip(a, b).allSatisfy({ $0.outputDimensions == $1.outputDimensions }) else {
            throw LacunaError.invalidArgument("layers", reason: "those of the teacher have other widths")
        }
        let given = weights ?? layers.map { _ in 1 }
        let mean = given.reduce(0, +) / Double(max(given.count, 1))
        guard given.count == layers.count, given.allSatisfy({ $0 >= 0 && $0.isFinite }), mean > 0 || layers.isEmpty
        else {
            throw LacunaError.invalidArgument("weights", reason: "\(given) for \(layers.count) layers")
        }
        self.weights = given.map { $0 / mean }
        (self.soft, self.features, self.temperature, self.teacher) = (soft, features, temperature, teacher)
        own = a.map { ObservedWeight($0.weight) }
        taught = b.map { ObservedWeight($0.weight) }
        places = Array(zip(a + b, own + taught)).map { ($0, $1) }
        for (layer, weight) in places { layer.weight = weight }
        sums = layers.map { _ in 0 }
    }

    /// The term for inputs that the student has just read, given its logits.
    ///
    /// - Precondition: ``finish()`` was not called.
    public func term(_ inputs: Tensor<Float>, logits: Variable<Float>) -> Variable<Float> {
        let tape = logits.tape
        let seen = own.map { $0.output! }
        let goal = tape.evaluating { teacher(tape.constant(inputs)).detached() }
        var total = Loss.distillation(student: logits, teacher: goal, temperature: Float(temperature))
            .affine(Float(soft))
        count += 1
        for (index, feature) in seen.enumerated() {
            let distance = (feature - taught[index].output!.detached()).map(.square).mean()
            sums[index] += Double(distance.item)
            total = total + distance.affine(Float(features * weights[index]))
        }
        return total
    }

    /// The mean distance of each layer's features since the last call.
    public func takeDistances() -> [Double] {
        defer { (sums, count) = (sums.map { _ in 0 }, 0) }
        return sums.map { $0 / Double(max(count, 1)) }
    }

    /// Gives the layers back their weights.
    public func finish() {
        for (layer, weight) in places where layer.weight as? ObservedWeight === weight { layer.weight = weight.base }
    }
}
