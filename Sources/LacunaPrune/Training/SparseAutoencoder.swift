import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A denoising autoencoder `d - hidden - d` with a sigmoid, both layers stored sparse: what ``QuickSelection`` trains.
final class SparseAutoencoder: UnaryLayer {
    let encoder: Linear
    let decoder: Linear
    let dropout: Double

    init(inputs: Int, settings: QuickSelection, using generator: inout SeededGenerator) throws {
        func layer(_ outputs: Int, _ inputs: Int) throws -> Linear {
            let total = outputs * inputs
            let count = Int(min(Double(total), settings.density * Double(outputs + inputs)))
            let mask = try SparsePattern(rows: outputs, columns: inputs, keepingRandom: count, using: &generator)
            let weight = Tensor<Float>(
                normal: [outputs, inputs], standardDeviation: Float(settings.deviation), using: &generator)
            return Linear(weight: CSRWeight(weight, mask: mask), bias: Tensor(zeros: [outputs]))
        }
        encoder = try layer(settings.hidden, inputs)
        decoder = try layer(inputs, settings.hidden)
        dropout = settings.dropout
    }

    func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        decoder(encoder(x).sigmoid().dropout(dropout))
    }

    /// Half the squared error of the reconstruction, summed over features, as the authors' update rule has it, and
    /// averaged over rows.
    func loss(_ batch: NoisyRows.Batch, _ tape: Tape<Float>) -> Variable<Float> {
        let y = self(tape.constant(batch.noisy))
        return (y - tape.constant(batch.clean)).map(.square).sum().affine(0.5 / Float(batch.clean.rows))
    }

    /// The L1 norm of each input's column.
    var strengths: [Double] {
        (encoder.weight as! CSRWeight).matrix.mapValues { Double(abs($0)) }.columnSums()
    }

    var connections: Int { encoder.weight.activeCount + decoder.weight.activeCount }
}

/// Rows with noise that was drawn once, next to the rows as they are, in an order drawn anew for every epoch.
struct NoisyRows: BatchSource {
    typealias Batch = (noisy: Tensor<Float>, clean: Tensor<Float>)
    private let noisy: Tensor<Float>
    private let clean: Tensor<Float>
    private let batch: Int
    private let order: EpochOrder

    init(_ clean: Tensor<Float>, noise: Double, batch: Int, seed: UInt64, using generator: inout SeededGenerator) {
        var noisy = clean
        let n = clean.count
        noisy.withMutablePointer { p in for i in 0..<n { p[i] += Float(noise * generator.normal()) } }
        self.noisy = noisy
        self.clean = clean
        self.batch = min(batch, clean.rows)
        order = EpochOrder(count: clean.rows, seed: seed)
    }

    var batchesPerEpoch: Int? { (clean.rows + batch - 1) / batch }

    func batch(step: Int) -> Batch {
        let (epoch, place) = step.quotientAndRemainder(dividingBy: batchesPerEpoch!)
        let indices = order.indices(epoch: epoch)
        let chosen = indices[place * batch..<min((place + 1) * batch, indices.count)]
        return (noisy.selectingRows(chosen), clean.selectingRows(chosen))
    }
}
