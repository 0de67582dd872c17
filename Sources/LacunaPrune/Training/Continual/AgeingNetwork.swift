import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A stack of layers with ReLU whose units have ages, with what it remembers of earlier tasks: the network of ``SHARP``.
public final class AgeingNetwork: StatefulModule {
    /// From the input to the embedding.
    public let layers: [Linear]
    /// How many of them are the early part.
    public let earlyCount: Int
    /// Of the units of each layer: 0 for free ones, 1 for those picked in the present task, and 1 more for every task since.
    public internal(set) var ages: [[Int]]
    /// Activations of the early part.
    public internal(set) var codes = ActivationMemory()
    /// Embeddings of the classes.
    public internal(set) var exemplars = ExemplarMemory()

    init(_ layers: [Linear], early: Int) {
        (self.layers, earlyCount) = (layers, early)
        ages = layers.map { Array(repeating: 0, count: $0.outputDimensions) }
    }

    public var parts: [(name: String, part: Any)] { [("layers", layers)] }
    /// None: there is no classifier.
    public var outputLayer: Linear? { nil }

    func early(_ x: Variable<Float>) -> Variable<Float> {
        layers[..<earlyCount].reduce(x.shape.count == 2 ? x : x.flattened()) { $1($0).relu() }
    }

    func late(_ x: Variable<Float>) -> Variable<Float> { layers[earlyCount...].reduce(x) { $1($0).relu() } }

    func earlyActivations(_ inputs: Tensor<Float>) -> Tensor<Float> {
        let tape = Tape<Float>()
        return tape.evaluating { early(tape.constant(inputs)).value }
    }

    func lateActivations(_ codes: Tensor<Float>) -> Tensor<Float> {
        let tape = Tape<Float>()
        return tape.evaluating { late(tape.constant(codes)).value }
    }

    /// The embeddings of inputs [n, ...], [n, units of the last layer], as for a test.
    public func embeddings(_ inputs: Tensor<Float>) -> Tensor<Float> { lateActivations(earlyActivations(inputs)) }

    /// The sum over inputs [n, ...] of each unit's activation, [1, units] of every layer.
    func activationSums(_ inputs: Tensor<Float>) -> [Tensor<Float>] {
        let tape = Tape<Float>()
        return tape.evaluating {
            var x = tape.constant(inputs)
            if x.shape.count != 2 { x = x.flattened() }
            return layers.map { layer in
                x = layer(x).relu()
                return x.columnSums().value.reshaped([1, layer.outputDimensions])
            }
        }
    }

    // MARK: Ages

    /// What is below the first layer, the inputs, is older than any unit.
    func ages(below layer: Int) -> [Int] {
        layer == 0 ? Array(repeating: .max, count: layers[0].inputDimensions) : ages[layer - 1]
    }

    /// Says which of the units that are not yet old are learners; the other ones of those are free.
    func pick(_ units: [Int], layer: Int) {
        for unit in ages[layer].indices where ages[layer][unit] <= 1 { ages[layer][unit] = 0 }
        for unit in units where ages[layer][unit] == 0 { ages[layer][unit] = 1 }
    }

    /// A task has ended.
    func promote() {
        for layer in ages.indices {
            for unit in ages[layer].indices where ages[layer][unit] > 0 { ages[layer][unit] += 1 }
        }
    }

    /// The units of a layer whose incoming weights and biases no longer change.
    func frozenRows(_ layer: Int, memory: Int) -> [Int] {
        let limit = layer < earlyCount ? 1 : memory + 1
        return ages[layer].indices.filter { ages[layer][$0] > limit }
    }

    /// The embedding's units beyond an age.
    func units(olderThan age: Int) -> [Int] { ages[ages.count - 1].indices.filter { ages[ages.count - 1][$0] > age } }

    // MARK: State

    public var integerState: [(name: String, values: [Int32])] {
        [
            ("ages", ages.flatMap { $0.map { Int32($0) } }), ("codes", codes.integers),
            ("exemplars", exemplars.integers),
        ]
    }

    public func restore(integerState: [String: [Int32]], file: String) throws {
        var numbers = (integerState["ages"] ?? [])[...]
        guard numbers.count == ages.reduce(0, { $0 + $1.count }), numbers.allSatisfy({ $0 >= 0 && $0 <= Int32.max / 2 })
        else {
            throw LacunaError.malformed(file: file, location: "ages", reason: "are not those of the network's units")
        }
        for layer in ages.indices {
            let count = ages[layer].count
            ages[layer] = numbers.prefix(count).map { Int($0) }
            numbers = numbers.dropFirst(count)
        }
        let (early, last) = (layers[earlyCount].inputDimensions, layers.last!.outputDimensions)
        codes = try ActivationMemory(integers: integerState["codes"] ?? [], width: early, file: file)
        exemplars = try ExemplarMemory(integers: integerState["exemplars"] ?? [], width: last, file: file)
    }
}
