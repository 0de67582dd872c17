import LacunaSparse
import LacunaTensor

/// A weight stored as dense blocks on a grid, multiplied block by block. The pattern is fixed.
public final class BlockWeight: TrainableWeight {
    public let pattern: BlockPattern
    /// Block after block, each row-major.
    public let values: Parameter<Float>

    /// - Throws: As ``BlockPattern/init(_:blockRows:blockColumns:)``.
    public init(_ weight: Tensor<Float>, mask: Mask, blockRows: Int, blockColumns: Int) throws {
        precondition(weight.shape == [mask.rows, mask.columns], "a mask of another shape")
        let pattern = try BlockPattern(mask, blockRows: blockRows, blockColumns: blockColumns)
        self.pattern = pattern
        var values = Tensor<Float>(uninitialized: [pattern.valueCount])
        weight.withPointer { w in
            values.withMutablePointer { v in
                pattern.forEachValue { v[$0] = w[$1 * pattern.columns + $2] }
            }
        }
        self.values = Parameter(values, decays: true)
    }

    public var outputs: Int { pattern.rows }
    public var inputs: Int { pattern.columns }
    public var activeCount: Int { values.count }
    public var multiplyAdds: Int { values.count }
    /// Values, and four bytes for the place of each block and row of blocks.
    public var byteCount: Int { values.buffer.byteCount + 4 * (pattern.blockCount + pattern.rowStarts.count) }
    public var storage: String { "bsr" }

    public func densified() -> Tensor<Float> {
        var result = Tensor<Float>(zeros: [outputs, inputs])
        result.withMutablePointer { w in
            pattern.forEachValue { w[$1 * pattern.columns + $2] = values.buffer.pointer[$0] }
        }
        return result
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        x.linear(blocks: pattern, values: values.on(x.tape), bias: bias)
    }
}
