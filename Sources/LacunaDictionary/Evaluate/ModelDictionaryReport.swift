import LacunaLearn
import LacunaModels
import LacunaTensor

/// A dictionary measured inside its model, on a text: everything that ``DictionaryQuality``, ``SplicedLoss`` and
/// ``DarkMatter`` say.
public struct ModelDictionaryReport: Sendable {
    /// How well activations are described, and how features are used.
    public let quality: DictionaryQuality
    /// What the model loses with reconstructions in the place of its activations.
    public let loss: SplicedLoss
    /// Fitted on the even, judged on the odd pieces of the text; nil if there are too few tokens for the dimensions.
    public let darkMatter: DarkMatter?

    /// - Parameters:
    ///   - tokens: Are cut into sequences of `context`; a rest is left out.
    ///   - skipping: Positions at the beginning of each sequence that are left out, and stay as they are in splicing.
    /// - Throws: As ``SplicedLoss/init(_:_:at:tokens:context:skipping:progress:)``.
    public init(
        _ dictionary: SparseAutoencoder, in decoder: Transformer, at site: ActivationSite, tokens: [Int],
        context: Int = 128,
        skipping: Int = 1, progress: (any ProgressReporter)? = nil
    ) throws {
        loss = try SplicedLoss(
            decoder, dictionary, at: site, tokens: tokens, context: context, skipping: skipping, progress: progress)
        let sequences = tokens.count / context
        // At least two pieces, so that there is something to fit on and something to judge by.
        let piece = max(1, min(2048 / context, sequences / 2))
        var pieces: [Tensor<Float>] = []
        for first in stride(from: 0, to: sequences, by: piece) {
            try progress.report("activations", first, of: sequences)
            let count = min(piece, sequences - first)
            _ = try decoder.hiddenStates(
                Array(tokens[first * context..<(first + count) * context]), sequenceLength: context, sites: [site],
                upTo: site.layer + 1
            ) { _, values in
                pieces.append(
                    values.selectingRows((0..<count).flatMap { s in (skipping..<context).map { s * context + $0 } }))
                return false
            }
        }
        quality = try DictionaryQuality(
            of: dictionary, on: pieces.enumerated().map { ActivationBatch(step: $0, inputs: $1) })
        let even = pieces.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
        let odd = pieces.enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
        let enough = even.reduce(0) { $0 + $1.rows } > 2 * dictionary.configuration.inputDimensions && !odd.isEmpty
        darkMatter = enough ? try DarkMatter(of: dictionary, fit: even, judge: odd) : nil
    }
}
