import LacunaModels
import LacunaSparse
import LacunaTensor

/// A method that puts another form in the place of a matrix, such as a product of factors, rather than a mask over it.
public protocol MatrixCompression: PruningMethod {
    /// Whether the method shares one sparsity out among the layers by itself, so that no budget can. False by default.
    var sharesOutSparsity: Bool { get }

    /// The type of what the method stores, if it leaves no choice. Nil by default.
    var fixedValues: ValueType? { get }

    /// The pattern that the method keeps to, by what a user says; nil if there is none in its form.
    ///
    /// - Parameter words: Nil for what suits the method.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a pattern that it cannot keep to.
    func pattern(_ words: String?) throws -> Pattern?

    /// The method made ready for a network, of which it may look at all matrices together before any is replaced: to share
    /// out a sparsity by what they are like. By default it stays as it is.
    ///
    /// - Parameters:
    ///   - sparsity: The fraction of all numbers that is to go; nil where the pattern fixes it.
    ///   - weight: The dense matrix of a name.
    func prepared(
        for layers: [SparsityBudget.Layer], sparsity: Double?, weight: (String) throws -> Tensor<Float>
    ) throws -> any MatrixCompression

    /// Another form of `weight` [outputs, inputs].
    ///
    /// - Parameters:
    ///   - statistics: Of the layer's inputs; nil suffices if `requirement` is none.
    ///   - request: What is asked of the layer.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a sparsity that leaves nothing or missing statistics,
    ///   ``LacunaError/numerical(operation:reason:)`` for numbers that are not finite or cannot be inverted,
    ///   ``LacunaError/cancelled``.
    func compress(
        _ weight: Tensor<Float>, statistics: InputStatistics?, request: CompressionRequest
    ) throws -> any StoredMatrix
}

/// A method that trains what it has made: each block of a model when its matrices are compressed, and the whole at the end.
public protocol RecoveringCompression: MatrixCompression {
    /// Trains the compressed matrices of a block to give what the dense block gave.
    ///
    /// - Parameters:
    ///   - names: The compressed weights of the block.
    ///   - step: To be called after every step.
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` for errors that are not finite; what `step` throws.
    func recover(
        _ decoder: inout Transformer, layer: Int, names: [String], states: BlockStates,
        step: (_ step: Int) throws -> Void
    ) throws

    /// Trains the compressed model on the calibration text.
    ///
    /// - Parameter names: The compressed weights.
    /// - Throws: As ``recover(_:layer:names:states:step:)``.
    func finish(
        _ decoder: inout Transformer, names: [String], calibration: CalibrationSet, step: (_ step: Int) throws -> Void
    ) throws
}

/// How one matrix is to be compressed.
public struct CompressionRequest: Sendable, Hashable {
    /// What the layer is called.
    public var name: String
    /// The layer's index in its model: separates random choices.
    public var layer: Int
    /// What ``MatrixCompression/pattern(_:)`` gave.
    public var pattern: Pattern?
    /// The fraction of the matrix's numbers to save, 0..<1; nil where the pattern fixes it.
    public var sparsity: Double?
    /// The type of what is stored.
    public var values: ValueType

    /// A request for a matrix by itself needs no more than a name and a sparsity or a pattern.
    public init(
        name: String, layer: Int = 0, pattern: Pattern? = nil, sparsity: Double? = nil, values: ValueType = .f32
    ) {
        self.name = name
        self.layer = layer
        self.pattern = pattern
        self.sparsity = sparsity
        self.values = values
    }
}

extension MatrixCompression {
    public var sharesOutSparsity: Bool { false }
    public var fixedValues: ValueType? { nil }

    public func pattern(_ words: String?) throws -> Pattern? {
        guard let words else { return nil }
        throw LacunaError.invalidArgument("pattern", reason: "\(card.name) has none, so not '\(words)'")
    }

    public func prepared(
        for layers: [SparsityBudget.Layer], sparsity: Double?, weight: (String) throws -> Tensor<Float>
    ) throws -> any MatrixCompression { self }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless the weight is a matrix with any entries whose inputs were
    ///   seen.
    func requireSeen(_ weight: Tensor<Float>, _ statistics: InputStatistics?) throws -> InputStatistics {
        guard let statistics else {
            throw LacunaError.invalidArgument("statistics", reason: "\(card.name) needs calibration")
        }
        if weight.rank != 2 || weight.columns != statistics.columns || weight.count == 0 {
            throw LacunaError.invalidArgument(
                "statistics", reason: "\(statistics.columns) inputs were seen, the weight is of shape \(weight.shape)")
        }
        if statistics.tokens == 0 {
            throw LacunaError.invalidArgument("statistics", reason: "no tokens were seen")
        }
        return statistics
    }
}

/// The inputs' Gram matrix as a square root, `C Cᵀ = XᵀX + λI`: the error of a layer's outputs is that of `W C` as it stands,
/// `‖X (W - V)ᵀ‖ = ‖(W - V) C‖`, so that what approximates `W C` best approximates the layer best.
struct WhitenedSpace {
    /// `C` [inputs, inputs], lower triangular.
    let factor: Tensor<Double>

    /// - Parameter damping: Share of the mean diagonal added to the diagonal.
    /// - Throws: As ``InputStatistics/hessian(_:damping:)``; ``LacunaError/numerical(operation:reason:)`` if the damped matrix
    ///   is not positive definite.
    init(_ statistics: InputStatistics, damping: Double) throws {
        factor = try statistics.hessian(Double.self, damping: damping).cholesky()
    }

    /// `M C` of a matrix [n, inputs].
    func whitened(_ matrix: Tensor<Double>) -> Tensor<Double> { matrix.multiplied(by: factor) }

    /// `M C⁻¹` of a matrix [n, inputs].
    func restored(_ matrix: Tensor<Double>) -> Tensor<Double> {
        // Cᵀ Yᵀ = Mᵀ
        factor.solveTriangular(matrix.transposed(), transposed: true).transposed()
    }
}
