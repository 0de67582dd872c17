import LacunaTensor

/// Makes stored matrices of every layout.
public enum WeightStore {
    /// `weight` [rows, columns] under `mask`, in `layout`, its kept values rounded to `values`.
    ///
    /// - Parameter mask: The entries to keep; the others become 0. Nil keeps all in a dense layout and those that are not
    ///   0 in the others.
    /// - Throws: `LacunaError.invalidArgument` if the tensor is not a matrix, the mask has another shape, or the layout
    ///   cannot hold it (an N:M group keeps too many; sides of blocks or N:M numbers are out of range);
    ///   `LacunaError.numerical` if entries that are to become integers are not finite; `LacunaError.unsupported` for GGUF
    ///   layouts, which come from files (``GGUFMatrix``).
    public static func make(
        _ weight: Tensor<Float>, mask: Mask? = nil, layout: StorageLayout, values: ValueType
    ) throws -> any WeightMatrix {
        if layout == .dense { return try DenseMatrix(weight, mask: mask, values: values) }
        try check(weight, mask: mask, values: values)
        let mask = mask ?? Mask(nonzerosOf: weight)
        switch layout {
        case .dense, .masked: return try MaskedMatrix(weight, mask: mask, values: values)
        case .bitmask: return try BitmaskMatrix(weight, mask: mask, values: values)
        case .nm(let n, let m): return try NMMatrix(weight, mask: mask, n: n, m: m, values: values)
        case .csr: return try CSRMatrix(weight, mask: mask, values: values)
        case .bsr(let r, let c):
            return try BSRMatrix(weight, mask: mask, blockRows: r, blockColumns: c, values: values)
        case .gguf(let name):
            throw LacunaError.unsupported(
                file: nil, what: "making GGUF blocks of type \(name): they are read from files")
        }
    }

    /// What every layout asks of its weights.
    static func check(_ weight: Tensor<Float>, mask: Mask?, values: ValueType) throws {
        guard weight.rank == 2 else {
            throw LacunaError.invalidArgument("weight", reason: "shape \(weight.shape) is not a matrix")
        }
        if let mask, mask.rows != weight.rows || mask.columns != weight.columns {
            throw LacunaError.invalidArgument(
                "mask", reason: "shape [\(mask.rows), \(mask.columns)] for a weight of shape \(weight.shape)")
        }
        guard values.isInteger else { return }
        let count = weight.count
        let finite = weight.withPointer { p in
            var largestExponent: UInt32 = 0
            for i in 0..<count { largestExponent = max(largestExponent, p[i].bitPattern & 0x7F80_0000) }
            return largestExponent < 0x7F80_0000
        }
        guard finite else {
            throw LacunaError.numerical(operation: "rounding to \(values)", reason: "a weight is not finite")
        }
    }
}
