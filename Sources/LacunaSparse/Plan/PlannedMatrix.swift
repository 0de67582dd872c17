import LacunaTensor

/// A matrix in the store that is fastest for it here, as far as a table of costs can tell.
public struct PlannedMatrix: Sendable {
    /// The matrix in the layout chosen.
    public let matrix: any StoredMatrix
    /// Why: every store that was considered.
    public let plan: StoragePlan

    /// Stores `weight` [rows, columns] under `mask` (without one, what is not 0) for products with `vectors` vectors at a
    /// time.
    ///
    /// - Throws: As ``StoragePlan/init(mask:vectors:values:costs:)`` and ``WeightStore/make(_:mask:layout:values:)``.
    public init(
        _ weight: Tensor<Float>, mask: SparsePattern? = nil, vectors: Int = 1, values: ValueType = .f32,
        costs: StorageCosts = .current
    ) throws {
        let kept = weight.rank == 2 ? mask ?? SparsePattern(nonzerosOf: weight) : nil
        let rows = try DenseRows(weight, mask: kept)
        plan = try StoragePlan(mask: kept!, vectors: vectors, values: values, costs: costs)
        matrix = try WeightStore.make(rows, layout: plan.best.layout, values: values)
    }
}
