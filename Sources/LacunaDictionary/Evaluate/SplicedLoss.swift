import CLacuna
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// What a model loses when its activations at a site are replaced by a dictionary's reconstructions.
public struct SplicedLoss: Sendable, Hashable {
    /// Mean cross-entropy of the next token, in nats, of the model as it is.
    public var clean: Double
    /// With reconstructions.
    public var reconstructed: Double
    /// With zeros.
    public var ablated: Double
    /// Tokens scored.
    public var tokens: Int

    /// `(ablated - reconstructed) / (ablated - clean)`: 1 if nothing is lost, 0 if as much as with zeros.
    public var recovered: Double { (ablated - reconstructed) / (ablated - clean) }

    /// What stands in the place of activations.
    enum Replacement {
        case nothing, zeros
        /// Any function of the activations of all tokens [tokens, dimensions].
        case function((Tensor<Float>) throws -> Tensor<Float>)
    }

    /// - Parameters:
    ///   - tokens: Are cut into sequences of `context` tokens; a rest is left out.
    ///   - skipping: Positions at the beginning of each sequence where activations stay as they are.
    /// - Throws: `LacunaError.invalidArgument` for a text shorter than a sequence, a site that the model does not
    ///   have, or other dimensions than the dictionary's; `.cancelled`.
    public init(
        _ decoder: Transformer, _ dictionary: SparseAutoencoder, at site: ActivationSite, tokens: [Int],
        context: Int = 128, skipping: Int = 1, progress: (any ProgressReporter)? = nil
    ) throws {
        try dictionary.requireSite(site, of: decoder)
        func loss(_ replacement: Replacement, _ part: Int) throws -> (sum: Double, count: Int) {
            try Self.loss(
                decoder, at: site, tokens: tokens, context: context, skipping: skipping, replacement,
                progress: progress,
                part: part)
        }
        let plain = try loss(.nothing, 0)
        let count = Double(plain.count)
        self.tokens = plain.count
        clean = plain.sum / count
        reconstructed = try loss(.function { try dictionary.reconstruct($0) }, 1).sum / count
        ablated = try loss(.zeros, 2).sum / count
    }

    /// The summed cross-entropy of next tokens with something else at a site.
    ///
    /// - Parameter part: Of three, for the progress.
    static func loss(
        _ decoder: Transformer, at site: ActivationSite, tokens: [Int], context: Int, skipping: Int,
        _ replacement: Replacement, progress: (any ProgressReporter)? = nil, part: Int = 0
    ) throws -> (sum: Double, count: Int) {
        guard context >= 2, (0..<context).contains(skipping), tokens.count >= context else {
            throw LacunaError.invalidArgument(
                "text", reason: "\(tokens.count) tokens for sequences of \(context), of which \(skipping) are skipped")
        }
        let sequences = tokens.count / context
        let piece = max(1, 2048 / context)
        var total = (sum: 0.0, count: 0)
        for first in stride(from: 0, to: sequences, by: piece) {
            try progress.report("loss", part * sequences + first, of: 3 * sequences)
            let count = min(piece, sequences - first)
            let ids = Array(tokens[first * context..<(first + count) * context])
            var sites = [site]
            if case .nothing = replacement { sites = [] }
            let hidden = try decoder.hiddenStates(ids, sequenceLength: context, sites: sites) { _, values in
                let kept = (0..<count).flatMap { s in (skipping..<context).map { s * context + $0 } }
                let width = values.columns
                switch replacement {
                case .nothing: return false
                case .zeros:
                    values.withMutablePointer { p in
                        for row in kept { (p + row * width).update(repeating: 0, count: width) }
                    }
                case .function(let function):
                    let new = try function(values.selectingRows(kept))
                    require(new.shape == [kept.count, width], "a replacement of another shape")
                    values.withMutablePointer { p in
                        new.withPointer { new in
                            for (i, row) in kept.enumerated() {
                                (p + row * width).update(from: new + i * width, count: width)
                            }
                        }
                    }
                }
                return true
            }
            for s in 0..<count {
                let rows = s * context..<(s + 1) * context - 1
                let labels = (1..<context).map { Int32(ids[s * context + $0]) }
                total.sum += NextToken.loss(decoder.logits(hidden, rows: rows), labels)
                total.count += labels.count
            }
        }
        return total
    }
}

/// Cross-entropies of tokens.
enum NextToken {
    /// `Σ -log softmax(logits)[label]` over rows [tokens, vocabulary].
    static func loss(_ logits: Tensor<Float>, _ labels: [Int32]) -> Double {
        let (n, vocabulary) = (logits.rows, logits.columns)
        require(labels.count == n, "one label a row")
        var losses = [Float](repeating: 0, count: n)
        let probabilities = Buffer<Float>(uninitialized: n * vocabulary)
        logits.withPointer { x in
            losses.withUnsafeMutableBufferPointer { losses in
                let target = UncheckedTarget(losses.baseAddress)
                Parallel.forRanges(n, grain: 8) { range in
                    let from = range.lowerBound
                    labels.withUnsafeBufferPointer {
                        Float.kernels.pointee.cross_entropy(
                            x + from * vocabulary, $0.baseAddress! + from, target.pointer! + from,
                            probabilities.pointer + from * vocabulary, range.count, vocabulary)
                    }
                }
            }
        }
        return losses.reduce(0.0) { $0 + Double($1) }
    }
}
