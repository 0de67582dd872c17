import LacunaLearn
import LacunaTensor

/// A similarity that weighs channels and lets those of a block depend on each other: `x · W y` with W block-diagonal.
///
///     M(x, y) = Σ over blocks B of x_B · W_B y_B
///
/// x and y are brought to length 1 first. W begins as the identity, so that M begins as the cosine; blocks of 1 only
/// weigh channels, one block of all channels is a full bilinear form. Entries outside the blocks do not exist: they
/// stay 0 whatever the optimiser does. As W y can be computed once for each document, any index of inner products
/// serves.
///
/// Haiwen Diao, Ying Zhang, Shang Gao, Jiawen Zhu, Long Chen, Huchuan Lu, "GSSF: Generalized Structural Sparse
/// Function for Deep Cross-modal Metric Learning", arXiv:2410.15266. This is the form whose weights do not depend on
/// the pair.
public final class StructuredSimilarity: Module {
    /// Channels of x and y, and channels of a block, which divides them.
    public let width, blockSize: Int
    /// [blocks, size, size].
    public let blocks: Parameter<Float>

    /// - Throws: `LacunaError.invalidArgument` for a block size that does not divide the width.
    public init(width: Int, blockSize: Int) throws {
        guard width >= 1, blockSize >= 1, width % blockSize == 0 else {
            throw LacunaError.invalidArgument(
                "block size", reason: "blocks of \(blockSize) do not divide \(width) channels")
        }
        (self.width, self.blockSize) = (width, blockSize)
        var identity = Tensor<Float>(zeros: [width / blockSize, blockSize, blockSize])
        for block in 0..<width / blockSize { for i in 0..<blockSize { identity[block, i, i] = 1 } }
        blocks = Parameter(identity, decays: false)
    }

    public var parts: [(name: String, part: Any)] { [("blocks", blocks)] }

    /// W y for rows y [n, width] of length 1.
    public func transformed(_ y: Variable<Float>) -> Variable<Float> {
        require(y.columns == width, "\(y.columns) channels for a similarity of \(width)")
        let (n, count) = (y.rows, width / blockSize)
        // [n, blocks, size] to [blocks, n, size], a product for each block, and back.
        let parts = y.reshaped([n, count, blockSize]).permuted([1, 0, 2])
        let products = parts.batchMultiplied(by: blocks.on(y.tape), otherTransposed: true)
        return products.permuted([1, 0, 2]).reshaped([n, width])
    }

    /// The similarity of every row of x [n, width] with every row of y [m, width]: [n, m].
    public func callAsFunction(_ x: Variable<Float>, _ y: Variable<Float>) -> Variable<Float> {
        x.rowNormalized().multiplied(by: transformed(y.rowNormalized()), otherTransposed: true)
    }
}
