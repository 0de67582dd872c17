import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A dictionary of two models: one code for the activations of both at the same tokens, and a direction in each for
/// every feature.
///
/// It is a ``SparseAutoencoder`` of two parts. What a feature belongs to is read off the norms of its two directions,
/// and checked by ``LatentScaling``, since a penalty on strengths can shrink the direction in one model although that
/// model has the feature as well. Jack Lindsey and others, "Sparse Crosscoders for Cross-Layer Features and Model
/// Diffing", 2024; Julian Minder and others, "Overcoming Sparsity Artifacts in Crosscoders to Interpret Chat-Tuning",
/// arXiv 2504.02922.
public struct Crosscoder {
    /// The dictionary of both: its inputs and outputs are the two models' dimensions side by side.
    public let dictionary: SparseAutoencoder

    /// - Parameters:
    ///   - dimensions: Of each of the two models.
    ///   - rule: relu with a penalty, topK or batchTopK.
    ///   - norm: Of each direction at first; both models begin with the same where their dimensions agree.
    /// - Throws: As ``DictionaryConfiguration/validate()``.
    public init(
        dimensions: (Int, Int), width: Int, rule: SelectionRule, norm: Float = 1, seed: UInt64
    ) throws {
        var configuration = DictionaryConfiguration(
            inputDimensions: dimensions.0 + dimensions.1, width: width, rule: rule)
        configuration.parts = [dimensions.0, dimensions.1]
        dictionary = try SparseAutoencoder(configuration, seed: seed)
        guard norm > 0, norm.isFinite else {
            throw LacunaError.invalidArgument("norm", reason: "\(norm) is not positive")
        }
        var generator = SeededGenerator(seed: seed, stream: 0xC055)
        let first = Self.directions(width, dimensions.0, norm, &generator)
        let second = dimensions.0 == dimensions.1 ? first : Self.directions(width, dimensions.1, norm, &generator)
        let rows = Self.beside(first, second)
        dictionary.decoderWeight.value = rows
        dictionary.encoderWeight!.value = rows
    }

    /// A trained dictionary of two parts.
    ///
    /// - Throws: `LacunaError.invalidArgument` for one of another number of parts.
    public init(_ dictionary: SparseAutoencoder) throws {
        guard dictionary.configuration.parts.count == 2 else {
            throw LacunaError.invalidArgument("dictionary", reason: "is not one of two models")
        }
        self.dictionary = dictionary
    }

    private static func directions(
        _ width: Int, _ d: Int, _ norm: Float, _ generator: inout SeededGenerator
    ) -> Tensor<Float> {
        var result = Tensor<Float>(normal: [width, d], using: &generator)
        result.withMutablePointer { Directions.normalize($0, rows: width, columns: d) }
        return result.multiplied(byNumber: norm)
    }

    /// Rows of two matrices side by side.
    public static func beside(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Tensor<Float> {
        require(a.rows == b.rows, "\(a.shape) beside \(b.shape)")
        let (n, p, q) = (a.rows, a.columns, b.columns)
        var result = Tensor<Float>(uninitialized: [n, p + q])
        result.withMutablePointer { r in
            a.withPointer { a in
                b.withPointer { b in
                    for t in 0..<n {
                        (r + t * (p + q)).update(from: a + t * p, count: p)
                        (r + t * (p + q) + p).update(from: b + t * q, count: q)
                    }
                }
            }
        }
        return result
    }

    /// The directions of one of the two models [width, dimensions].
    public func directions(ofModel model: Int) -> Tensor<Float> {
        let (d, range) = (dictionary.configuration.outputDimensions, dictionary.partRanges[model])
        var result = Tensor<Float>(uninitialized: [dictionary.width, range.count])
        result.withMutablePointer { r in
            for j in 0..<dictionary.width {
                (r + j * range.count).update(
                    from: dictionary.decoderWeight.buffer.pointer + j * d + range.lowerBound, count: range.count)
            }
        }
        return result
    }

    /// `½ ((‖d_2‖ - ‖d_1‖) / max(‖d_1‖, ‖d_2‖) + 1)` of every feature: 0 for one that only the first model has, 1 for
    /// one that only the second has, ½ for one of both. Features without any direction are ½.
    public var relativeNorms: [Double] {
        let norms = (0..<2).map { model in
            let d = directions(ofModel: model)
            return d.withPointer { Directions.norms($0, rows: d.rows, columns: d.columns) }
        }
        return (0..<dictionary.width).map { j in
            let (a, b) = (Double(norms[0][j]), Double(norms[1][j]))
            return max(a, b) > 0 ? ((b - a) / max(a, b) + 1) / 2 : 0.5
        }
    }

    /// What ``LatentScaling`` says of every feature: how much of its direction in model `direction` is in the signals
    /// of both.
    public struct Scaling: Sendable {
        /// β of the error without the feature, first model over second; nil where the second has none. Large values
        /// say that the first model has the feature although its direction has shrunk.
        public let errorRatio: [Double?]
        /// The same of the reconstruction without the feature: large values say that other features carry it there.
        public let reconstructionRatio: [Double?]

        /// Features that only the second model has, of some candidates: little of them in the first model's error,
        /// and not much in its reconstruction.
        public func specific(among candidates: [Int], error: Double = 0.2, reconstruction: Double = 0.5) -> [Int] {
            candidates.filter { j in
                guard let a = errorRatio[j], let b = reconstructionRatio[j] else { return false }
                return abs(a) < error && abs(b) < reconstruction
            }
        }
    }

    /// Compares how much of each feature's direction in the second model is in the signals of the two.
    ///
    /// - Parameter batches: Activations of both models side by side. The models need the same dimensions.
    /// - Throws: `LacunaError.invalidArgument` for models of different dimensions, and as
    ///   ``SparseAutoencoder/encode(_:gradients:scope:)``.
    public func scaling(on batches: some Sequence<Tensor<Float>>) throws -> Scaling {
        let parts = dictionary.configuration.parts
        guard parts[0] == parts[1] else {
            throw LacunaError.invalidArgument(
                "models", reason: "of \(parts[0]) and \(parts[1]) dimensions share no directions")
        }
        let own = [directions(ofModel: 0), directions(ofModel: 1)]
        var error = [LatentScaling(directions: own[1]), LatentScaling(directions: own[1])]
        var whole = error
        for x in batches {
            let code = try dictionary.encode(x)
            let y = dictionary.decode(code)
            let rest = x.subtracting(y)
            for model in 0..<2 {
                error[model].add(code, columns(rest, model), addingBack: own[model])
                // Without the feature: its own part is taken away.
                whole[model].add(code, columns(y, model), addingBack: own[model].multiplied(byNumber: -1))
            }
        }
        func ratio(_ scalings: [LatentScaling]) -> [Double?] {
            zip(scalings[0].scales, scalings[1].scales).map { a, b in
                guard let a, let b, b != 0 else { return nil }
                return a / b
            }
        }
        return Scaling(errorRatio: ratio(error), reconstructionRatio: ratio(whole))
    }

    /// The columns of one model.
    func columns(_ x: Tensor<Float>, _ model: Int) -> Tensor<Float> {
        let range = dictionary.partRanges[model]
        var result = Tensor<Float>(uninitialized: [x.rows, range.count])
        let (n, d) = (x.rows, x.columns)
        x.withPointer { x in
            result.withMutablePointer { r in
                for t in 0..<n { (r + t * range.count).update(from: x + t * d + range.lowerBound, count: range.count) }
            }
        }
        return result
    }
}
