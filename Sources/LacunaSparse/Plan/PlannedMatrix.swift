import LacunaTensor

/// A matrix in the store that is fastest for it here, as far as a table of costs can tell.
public struct PlannedMatrix: Sendable {
    public let matrix: any WeightMatrix
    /// Why: every store that was considered.
    public let plan: StoragePlan

    /// Stores `weight` [rows, columns] under `mask` (without one, what is not 0) for products with `vectors` vectors at a
    /// time.
    ///
    /// - Throws: As ``StoragePlan/init(mask:vectors:values:costs:)`` and ``WeightStore/make(_:mask:layout:values:)``.
    public init(
        _ weight: Tensor<Float>, mask: Mask? = nil, vectors: Int = 1, values: ValueType = .f32,
        costs: StorageCosts = .measured
    ) throws {
        try WeightStore.check(weight, mask: mask, values: values)
        let mask = mask ?? Mask(nonzerosOf: weight)
        plan = try StoragePlan(mask: mask, vectors: vectors, values: values, costs: costs)
        matrix = try WeightStore.make(weight, mask: mask, layout: plan.best.layout, values: values)
    }
}
