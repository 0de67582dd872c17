import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A random search over sub-networks: which of many random choices of hidden nodes has the smallest loss before training?
///
/// The baseline that searches for sparse architectures have to beat: Rezsa Farahani, "Random Search as a Baseline for
/// Sparse Neural Network Architecture Search", arXiv 2403.08265. Sub-networks are slices of the parent's initial weights;
/// selection sees the training loss of untrained networks and nothing else.
public struct NodeSearch: Sendable {
    /// Sub-networks to compare.
    public var trials: Int
    /// Decides the sub-networks.
    public var seed: UInt64

    /// - Parameter trials: Fewer than 1 count as 1.
    public init(trials: Int = 500, seed: UInt64 = 0) {
        self.trials = trials
        self.seed = seed
    }

    /// Which hidden nodes a sub-network keeps, by hidden layer, ascending.
    public typealias Choice = [[Int]]

    /// A random choice of `kept` nodes of every hidden layer.
    public static func randomChoice(_ widths: [Int], kept: Int, using generator: inout SeededGenerator) -> Choice {
        randomChoice(widths, using: &generator) { _ in kept }
    }

    private static func randomChoice(
        _ widths: [Int], using generator: inout SeededGenerator, kept: (_ width: Int) -> Int
    ) -> Choice {
        widths.dropFirst().dropLast().map { width in
            sampledPlaces(min(kept(width), width), of: width, using: &generator).map(Int.init)
        }
    }

    /// The sub-network of some nodes: rows and biases of the others are gone, and so are the columns that read them.
    public static func sliced(_ parent: MLP, _ choice: Choice) -> MLP {
        var generator = SeededGenerator(seed: 0)
        let widths = [parent.layers[0].inputDimensions] + choice.map(\.count) + [parent.layers.last!.outputDimensions]
        let child = MLP(widths: widths, activation: parent.activation, using: &generator)
        for (index, layer) in parent.layers.enumerated() {
            let rows = index < choice.count ? choice[index] : Array(0..<layer.outputDimensions)
            let columns = index > 0 ? choice[index - 1] : Array(0..<layer.inputDimensions)
            let weight = layer.weight.densified()
            let source = weight.scalars
            child.layers[index].weight = DenseWeight(
                Tensor(
                    rows.flatMap { r in columns.map { source[r * weight.columns + $0] } },
                    shape: [rows.count, columns.count]))
            let bias = layer.bias!.value.scalars
            child.layers[index].bias!.value = Tensor(rows.map { bias[$0] })
        }
        return child
    }

    /// The choice of smallest loss among random ones that keep a share of every hidden layer's nodes, at least one, and
    /// the losses of all.
    public func best(
        of parent: MLP, share: Double, batch: (inputs: Tensor<Float>, labels: [Int32])
    ) -> (choice: Choice, losses: [Double]) {
        best(of: parent, batch: batch) { max(1, Int((share * Double($0)).rounded())) }
    }

    /// The choice of smallest loss among random ones that keep `kept` nodes of every hidden layer, and the losses of all.
    public func best(
        of parent: MLP, kept: Int, batch: (inputs: Tensor<Float>, labels: [Int32])
    ) -> (choice: Choice, losses: [Double]) {
        best(of: parent, batch: batch) { _ in kept }
    }

    private func best(
        of parent: MLP, batch: (inputs: Tensor<Float>, labels: [Int32]), kept: (_ width: Int) -> Int
    ) -> (choice: Choice, losses: [Double]) {
        var generator = SeededGenerator(seed: seed, stream: 0x40DE)
        let widths = [parent.layers[0].inputDimensions] + parent.layers.map(\.outputDimensions)
        let tape = Tape<Float>()
        var (best, least, losses): (Choice, Double, [Double]) = ([], .infinity, [])
        for _ in 0..<max(trials, 1) {
            let choice = Self.randomChoice(widths, using: &generator, kept: kept)
            let child = Self.sliced(parent, choice)
            let loss = Double(
                tape.evaluating { Loss.crossEntropy(child(tape.constant(batch.inputs)), labels: batch.labels) }.item)
            // Some choice, should no loss be a number.
            if loss < least || losses.isEmpty { best = choice }
            if loss < least { least = loss }
            losses.append(loss)
        }
        return (best, losses)
    }
}
