import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Taking whole neurons out of a network: first silent, under masks, so that training can go on; then gone, so that the network is
/// smaller.
///
/// A silent neuron has no incoming weights, no bias and, behind a convolution, no gain and offset of its batch norm; all
/// four are masked, so that they stay 0.
public enum NeuronRemoval {
    /// Silences the neurons of a layer that are not in `rows`; of convolutions, the channels.
    ///
    /// - Parameter rows: Ascending, in 0..<outputs.
    /// - Throws: `LacunaError.unsupported` for a layer whose weights are not dense.
    public static func silence(allBut rows: [Int], of layer: Linear, in model: any Module) throws {
        guard let weight = layer.dense else {
            throw LacunaError.unsupported(file: nil, what: "removing neurons of \(layer.weight.storage) weights")
        }
        var kept = [Bool](repeating: false, count: layer.outputDimensions)
        for row in rows { kept[row] = true }
        let whole = SparsePattern(rows: weight.outputs, columns: weight.inputs) { row, _ in kept[row] }
        weight.mask = weight.mask.map { $0.intersection(whole) } ?? whole
        let alive = Tensor<Float>(kept.map { $0 ? 1 : 0 })
        layer.bias?.setMask(alive)
        if let net = model as? ConvNet, let place = net.convolutions.firstIndex(where: { $0.product === layer }) {
            net.norms[place].weight.setMask(alive)
            net.norms[place].bias.setMask(alive)
        }
    }

    /// The network without its silent neurons; nil if it has none, or is neither an ``MLP`` nor a ``ConvNet`` with dense weights.
    /// What is computed is the same: a neuron whose activation at 0 is not 0 has passed on a constant, which goes into the
    /// biases that it reached.
    public static func shrunk(_ network: any UnaryLayer) -> (any UnaryLayer)? {
        guard network.linears.allSatisfy({ $0.layer.dense != nil && $0.layer.dense?.view == nil }) else { return nil }
        if let mlp = network as? MLP {
            let alive = mlp.layers.dropLast().map { living($0.bias?.mask, of: $0.outputDimensions) }
            let isWhole = zip(alive, mlp.layers).allSatisfy { $0.count == $1.outputDimensions }
            return isWhole ? nil : shrunk(mlp, alive, Array(0..<mlp.layers.last!.outputDimensions))
        }
        if let net = network as? ConvNet {
            let alive = net.norms.map { living($0.bias.mask, of: $0.bias.count) }
            let isWhole = zip(alive, net.norms).allSatisfy { $0.count == $1.bias.count }
            return isWhole ? nil : shrunk(net, alive, Array(0..<net.classifier.outputDimensions))
        }
        return nil
    }

    /// The network with some of its outputs alone, its masked weights stored as compressed rows; nil for a network that is
    /// neither an ``MLP`` nor a ``ConvNet`` with dense weights.
    public static func restricted(_ network: any UnaryLayer, toOutputs outputs: [Int]) -> (any UnaryLayer)? {
        guard network.linears.allSatisfy({ $0.layer.dense != nil && $0.layer.dense?.view == nil }) else { return nil }
        var result: (any UnaryLayer)?
        if let mlp = network as? MLP {
            result = shrunk(mlp, mlp.layers.dropLast().map { Array(0..<$0.outputDimensions) }, outputs)
        } else if let net = network as? ConvNet {
            result = shrunk(net, net.norms.map { Array(0..<$0.bias.count) }, outputs)
        }
        for (_, layer) in result?.linears ?? [] {
            guard let mask = layer.dense?.mask else { continue }
            layer.weight = CSRWeight(layer.weight.densified(), mask: mask)
        }
        return result
    }

    private static func living(_ mask: Buffer<Float>?, of count: Int) -> [Int] {
        guard let mask else { return Array(0..<count) }
        return (0..<count).filter { mask.pointer[$0] != 0 }
    }

    private static func shrunk(_ parent: MLP, _ alive: [[Int]], _ outputs: [Int]) -> MLP {
        var zero: Float = 0
        withUnsafePointer(to: Float(0)) { parent.activation.apply($0, into: &zero, count: 1) }
        var generator = SeededGenerator(seed: 0)
        let widths = [parent.layers[0].inputDimensions] + alive.map(\.count) + [outputs.count]
        let child = MLP(
            widths: widths, activation: parent.activation, dropout: parent.dropout, using: &generator)
        for (index, layer) in parent.layers.enumerated() {
            let rows = index < alive.count ? alive[index] : outputs
            let columns = index > 0 ? alive[index - 1] : Array(0..<layer.inputDimensions)
            copy(layer, rows, columns, to: child.layers[index])
            guard zero != 0, index > 0, let bias = child.layers[index].bias else { continue }
            let (weight, gone) = (
                layer.weight.densified(), Set(0..<layer.inputDimensions).subtracting(columns).sorted()
            )
            for (place, row) in rows.enumerated() {
                bias.buffer.pointer[place] += zero * gone.reduce(0) { $0 + weight[row, $1] }
            }
        }
        return child
    }

    private static func shrunk(_ parent: ConvNet, _ alive: [[Int]], _ outputs: [Int]) -> ConvNet {
        var generator = SeededGenerator(seed: 0)
        let inputs = parent.convolutions[0].inputChannels
        let child = ConvNet(
            inputChannels: inputs, channels: alive.map(\.count), classes: outputs.count,
            using: &generator)
        for (index, convolution) in parent.convolutions.enumerated() {
            let area = convolution.kernelSize * convolution.kernelSize
            let channels = index > 0 ? alive[index - 1] : Array(0..<inputs)
            copy(
                convolution.product, alive[index], channels.flatMap { $0 * area..<($0 + 1) * area },
                to: child.convolutions[index].product)
            let (from, to) = (parent.norms[index], child.norms[index])
            for (old, new) in [
                (from.weight, to.weight), (from.bias, to.bias), (from.runningMean, to.runningMean),
                (from.runningVariance, to.runningVariance),
            ] {
                new.value = Tensor(alive[index].map { old.buffer.pointer[$0] })
            }
            to.momentum = from.momentum
        }
        copy(parent.classifier, outputs, alive.last!, to: child.classifier)
        return child
    }

    /// Gives a layer the rows and columns of another one, with what its mask keeps of them.
    private static func copy(_ source: Linear, _ rows: [Int], _ columns: [Int], to target: Linear) {
        let weight = source.weight.densified()
        let dense = DenseWeight(
            Tensor(rows.flatMap { r in columns.map { weight[r, $0] } }, shape: [rows.count, columns.count]))
        if let mask = source.dense?.mask {
            let part = SparsePattern(rows: rows.count, columns: columns.count) { mask[rows[$0], columns[$1]] }
            if part.count < rows.count * columns.count { dense.mask = part }
        }
        target.weight = dense
        if let bias = source.bias { target.bias?.value = Tensor(rows.map { bias.buffer.pointer[$0] }) }
    }
}
