import LacunaModels
import LacunaSparse
import LacunaTensor

/// The hidden states of all calibration sequences in front of one block, kept in batches of whole sequences: what lets a
/// model be pruned block by block with a bounded amount of memory.
struct CalibrationStream {
    private var batches: [Tensor<Float>]
    private let sequenceLength: Int

    /// The embedded tokens, in front of the first block.
    ///
    /// - Parameter batchTokens: Tokens that go through a block at once, rounded to whole sequences.
    init(_ decoder: Transformer, _ set: CalibrationSet, batchTokens: Int) throws {
        if set.sequenceLength > decoder.configuration.maximumPositions {
            throw LacunaError.invalidArgument(
                "calibration length",
                reason: "\(set.sequenceLength) exceeds the model's \(decoder.configuration.maximumPositions) positions")
        }
        let length = set.sequenceLength
        sequenceLength = length
        let batch = max(1, batchTokens / length) * length
        batches = try stride(from: 0, to: set.tokens.count, by: batch).map {
            try decoder.embed(
                Array(set.tokens[$0..<min($0 + batch, set.tokens.count)]), sequenceLength: length)
        }
    }

    var batchCount: Int { batches.count }

    /// What stands in front of a block, and what a block of another model makes of it.
    func states(_ dense: Transformer, layer: Int) throws -> BlockStates {
        let targets = try batches.map { batch in
            var states = batch
            try dense.runBlock(layer, hidden: &states, sequenceLength: sequenceLength)
            return states
        }
        return BlockStates(inputs: batches, targets: targets, sequenceLength: sequenceLength)
    }

    /// What stands in front of a block, and what another stream has in its place.
    func states(toward other: CalibrationStream) -> BlockStates {
        BlockStates(inputs: batches, targets: other.batches, sequenceLength: sequenceLength)
    }

    /// Runs a block on every batch without moving on. `step` is called after each.
    func observe(
        _ decoder: Transformer, layer: Int, step: () throws -> Void, observer: Transformer.InputObserver
    ) throws {
        try withoutActuallyEscaping(observer) { observer in
            for batch in batches {
                var scratch = batch
                try decoder.runBlock(layer, hidden: &scratch, sequenceLength: sequenceLength, observer: observer)
                try step()
            }
        }
    }

    /// Moves every batch behind a block. `step` is called after each with its states in front of and behind the block.
    mutating func advance(
        _ decoder: Transformer, layer: Int, observer: Transformer.InputObserver? = nil,
        step: (_ input: Tensor<Float>, _ output: Tensor<Float>) throws -> Void
    ) throws {
        for index in batches.indices {
            var states = batches[index]
            try decoder.runBlock(layer, hidden: &states, sequenceLength: sequenceLength, observer: observer)
            try step(batches[index], states)
            batches[index] = states
        }
    }
}
