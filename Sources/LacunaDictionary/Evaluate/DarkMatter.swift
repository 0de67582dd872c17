import LacunaLearn
import LacunaSparse
import LacunaTensor

/// What a dictionary misses, cut into a part that is a linear function of the activations and a rest.
///
/// With `e = x - x̂`, least squares `e ≈ x A` on one half of the tokens, and everything reported on the other. Joshua
/// Engels, Logan Riggs, Max Tegmark, "Decomposing The Dark Matter of Sparse Autoencoders", arXiv 2410.14670.
public struct DarkMatter: Sendable, Hashable {
    /// Share of the variance of `x` that `x̂` does not explain.
    public var unexplained: Double
    /// The same for `x̂ + x A`: the floor that does not fall as dictionaries become wider.
    public var unexplainedNonlinear: Double
    /// `1 - Σ‖e - x A‖² / Σ‖e‖²`, pooled over dimensions, without an intercept.
    public var linearShare: Double
    /// Coefficient of determination of `‖e‖²` as a linear function of `x`, with an intercept.
    public var normDetermination: Double
    /// Tokens that the fit was made on.
    public var fitted: Int
    /// Tokens that it was judged on.
    public var judged: Int

    /// - Parameters:
    ///   - fit: Activations for the least squares; more tokens than dimensions.
    ///   - judge: Others.
    /// - Throws: As ``SparseAutoencoder/encode(_:gradients:scope:)``; `LacunaError.invalidArgument` for too few tokens.
    public init(
        of dictionary: SparseAutoencoder, fit: some Sequence<Tensor<Float>>, judge: some Sequence<Tensor<Float>>
    ) throws {
        let d = dictionary.configuration.inputDimensions
        guard dictionary.configuration.outputDimensions == d else {
            throw LacunaError.invalidArgument("dictionary", reason: "a transcoder has no error in its input's space")
        }
        var (vectors, norms) = (
            StreamingLeastSquares(inputs: d, outputs: d, intercept: false),
            StreamingLeastSquares(inputs: d, outputs: 1, intercept: true)
        )
        func error(_ x: Tensor<Float>) throws -> (e: Tensor<Float>, norm: Tensor<Float>) {
            let e = x.subtracting(try dictionary.reconstruct(x))
            let squares = e.withPointer { Directions.dots($0, $0, rows: e.rows, columns: d) }
            return (e, Tensor(squares, shape: [e.rows, 1]))
        }
        for x in fit {
            let (e, norm) = try error(x)
            vectors.add(x, e)
            norms.add(x, norm)
        }
        guard vectors.count > d else {
            throw LacunaError.invalidArgument(
                "activations", reason: "\(vectors.count) tokens to fit \(d) coefficients a dimension")
        }
        let (a, b) = (try vectors.solve(), try norms.solve())
        var moments = DictionaryQuality.Moments(dimensions: d)
        var (all, rest, normError) = (0.0, 0.0, 0.0)
        var scalars = DictionaryQuality.Moments(dimensions: 1)
        for x in judge {
            let (e, norm) = try error(x)
            all += e.sumOfSquares
            rest += e.subtracting(vectors.predict(x, a)).sumOfSquares
            normError += norm.subtracting(norms.predict(x, b)).sumOfSquares
            moments.add(x)
            scalars.add(norm)
        }
        guard moments.count > 1 else { throw LacunaError.invalidArgument("activations", reason: "none to judge by") }
        unexplained = all / moments.sumOfSquaresAroundMean
        unexplainedNonlinear = rest / moments.sumOfSquaresAroundMean
        linearShare = 1 - rest / all
        normDetermination = 1 - normError / scalars.sumOfSquaresAroundMean
        (fitted, judged) = (vectors.count, moments.count)
    }
}
