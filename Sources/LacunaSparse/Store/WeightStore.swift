import LacunaTensor

/// Makes stored matrices of every layout.
public enum WeightStore {
    /// The rows of `source`, in `layout`, their values rounded to `values`.
    ///
    /// - Throws: As ``StoreLayout/make(_:values:)``.
    public static func make(
        _ source: some RowSource, layout: StorageLayout, values: ValueType
    ) throws -> any StoredMatrix {
        try source.checkShape()
        return try layout.base.make(source, values: values)
    }

    /// `weight` [rows, columns] under `mask`, in `layout`, its kept values rounded to `values`.
    ///
    /// - Parameter mask: The entries to keep; the others become 0. Nil keeps all in layouts without positions and those that
    ///   are not 0 in the others.
    /// - Throws: `LacunaError.invalidArgument` if the tensor is not a matrix or the mask has another shape, and as
    ///   ``StoreLayout/make(_:values:)``.
    public static func make(
        _ weight: Tensor<Float>, mask: SparsePattern? = nil, layout: StorageLayout, values: ValueType
    ) throws -> any StoredMatrix {
        let isWhole = mask == nil && !layout.base.isSparse
        if weight.rank != 2 || isWhole { return try make(DenseRows(weight), layout: layout, values: values) }
        return try make(
            DenseRows(weight, mask: mask ?? SparsePattern(nonzerosOf: weight)), layout: layout, values: values)
    }
}
