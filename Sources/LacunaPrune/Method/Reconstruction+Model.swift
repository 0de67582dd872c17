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
    ///   - batchTokens: Calibration tokens that go through a block at once.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range, and for models of different shapes;
    ///   ``LacunaError/numerical(operation:reason:)`` for errors that are not finite; ``LacunaError/cancelled``.
    public func run(
        _ decoder: inout Transformer, toward dense: Transformer, calibration: CalibrationSet, seed: UInt64 = 0,
        batchTokens: Int = 4096, progress: (any ProgressReporter)? = nil
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
            let trained = try MaskedNetwork(decoder, layers: Set(names), values: nil)
            try run(
                block: trained.network.blocks[layer], own.states(toward: aim), seed: seed &+ UInt64(layer),
                step: report)
            decoder = try trained.stored()
            if layer + 1 == count { break }
            try own.advance(decoder, layer: layer) { _, _ in try report(steps) }
        }
    }

    /// Seconds of a step on this machine, by the first block: the mean of two after one that is not counted. Nothing is changed by
    /// them.
    ///
    /// - Throws: As ``run(_:toward:calibration:seed:batchTokens:progress:)``.
    func secondsPerStep(
        _ decoder: Transformer, toward dense: Transformer, calibration: CalibrationSet
    ) throws -> Double {
        var timed = self
        timed.steps = 3
        try timed.validate()
        let own = try CalibrationStream(decoder, calibration, batchTokens: calibration.tokens.count)
        var aim = try CalibrationStream(dense, calibration, batchTokens: calibration.tokens.count)
        try aim.advance(dense, layer: 0) { _, _ in }
        let names = decoder.blocks[0].roles.map { decoder.configuration.weightName($0, layer: 0) }
        let trained = try MaskedNetwork(decoder, layers: Set(names), values: nil)
        var begin = monotonicSeconds()
        try timed.run(block: trained.network.blocks[0], own.states(toward: aim), seed: 0) { step in
            if step == 0 { begin = monotonicSeconds() }
        }
        return (monotonicSeconds() - begin) / 2
    }
}
