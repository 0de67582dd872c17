import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A dictionary of directions, and an encoder that says which few of them a vector is made of.
///
/// Encoding is `u = (x - b_dec) W_encᵀ + b_enc` and a ``SelectionRule``; decoding is `x̂ = f W_dec + b_dec`, in which
/// only the directions that the code names are read. A code is a ``SparseMatrix`` [tokens, features].
///
/// ```swift
/// let dictionary = try SparseAutoencoder(
///     .init(inputDimensions: 576, width: 8192, rule: .topK(32)), seed: 1)
/// let code = try dictionary.encode(activations)       // [tokens, 8192], at most 32 a row
/// let approximation = dictionary.decode(code)          // [tokens, 576]
/// ```
///
/// ``DictionaryTraining`` trains one, or several at once.
public final class SparseAutoencoder: Module {
    /// Its sizes and its rule.
    public let configuration: DictionaryConfiguration
    /// [width, inputs]; nil for matching pursuit, which has no encoder.
    public let encoderWeight: Parameter<Float>?
    /// [width]; of a gated encoder, that of its gate.
    public let encoderBias: Parameter<Float>?
    /// [width, outputs]: one direction a row.
    public let decoderWeight: Parameter<Float>
    /// [outputs]
    public let decoderBias: Parameter<Float>
    /// Logarithms of the thresholds [width] of JumpReLU.
    public let logThreshold: Parameter<Float>?
    /// What stands for the selection of a batch once a token is encoded by itself: one number, or one a feature. 0
    /// until training has set it. Not trained.
    public let threshold: Parameter<Float>?
    /// Logarithms of the scales [width] of a gated encoder's magnitudes.
    public let magnitudeScale: Parameter<Float>?
    /// [width], of a gated encoder's magnitudes.
    public let magnitudeBias: Parameter<Float>?
    /// Names that files carry along.
    public var origin = DictionaryOrigin()

    public var parts: [(name: String, part: Any)] {
        let all: [(String, Parameter<Float>?)] = [
            ("encoder.weight", encoderWeight), ("encoder.bias", encoderBias), ("encoder.log_threshold", logThreshold),
            ("encoder.threshold", threshold), ("encoder.magnitude.log_scale", magnitudeScale),
            ("encoder.magnitude.bias", magnitudeBias), ("decoder.weight", decoderWeight),
            ("decoder.bias", decoderBias),
        ]
        return all.compactMap { name, part in part.map { (name, $0) } }
    }

    /// Number of features.
    public var width: Int { configuration.width }
    /// Which features of a token become its code.
    public var rule: SelectionRule { configuration.rule }

    /// A dictionary of random directions of norm 1, whose encoder begins as a copy of them. Biases are 0.
    ///
    /// - Parameter tied: Whether the encoder begins as the decoder; otherwise it is drawn by itself, as a
    ///   transcoder's always is.
    /// - Throws: As ``DictionaryConfiguration/validate()``, and `LacunaError.resource`.
    public init(_ configuration: DictionaryConfiguration, seed: UInt64, tied: Bool = true) throws {
        try configuration.validate()
        self.configuration = configuration
        let (width, d, out) = (configuration.width, configuration.inputDimensions, configuration.outputDimensions)
        var generator = SeededGenerator(seed: seed, stream: 0xD1C7)
        func directions(_ dimensions: Int) throws -> Tensor<Float> {
            var result = try Tensor<Float>(checking: [width, dimensions], for: "a dictionary of \(width) features")
            result.withMutablePointer { p in
                for i in 0..<width * dimensions { p[i] = Float(generator.normal()) }
                Directions.normalize(p, rows: width, columns: dimensions)
            }
            return result
        }
        let decoder = try directions(out)
        decoderWeight = Parameter(decoder)
        decoderBias = Parameter(Tensor(zeros: [out]))
        var (bias, weight): (Parameter<Float>?, Parameter<Float>?) = (nil, nil)
        if case .matchingPursuit = configuration.rule {
        } else {
            weight = Parameter(tied && d == out ? decoder : try directions(d))
            bias = Parameter(Tensor(zeros: [width]))
        }
        (encoderWeight, encoderBias) = (weight, bias)
        switch configuration.rule {
        case .jumpReLU(_, let bandwidth):
            // Where the rectangle of width `bandwidth` around the threshold still lies above 0.
            logThreshold = Parameter(
                Tensor(repeating: Float(logarithm(max(bandwidth, 1e-3))), shape: [width]), decays: false)
        default: logThreshold = nil
        }
        switch configuration.rule {
        case .batchTopK, .batchAbsTopK: threshold = Parameter(Tensor(zeros: [1]), isTrainable: false)
        case .featureChoice: threshold = Parameter(Tensor(zeros: [width]), isTrainable: false)
        default: threshold = nil
        }
        let isGated = configuration.rule == .gated
        magnitudeScale = isGated ? Parameter(Tensor(zeros: [width]), decays: false) : nil
        magnitudeBias = isGated ? Parameter(Tensor(zeros: [width])) : nil
    }

    // MARK: Encoding and decoding

    /// Whether a token is encoded by itself or in competition with others.
    public enum Scope: Sendable {
        /// By itself: what a code means does not depend on the batch.
        case token
        /// As in training.
        case batch
    }

    /// The codes of vectors: which features are active in each, and how strongly.
    ///
    /// - Parameters:
    ///   - x: [tokens, inputs].
    ///   - gradients: [tokens, outputs], of a model's loss with respect to what is decoded; only
    ///     ``SelectionRule/gradientAware(_:strength:)`` reads them, and without them selects as
    ///     ``SelectionRule/topK(_:)``.
    /// - Returns: [tokens, width].
    /// - Throws: `LacunaError.invalidArgument` for another number of dimensions, `.numerical` for inputs that are not
    ///   finite.
    /// - Complexity: The product with the encoder, `tokens · inputs · width`; the full result is never in memory.
    public func encode(
        _ x: Tensor<Float>, gradients: Tensor<Float>? = nil, scope: Scope = .token
    ) throws -> SparseMatrix<Float> {
        try requireInputs(x, gradients)
        if case .matchingPursuit(let k) = rule { return pursued(x, rounds: k) }
        var code = preActivations(x, gradients: gradients).selected(
            competition(tokens: x.rows, scope: scope), signed: rule.isSigned)
        if rule == .gated { code = magnitudes(code) }
        return code
    }

    /// The vectors that codes stand for, [tokens, outputs].
    ///
    /// - Complexity: O(active features · outputs), and a copy of the directions.
    public func decode(_ code: SparseMatrix<Float>) -> Tensor<Float> {
        require(code.columns == width, "a code of \(code.columns) features for a dictionary of \(width)")
        let tape = Tape<Float>()
        return tape.withoutRecording {
            tape.constant(Tensor(code.values)).decoded(
                decoderWeight.on(tape), bias: decoderBias.on(tape), at: code.pattern
            ).value
        }
    }

    /// What is left of vectors after encoding and decoding.
    ///
    /// - Throws: As ``encode(_:gradients:scope:)``.
    public func reconstruct(_ x: Tensor<Float>, scope: Scope = .token) throws -> Tensor<Float> {
        decode(try encode(x, scope: scope))
    }

    /// The thresholds in use, one or `width` numbers: those of JumpReLU, or what stands for a batch; nil for rules
    /// without.
    public var thresholds: [Float]? {
        if let logThreshold { return logThreshold.buffer.elements.map { Float(exponential(Double($0))) } }
        return threshold?.buffer.array
    }

    /// `Σ_l ‖d_l,j‖` of every feature: what strengths count times in a dictionary of several parts.
    var partNorms: [Float] {
        let ranges = partRanges
        let (p, d) = (decoderWeight.buffer.pointer, configuration.outputDimensions)
        return (0..<width).map { j in
            ranges.reduce(Float(0)) { total, range in
                total + range.reduce(Float(0)) { $0 + p[j * d + $1] * p[j * d + $1] }.squareRoot()
            }
        }
    }

    /// Where the parts stand in a row.
    var partRanges: [Range<Int>] {
        var start = 0
        return configuration.parts.map { size in
            defer { start += size }
            return start..<start + size
        }
    }

    func requireInputs(_ x: Tensor<Float>, _ gradients: Tensor<Float>? = nil) throws {
        guard x.rank == 2, x.columns == configuration.inputDimensions else {
            throw LacunaError.invalidArgument(
                "activations", reason: "of shape \(x.shape) for \(configuration.inputDimensions) dimensions")
        }
        if let gradients, gradients.shape != [x.rows, configuration.outputDimensions] {
            throw LacunaError.invalidArgument("gradients", reason: "of shape \(gradients.shape) for inputs \(x.shape)")
        }
        for tensor in [x, gradients].compactMap(\.self) where !tensor.isFinite {
            throw LacunaError.numerical(operation: "encode", reason: "activations are not all finite")
        }
    }

    /// What every token is multiplied by before anything is selected.
    func preActivations(_ x: Tensor<Float>, gradients: Tensor<Float>? = nil) -> PreActivations {
        preActivations(x, gradients: gradients) { $0 }
    }

    /// The same where other processes have the other tokens of a batch.
    func preActivations(
        _ x: Tensor<Float>, gradients: Tensor<Float>?, among collective: any Collective
    ) throws -> PreActivations {
        try preActivations(x, gradients: gradients) { try collective.sum($0) }
    }

    /// - Parameter sum: Adds up numbers over all tokens of a batch.
    private func preActivations(
        _ x: Tensor<Float>, gradients: Tensor<Float>?, sum: ([Double]) throws -> [Double]
    ) rethrows -> PreActivations {
        let (weight, d) = (encoderWeight!.buffer.pointer, configuration.inputDimensions)
        var bias = encoderBias!.buffer.array
        if configuration.centersInputs {
            // (x - c) Wᵀ + b = x Wᵀ + (b - W c)
            LinearAlgebra.parallelGemm(
                m: width, n: 1, k: d, alpha: -1, UnsafePointer(weight), leadingA: d,
                UnsafePointer(decoderBias.buffer.pointer), leadingB: 1, beta: 1, into: &bias, leadingC: 1)
        }
        var result = PreActivations(inputs: x, weight: weight, bias: bias)
        if !configuration.parts.isEmpty { result.featureScale = partNorms }
        if case .gradientAware(_, let strength) = rule, let gradients, strength > 0 {
            let scale = try Directions.rootMeanSquareSlope(gradients, decoderWeight, sum: sum)
            if scale > 0 {
                result.gradients = .init(
                    gradients: gradients, decoder: UnsafePointer(decoderWeight.buffer.pointer),
                    factor: Float(strength / scale))
            }
        }
        return result
    }

    func competition(tokens: Int, scope: Scope) -> PreActivations.Competition {
        switch (rule, scope) {
        case (.relu, _), (.gated, _): return .above([0])
        case (.topK(let k), _), (.absTopK(let k), _), (.gradientAware(let k, _), _): return .token(k)
        case (.batchTopK(let k), .batch), (.batchAbsTopK(let k), .batch): return .batch(k * tokens)
        case (.jumpReLU, _), (.batchTopK, .token), (.batchAbsTopK, .token), (.featureChoice, .token):
            return .above(thresholds!)
        case (.featureChoice(let k, let profile), .batch):
            return .feature(profile.counts(total: k * tokens, width: width, limit: tokens))
        // Of a round.
        case (.matchingPursuit, _): return .token(1)
        }
    }

    /// The strengths that a gated encoder gives to what its gate lets through: `max(0, e^r (u - b_gate) + b_mag)`.
    private func magnitudes(_ gate: SparseMatrix<Float>) -> SparseMatrix<Float> {
        let (bias, scale, shift) = (encoderBias!.buffer, magnitudeScale!.buffer, magnitudeBias!.buffer)
        return gate.mapEntries { _, j, value in
            let factor = Float(exponential(Double(scale.pointer[j])))
            return max(0, factor * (value - bias.pointer[j]) + shift.pointer[j])
        }.droppingZeros()
    }
}

/// Where a dictionary comes from, for files and reports.
public struct DictionaryOrigin: Sendable, Hashable {
    /// The model whose activations it was trained on.
    public var model: String?
    /// Which of its activations, as ``ActivationSite`` spells them.
    public var site: String?
    /// Tokens of a sequence in training.
    public var contextLength: Int?

    /// An origin of which only what is known is given.
    public init(model: String? = nil, site: String? = nil, contextLength: Int? = nil) {
        (self.model, self.site, self.contextLength) = (model, site, contextLength)
    }
}

extension Tensor where Scalar == Float {
    /// Whether no entry is infinite or not a number.
    var isFinite: Bool {
        withPointer { p in
            for start in stride(from: 0, to: count, by: 4096) {
                var worst: UInt32 = 0
                for i in start..<Swift.min(start + 4096, count) {
                    worst = Swift.max(worst, p[i].bitPattern & 0x7FFF_FFFF)
                }
                if worst >= 0x7F80_0000 { return false }
            }
            return true
        }
    }
}
