import LacunaSparse
import LacunaTensor

/// What the features of a ``Crosscoder`` say about its two models.
public struct ModelComparisonByFeatures: Sendable {
    /// Features that one model seems to have alone.
    public struct Side: Sendable {
        /// By the norms of their directions.
        public var candidates: [Int]
        /// Of these, those that latent scaling does not find in the other model.
        public var confirmed: [Int]
    }

    /// Features that the first model seems to have alone.
    public let first: Side
    /// Features that the second model seems to have alone.
    public let second: Side
    /// Features that are active in the sample.
    public let active: Int
    /// Of these, those whose norms differ by less than a fifth of a half: relative norms in 0.4...0.6.
    public let shared: Int
    /// Share of the variance that the dictionary explains in each model.
    public let explained: [Double]

    /// - Parameters:
    ///   - batches: Activations of both models side by side.
    ///   - margin: How near to 0 or 1 a candidate's relative norm is.
    /// - Throws: As ``Crosscoder/scaling(on:)``.
    public init(_ crosscoder: Crosscoder, on batches: [Tensor<Float>], margin: Double = 0.1) throws {
        let swapped = try Crosscoder(crosscoder.exchanged())
        let (toSecond, toFirst) = (
            try crosscoder.scaling(on: batches),
            try swapped.scaling(
                on: batches.map { Crosscoder.beside(crosscoder.columns($0, 1), crosscoder.columns($0, 0)) })
        )
        var isActive = [Bool](repeating: false, count: crosscoder.dictionary.width)
        var moments = crosscoder.dictionary.configuration.parts.map { DictionaryQuality.Moments(dimensions: $0) }
        var errors = [0.0, 0.0]
        for x in batches {
            let code = try crosscoder.dictionary.encode(x)
            code.pattern.forEachEntry { _, _, j in isActive[j] = true }
            let rest = x.subtracting(crosscoder.dictionary.decode(code))
            for model in 0..<2 {
                moments[model].add(crosscoder.columns(x, model))
                errors[model] += crosscoder.columns(rest, model).sumOfSquares
            }
        }
        let norms = crosscoder.relativeNorms
        func side(_ scaling: Crosscoder.Scaling, _ isCandidate: (Double) -> Bool) -> Side {
            let candidates = norms.indices.filter { isActive[$0] && isCandidate(norms[$0]) }
            return Side(candidates: candidates, confirmed: scaling.specific(among: candidates))
        }
        first = side(toFirst) { $0 < margin }
        second = side(toSecond) { $0 > 1 - margin }
        active = isActive.count { $0 }
        shared = norms.indices.count { isActive[$0] && (0.4...0.6).contains(norms[$0]) }
        explained = zip(errors, moments).map { 1 - $0 / $1.sumOfSquaresAroundMean }
    }
}

extension Crosscoder {
    /// The same dictionary with the models in the other order.
    func exchanged() throws -> SparseAutoencoder {
        let parts = dictionary.configuration.parts
        var configuration = dictionary.configuration
        configuration.parts = [parts[1], parts[0]]
        let result = try SparseAutoencoder(configuration, seed: 0)
        func swap(_ x: Tensor<Float>) -> Tensor<Float> { Crosscoder.beside(columns(x, 1), columns(x, 0)) }
        result.encoderWeight!.value = swap(dictionary.encoderWeight!.value)
        result.decoderWeight.value = swap(dictionary.decoderWeight.value)
        result.encoderBias!.value = dictionary.encoderBias!.value
        let bias = dictionary.decoderBias.value
        result.decoderBias.value = swap(bias.reshaped([1, bias.count])).reshaped([bias.count])
        if let threshold = dictionary.threshold { result.threshold!.value = threshold.value }
        return result
    }
}
