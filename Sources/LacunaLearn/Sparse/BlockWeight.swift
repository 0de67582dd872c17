import LacunaSparse
import LacunaTensor

/// A weight stored as dense blocks on a grid, multiplied block by block. The pattern is fixed.
public final class BlockWeight: StatefulModule, TrainableWeight {
    /// Block after block, each row-major.
    public let values: Parameter<Float>
    /// Where the blocks stand. The values are the parameter's.
    private var blocks: CompressedBlocks<Float>

    /// - Throws: `LacunaError.invalidArgument` unless blocks divide the matrix and the mask keeps or removes whole ones.
    public init(_ weight: Tensor<Float>, mask: SparsePattern, blockRows: Int, blockColumns: Int) throws {
        guard blockRows > 0, blockColumns > 0, mask.rows % blockRows == 0, mask.columns % blockColumns == 0 else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "blocks of \(blockRows)x\(blockColumns) do not divide \(mask.rows)x\(mask.columns)")
        }
        guard mask.satisfies(.block(rows: blockRows, columns: blockColumns)) else {
            throw LacunaError.invalidArgument(
                "mask", reason: "does not keep whole blocks of \(blockRows)x\(blockColumns)")
        }
        let matrix = try CompressedBlocks(weight, mask: mask, blockRows: blockRows, blockColumns: blockColumns)
        values = Parameter(Tensor(matrix.values), decays: true)
        blocks = matrix.with(values.buffer)
    }

    public var outputs: Int { blocks.rows }
    public var inputs: Int { blocks.columns }
    public var activeCount: Int { values.count }
    public var multiplyAdds: Int { values.count }
    /// Values, and the places of blocks and of rows of blocks.
    public var byteCount: Int { values.buffer.byteCount + blocks.blocks.byteCount }
    public var storage: String { "bsr" }

    public func densified() -> Tensor<Float> { blocks.with(values.buffer).densified() }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        x.linear(blocks: blocks, values: values.on(x.tape), bias: bias)
    }

    var blockRows: Int { blocks.blockRows }
    var blockColumns: Int { blocks.blockColumns }

    public var integerState: [(name: String, values: [Int32])] {
        [
            ("rows", blocks.blocks.rowStarts.map { Int32($0) }),
            ("columns", blocks.blocks.columnIndices.map { Int32($0) }),
        ]
    }

    public func restore(integerState: [String: [Int32]], file: String) throws {
        do {
            let pattern = try SparsePattern(
                rows: blocks.blocks.rows, columns: blocks.blocks.columns,
                rowStarts: integerState["rows"]?.map(Int.init) ?? [], columnIndices: integerState["columns"] ?? [])
            values.rearrange(
                from: Array(repeating: -1, count: pattern.count * blockRows * blockColumns)
            ) { _ in 0 }
            blocks = CompressedBlocks(
                rows: outputs, columns: inputs, blockRows: blockRows, blockColumns: blockColumns, blocks: pattern,
                buffer: values.buffer)
        } catch let LacunaError.invalidArgument(argument, reason) {
            throw LacunaError.malformed(file: file, location: argument, reason: reason)
        }
    }
}
