import LacunaLearn
import LacunaModels
import LacunaTensor

/// Hides some patches of the pictures that a vision transformer learns from, and makes it say what they were: a regulariser for networks that
/// lose units while they learn.
///
/// Embedded patches that are hidden are replaced by one trained token; a linear decoder makes pixels of the last hidden states, and the mean
/// absolute error of hidden pixels, normalised picture by picture, joins the loss, scaled to its size. The share of patches that stay falls
/// from 0.95 to 0.75 as warming up goes on: ever more is hidden. From arXiv 2403.15835 (``OnceForBoth``), who normalise within windows of
/// 47 pixels: more than such a small picture has.
public final class PatchReconstruction: Module {
    /// What stands for a hidden patch, [hiddenSize].
    public let token: Parameter<Float>
    /// Pixels of a patch for hidden states.
    public let decoder: Linear
    /// Share of the patches that stay, 0...1, at first and when warming up is over.
    public let kept: (from: Double, to: Double)
    /// Share of the patches that stay now.
    public var keptNow: Double
    private var hidden: [Bool] = []

    /// - Throws: `LacunaError.invalidArgument` for shares outside 0...1.
    public init(
        _ model: TrainableViT, kept: (from: Double, to: Double) = (0.95, 0.75),
        using generator: inout SeededGenerator
    ) throws {
        guard (0...1).contains(kept.from), (0...1).contains(kept.to) else {
            throw LacunaError.invalidArgument("kept", reason: "\(kept.from) and \(kept.to) are not within 0...1")
        }
        let c = model.configuration
        token = Parameter(
            Tensor(normal: [c.hiddenSize], standardDeviation: 0.02, using: &generator), decays: false)
        decoder = Linear(
            inputDimensions: c.hiddenSize, outputDimensions: c.channels * c.patchSize * c.patchSize,
            using: &generator)
        (self.kept, keptNow) = (kept, kept.from)
    }

    public var parts: [(name: String, part: Any)] { [("token", token), ("decoder", decoder)] }

    /// Tokens [n · tokens, hiddenSize] with some of the patches' replaced, as many of each picture, while the tape is training.
    func hide(_ x: Variable<Float>, _ c: ViTConfiguration) -> Variable<Float> {
        let tokens = c.specialTokens + c.patchCount
        let hiddenCount = c.patchCount - Int(Double(c.patchCount) * keptNow)
        hidden = [Bool](repeating: false, count: x.rows)
        if !x.tape.isTraining || hiddenCount == 0 { return x }
        for picture in 0..<x.rows / tokens {
            for place in sampledPlaces(hiddenCount, of: c.patchCount, using: &x.tape.generator) {
                hidden[picture * tokens + c.specialTokens + Int(place)] = true
            }
        }
        let seen = x.tape.constant(Tensor(hidden.map { $0 ? 0 : 1 as Float }))
        let rows = Tensor<Float>(hidden.map { $0 ? 1 : 0 }, shape: [x.rows, 1])
        let tokenRow = token.on(x.tape).reshaped([1, x.columns])
        return x.multipliedByColumn(seen) + x.tape.constant(rows).multiplied(by: tokenRow)
    }

    /// The mean absolute error of the hidden patches' pixels; nil if none was hidden.
    ///
    /// - Parameters:
    ///   - states: [n · tokens, hiddenSize], as the network gave them for `images`.
    ///   - images: [n, channels, side, side].
    func error(_ states: Variable<Float>, _ images: Tensor<Float>, _ c: ViTConfiguration) -> Variable<Float>? {
        let (tokens, tape, n) = (c.specialTokens + c.patchCount, states.tape, images.shape[0])
        let places = hidden.indices.filter { hidden[$0] }
        if places.isEmpty { return nil }
        let pixels = images.count / max(n, 1)
        var targets = images
        targets.withMutablePointer { p in
            for picture in 0..<n {
                let row = p + picture * pixels
                let mean = (0..<pixels).reduce(0.0) { $0 + Double(row[$1]) } / Double(pixels)
                let square = (0..<pixels).reduce(0.0) { $0 + (Double(row[$1]) - mean) * (Double(row[$1]) - mean) }
                let deviation = (square / Double(pixels) + 1e-6).squareRoot()
                for i in 0..<pixels { row[i] = Float((Double(row[i]) - mean) / deviation) }
            }
        }
        let patches = tape.constant(targets).patches(c.patchSize, sliding: Sliding(stride: c.patchSize))
        let rows = places.map { Int32($0 / tokens * c.patchCount + $0 % tokens - c.specialTokens) }
        let made = decoder(states.gathered(places.map { Int32($0) }))
        return (made - patches.gathered(rows)).map(.absolute).mean()
    }

    /// Keeps some entries of the stream.
    func keep(_ entries: [Int]) {
        token.keep(entries, along: 0)
        decoder.dense!.parameter.keep(entries, along: 1)
    }
}
