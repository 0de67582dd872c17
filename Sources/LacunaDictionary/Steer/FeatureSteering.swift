import LacunaModels
import LacunaTensor

/// Holds features of a dictionary at strengths of one's choice while a model writes.
///
/// Where a feature has the strength `f_j` and is wanted at `v`, `(v - f_j) d_j` is added to the activations, so that what the
/// dictionary does not explain stays as it is. 0 takes a feature out.
///
/// ```swift
/// import LacunaDictionary
/// import LacunaInfer
///
/// var model = try LanguageModel.load("smollm2")
/// let dictionary = try SparseAutoencoder.load("sae/topk")
/// let site = ActivationSite(layer: 12, .residual)
/// model.watch = try FeatureSteering(dictionary, of: model.decoder, at: site, strengths: [300: 40]).watch
/// print(try model.generate("The weather"))
/// ```
public struct FeatureSteering: Sendable {
    /// Where activations are changed.
    public let site: ActivationSite
    /// What each feature is held at.
    public let strengths: [Int: Float]
    /// Positions at the beginning of a sequence that stay as they are: those that the dictionary was not trained on.
    public let skipping: Int
    private let reader: Reader

    /// A dictionary that nothing writes to any more.
    private struct Reader: @unchecked Sendable {
        let dictionary: SparseAutoencoder
    }

    /// - Parameter strengths: By feature, in the units of the dictionary's codes.
    /// - Throws: `LacunaError.invalidArgument` for features that the dictionary does not have, strengths that are not finite, and a
    ///   site that is not the dictionary's.
    public init(
        _ dictionary: SparseAutoencoder, of decoder: Transformer, at site: ActivationSite, strengths: [Int: Float],
        skipping: Int = 1
    ) throws {
        try dictionary.requireSite(site, of: decoder)
        for (feature, strength) in strengths {
            guard (0..<dictionary.width).contains(feature) else {
                throw LacunaError.invalidArgument(
                    "feature", reason: "\(feature) is not one of the dictionary's 0...\(dictionary.width - 1)")
            }
            guard strength.isFinite else {
                throw LacunaError.invalidArgument("feature", reason: "\(feature) at a strength of \(strength)")
            }
        }
        guard skipping >= 0 else { throw LacunaError.invalidArgument("skipping", reason: "\(skipping) positions") }
        (self.site, self.strengths, self.skipping, reader) = (site, strengths, skipping, Reader(dictionary: dictionary))
    }

    /// Activations [rows, dimensions] with the features held.
    ///
    /// - Throws: As ``SparseAutoencoder/encode(_:gradients:scope:)``.
    public func steered(_ activations: Tensor<Float>) throws -> Tensor<Float> {
        let dictionary = reader.dictionary
        let (n, d) = (activations.rows, activations.columns)
        var missing = [[(feature: Int, strength: Float)]](
            repeating: strengths.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }, count: n)
        try dictionary.encode(activations).forEachEntry { row, feature, value in
            if let place = missing[row].firstIndex(where: { $0.feature == feature }) {
                missing[row][place].strength -= value
            }
        }
        let directions = dictionary.decoderWeight.buffer
        var result = activations
        result.withMutablePointer { x in
            for row in 0..<n {
                for (feature, change) in missing[row] where change != 0 {
                    let direction = directions.pointer + feature * d
                    for i in 0..<d { x[row * d + i] += change * direction[i] }
                }
            }
        }
        return result
    }

    /// What has a model write with the features held.
    public var watch: ActivationWatch {
        ActivationWatch(sites: [site]) { _, positions, values in
            let rows = positions.indices.filter { positions[$0] >= skipping }
            if rows.isEmpty { return false }
            let new = try steered(values.selectingRows(rows))
            for (i, row) in rows.enumerated() { for j in 0..<new.columns { values[row, j] = new[i, j] } }
            return true
        }
    }
}

extension SparseAutoencoder {
    /// - Throws: `LacunaError.invalidArgument` for a site that the model does not have, or whose activations the dictionary does not
    ///   encode and decode.
    func requireSite(_ site: ActivationSite, of decoder: Transformer) throws {
        try site.validate(for: decoder.configuration)
        let d = site.dimensions(of: decoder.configuration)
        guard configuration.inputDimensions == d, configuration.outputDimensions == d else {
            throw LacunaError.invalidArgument(
                "dictionary", reason: "of \(configuration.inputDimensions) dimensions, \(site) of the model has \(d)")
        }
    }
}
