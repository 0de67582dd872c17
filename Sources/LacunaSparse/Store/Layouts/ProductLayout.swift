import LacunaTensor

/// The name of matrices that are kept as products of others (``ProductMatrix``). Which factors there are is the result of a
/// method, so none is made of rows and a mask.
public struct ProductLayout: StoreLayout {
    /// The layout; it has no settings.
    public init() {}

    public var name: String { "product" }
    public static func parse(_ name: String) -> ProductLayout? { name == "product" ? ProductLayout() : nil }
    public var isSparse: Bool { false }
    public func holds(_ pattern: Pattern) -> Bool { false }

    /// As for a dense matrix: what the factors take is not known before there are any.
    public func size(of mask: SparsePattern, values: ValueType) -> StoreSize {
        DenseLayout().size(of: mask, values: values)
    }
    public var costs: StorageCosts.Layout { DenseLayout().costs }

    public func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix {
        throw LacunaError.unsupported(file: nil, what: "storing a matrix as a product: a method finds the factors")
    }
}
