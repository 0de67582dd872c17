import LacunaTensor

/// Dense values with a mask beside them: what pruning produces and training changes. Saves nothing.
public struct MaskedLayout: StoreLayout {
    /// The layout; it has no settings.
    public init() {}

    public var name: String { "masked" }
    public static func parse(_ name: String) -> MaskedLayout? { name == "masked" ? MaskedLayout() : nil }
    public var costKey: String { DenseLayout().costKey }
    public var costs: StorageCosts.Layout { DenseLayout().costs }
    public func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        DenseLayout().size(of: mask, values: values)
    }

    public func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        try MaskedMatrix(source, values: values)
    }
}
