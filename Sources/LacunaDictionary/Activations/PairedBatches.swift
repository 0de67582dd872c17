import LacunaLearn
import LacunaTensor

/// Batches of two models' activations side by side, token by token, for a ``Crosscoder``.
public struct PairedBatches: BatchSource {
    /// The activations of the first model, which make up the first columns of a batch.
    public let first: ActivationStore
    /// Those of the second model at the same tokens, in the columns behind.
    public let second: ActivationStore
    /// Rows of a batch.
    public let size: Int
    /// What the activations of each model are multiplied by, so that their mean norm is the root of their dimensions:
    /// norms of directions then compare.
    public let scales: (first: Float, second: Float)
    private let places: (Int, Int)
    private let order: EpochOrder

    /// - Throws: `LacunaError.invalidArgument` for stores of different texts or cuts, sites that they do not have, or
    ///   fewer rows than a batch.
    public init(
        _ first: ActivationStore, _ firstSite: ActivationSite, _ second: ActivationStore, _ secondSite: ActivationSite,
        size: Int, seed: UInt64
    ) throws {
        let (a, b) = (first.description, second.description)
        guard a.checksum == b.checksum, a.context == b.context, a.skipped == b.skipped else {
            throw LacunaError.invalidArgument("activations", reason: "of other texts, or of texts cut otherwise")
        }
        guard size >= 1, first.rows >= size else {
            throw LacunaError.invalidArgument("batch", reason: "\(size) tokens of \(first.rows)")
        }
        (self.first, self.second, self.size) = (first, second, size)
        places = (try first.number(of: firstSite), try second.number(of: secondSite))
        order = EpochOrder(count: first.rows, seed: seed)
        func scale(_ store: ActivationStore, _ place: Int) -> Float {
            let step = max(1, store.rows / 4096)
            let x = store.gather(place, rows: Array(stride(from: 0, to: store.rows, by: step)))
            let norms = x.withPointer { Directions.norms($0, rows: x.rows, columns: x.columns) }
            let mean = norms.reduce(0.0) { $0 + Double($1) } / Double(max(norms.count, 1))
            return mean > 0 ? Float(Double(x.columns).squareRoot() / mean) : 1
        }
        scales = (scale(first, places.0), scale(second, places.1))
    }

    public var batchesPerEpoch: Int? { first.rows / size }

    /// Scaled activations of both models at some rows.
    public func rows(_ wanted: some Collection<Int>) -> Tensor<Float> {
        Crosscoder.beside(
            first.gather(places.0, rows: wanted).multiplied(byNumber: scales.first),
            second.gather(places.1, rows: wanted).multiplied(byNumber: scales.second))
    }

    public func batch(step: Int) -> ActivationBatch {
        let (epoch, place) = step.quotientAndRemainder(dividingBy: first.rows / size)
        return ActivationBatch(
            step: step, inputs: rows(order.indices(epoch: epoch)[place * size..<(place + 1) * size]))
    }
}
