import LacunaModels
import LacunaSparse

/// The memory that pruning a decoder takes, known before it starts. In bytes.
public struct MemoryEstimate: Sendable, Hashable {
    /// The model as it is.
    public var model = 0
    /// The pruned matrices.
    public var result = 0
    /// Hidden states of the calibration tokens.
    public var states = 0
    /// What a block's pass over one batch needs.
    public var activations = 0
    /// Statistics of a block's inputs, and what a second-order method derives from them.
    public var statistics = 0
    /// Dense copies, scores and masks of the matrices in work.
    public var workspace = 0

    /// All of it together.
    public var total: Int { model + result + states + activations + statistics + workspace }
}

extension Pruner {
    /// Bytes that the pruned model takes on a disk at the very least: kept values and everything that is not pruned, without
    /// positions, scales and names.
    public func leastFileBytes(_ decoder: Transformer) -> Int {
        let bits = storage.values.bits
        let kept = storage.layout == .dense || storage.layout == .masked ? 1 : min(1, max(0, 1 - nominalSparsity))
        let linear = Set(decoder.linearNames)
        return decoder.footprints.reduce(0) { sum, matrix in
            guard linear.contains(matrix.name) else { return sum + matrix.byteCount }
            return sum + Int(Double(matrix.rows * matrix.columns * bits / 8) * kept)
        }
    }

    /// The memory that a run will take.
    public func memoryEstimate(_ decoder: Transformer, calibrationTokens: Int = 0) -> MemoryEstimate {
        let configuration = decoder.configuration
        let float = MemoryLayout<Float>.size
        let names = decoder.linearNames
        var estimate = MemoryEstimate()
        let matrices = names.map { decoder[linear: $0] }
        estimate.model =
            decoder.embedding.byteCount + (decoder.untiedHead?.byteCount ?? 0)
            + matrices.reduce(0) { $0 + $1.byteCount }
        let entries = matrices.reduce(0) { $0 + $1.rows * $1.columns }
        let bits = storage.values == .int4 ? 5 : storage.values.bits  // a quarter of a bit is its share of a scale
        let skipped = storage.layout == .dense || storage.layout == .masked ? 0 : min(1, max(0, nominalSparsity))
        estimate.result = Int(Double(entries * bits / 8) * (1 - skipped)) + entries / 8

        let largest = configuration.intermediateSizes.max() ?? 0
        let widths = [configuration.hiddenSize, configuration.queryWidth, configuration.hiddenSize, largest]
        let group = max(
            2 * largest * configuration.hiddenSize,
            (configuration.queryWidth + 2 * configuration.keyValueWidth) * configuration.hiddenSize)
        // Original, pruned and stored copies, scores, and their intermediate results.
        estimate.workspace = 5 * float * (isGlobal ? entries : group)
        if method.requirement == .none { return estimate }

        estimate.states = calibrationTokens * configuration.hiddenSize * float
        let wide = max(2 * configuration.queryWidth + 2 * configuration.keyValueWidth, 2 * largest)
        estimate.activations = min(batchTokens, calibrationTokens) * float * (3 * configuration.hiddenSize + wide)
        let usesGram = method.requirement.contains(.gram) || measuresError
        estimate.statistics = widths.reduce(0) { $0 + 16 * $1 + (usesGram ? float * $1 * $1 : 0) }
        if usesGram, let width = widths.max() { estimate.statistics += 4 * float * width * width }
        return estimate
    }
}
