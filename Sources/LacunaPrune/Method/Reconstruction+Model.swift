import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

extension Reconstruction {
    /// Trains a compressed model block by block to give what the dense model gives: its linear layers under the masks that they have,
    /// and its norms.
    ///
    /// A block reads what the compressed blocks before it give and is to give what the dense model has there, so that it makes up for
    /// errors before it too. Few tokens go far: each block is trained in as many steps as a whole model, at a fraction of the cost.
    /// Rates are relative to the mean magnitude of what a parameter holds.
    ///
    /// - Parameters:
    ///   - decoder: The compressed model. Its linear layers come back in f32.
    ///   - values: Integers for training through the rounding of that type (``RoundedView``), after which a block passes on what
    ///     its rounded form gives.
    ///   - batchTokens: Calibration tokens that go through a block at once.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range, and for models of different shapes;
    ///   ``LacunaError/numerical(operation:reason:)`` for errors that are not finite; ``LacunaError/cancelled``.
    public func run(
        _ decoder: inout Transformer, toward dense: Transformer, calibration: CalibrationSet, values: ValueType? = nil,
        seed: UInt64 = 0, batchTokens: Int = 4096, progress: (any ProgressReporter)? = nil
    ) throws {
        try validate()
        guard decoder.blocks.count == dense.blocks.count,
            decoder.configuration.hiddenSize == dense.configuration.hiddenSize
        else {
            throw LacunaError.invalidArgument("model", reason: "has other blocks than the dense one")
        }
        if steps == 0 { return }
        var own = try CalibrationStream(decoder, calibration, batchTokens: batchTokens)
        var aim = try CalibrationStream(dense, calibration, batchTokens: batchTokens)
        let count = decoder.blocks.count
        for layer in 0..<count {
            func report(_ step: Int) throws {
                try progress.report(
                    "reconstructing", layer * steps + step, of: count * steps, "block \(layer + 1) of \(count)")
            }
            try aim.advance(dense, layer: layer) { _, _ in try report(0) }
            let names = decoder.blocks[layer].roles.map { decoder.configuration.weightName($0, layer: layer) }
            let trained = try MaskedNetwork(decoder, layers: Set(names), values: values)
            try run(
                block: trained.network.blocks[layer], own.states(toward: aim), seed: seed &+ UInt64(layer),
                step: report)
            decoder = try trained.stored()
            if layer + 1 == count { break }
            var passing = decoder
            if let values, values.isInteger {
                for name in names {
                    passing[linear: name] = try WeightStore.make(
                        decoder[linear: name].densified(), layout: .dense, values: values)
                }
            }
            try own.advance(passing, layer: layer) { _, _ in try report(steps) }
        }
    }
}
