import LacunaTensor

/// A way to store a matrix: how the positions of the kept values are recorded, and all that follows from it.
///
/// A layout says what it is called, what it can hold, what that takes, what its products cost, how it goes into checkpoints,
/// and makes stored matrices, whose products are their own (``StoredMatrix``, ``PanelMatrix``). Everything else asks the
/// layout: a new one conforms a type and registers it (``StoreLayouts/register(_:)``), from inside the library or outside.
public protocol StoreLayout: Hashable, Sendable {
    /// What it is called: `bitmask`, `2:4`, `bsr4x4`. Without `-`, which separates it from the type of its values.
    var name: String { get }
    /// The layout of a name, if it is one of this kind.
    static func parse(_ name: String) -> Self?

    /// What the layout of this name and these values is called; ``StorageFormat/init(description:)`` reads it back.
    func formatName(_ values: ValueType) -> String
    /// The type of its values, if there is only one that the name implies.
    var fixedValues: ValueType? { get }

    /// Whether only some entries are stored, so that their positions have to be stored as well.
    var isSparse: Bool { get }
    /// The pattern that it is made for; nil for layouts that suit any.
    var pattern: Pattern? { get }
    /// The layout of this kind that suits the masks of a pattern, if one does better than others.
    static func suiting(_ pattern: Pattern, _ mask: SparsePattern) -> Self?
    /// Whether every mask of a pattern can be held: to be asked before anything is selected.
    func holds(_ pattern: Pattern) -> Bool

    /// The layouts of this kind that are worth considering for a mask.
    static func candidates(for mask: SparsePattern) -> [Self]
    /// What a matrix takes.
    func size(of mask: SparsePattern, values: ValueType) -> StoreSize
    /// Layouts of one key share an entry in a table of costs.
    var costKey: String { get }
    /// What its products cost, where the table says nothing.
    var costs: StorageCosts.Layout { get }
    /// The largest density, 0...1, at which its panel kernels beat decoding and a dense product.
    func densityLimit(_ values: ValueType) -> Double

    /// Stores a matrix row by row, its values rounded to a type.
    ///
    /// - Throws: `LacunaError.invalidArgument` for rows that are not in order or that the layout cannot hold,
    ///   `LacunaError.numerical` if values that are to become integers are not finite, `LacunaError.unsupported` for what
    ///   the layout cannot be made from.
    func make(_ source: some RowSource, values: ValueType) throws -> any StoredMatrix

    /// The name that the bytes of a matrix have in a checkpoint behind that of its layer, if they go there as they are; nil
    /// if matrices go there as their kept values and positions, or as dense values.
    static var opaqueTensor: String? { get }
    /// Columns of a matrix of which a row takes so many bytes; nil if there is none.
    func columns(bytesPerRow: Int) -> Int?
    /// The matrix of the bytes of a checkpoint.
    ///
    /// - Throws: `LacunaError.invalidArgument` for bytes that are no such matrix.
    func make(bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) throws -> any StoredMatrix
}

/// What a stored matrix takes.
public struct StoreSize: Sendable, Hashable {
    /// Values stored, explicit zeros included.
    public var storedCount: Int
    /// Everything that a product with one vector reads.
    public var byteCount: Int

    /// So many values, so many bytes.
    public init(storedCount: Int, byteCount: Int) {
        self.storedCount = storedCount
        self.byteCount = byteCount
    }
}

/// A matrix that goes into checkpoints as its bytes.
public protocol OpaqueMatrix: StoredMatrix {
    /// As many for every row. Valid while the matrix lives.
    var bytes: UnsafeRawBufferPointer { get }
}

extension StoreLayout {
    public func formatName(_ values: ValueType) -> String { "\(name)-\(values.rawValue)" }
    public var fixedValues: ValueType? { nil }
    public var isSparse: Bool { true }
    public var pattern: Pattern? { nil }
    public static func suiting(_ pattern: Pattern, _ mask: SparsePattern) -> Self? { nil }
    public func holds(_ pattern: Pattern) -> Bool { true }
    public static func candidates(for mask: SparsePattern) -> [Self] { [] }
    public var costKey: String { name }
    public func densityLimit(_ values: ValueType) -> Double {
        // Where bf16 numbers are multiplied as such, the decoded product takes half the time.
        values == .bf16 && Kernels.multipliesBF16 ? 0.45 : densityLimitOfFloatProducts(values)
    }

    /// Where decoded products are those of floats.
    func densityLimitOfFloatProducts(_ values: ValueType) -> Double {
        switch values {
        case .f32: 0.75
        case .bf16, .f16, .int8: 0.65
        // Values are spread out before they are multiplied.
        case .int4: 0.5
        }
    }
    public static var opaqueTensor: String? { nil }
    public func columns(bytesPerRow: Int) -> Int? { nil }
    public func make(bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) throws -> any StoredMatrix {
        throw LacunaError.unsupported(file: nil, what: "\(name) matrices made of bytes")
    }
}

/// The layouts that names, plans and checkpoints know.
public enum StoreLayouts {
    private static let known = Locked<[any StoreLayout.Type]>([
        DenseLayout.self, MaskedLayout.self, BitmaskLayout.self, NMLayout.self, CSRLayout.self, BSRLayout.self,
        GGUFLayout.self, ProductLayout.self, CodeGroupLayout.self,
    ])

    /// All of them: the library's own and those registered, in this order.
    public static var all: [any StoreLayout.Type] { known.withLock { $0 } }

    /// Makes a kind of layout known, for the whole process. Names are asked for in the order of registration, so none that
    /// is known changes its meaning.
    public static func register<Layout: StoreLayout>(_ layout: Layout.Type) {
        known.withLock { known in
            if !known.contains(where: { $0 == layout }) { known.append(layout) }
        }
    }

    /// The layout of a name.
    static func parse(_ name: String) -> (any StoreLayout)? {
        func parsed<Layout: StoreLayout>(_ type: Layout.Type) -> (any StoreLayout)? { type.parse(name) }
        for type in all {
            // What reads a name writes it.
            if let layout = parsed(type), layout.name == name { return layout }
        }
        return nil
    }

    /// The layout that suits the masks of a pattern: one made for it, or else a bitmask.
    public static func suiting(_ pattern: Pattern, _ mask: SparsePattern) -> StorageLayout {
        func suiting<Layout: StoreLayout>(_ type: Layout.Type) -> StorageLayout? {
            type.suiting(pattern, mask).map { StorageLayout($0) }
        }
        for type in all {
            if let layout = suiting(type) { return layout }
        }
        return .bitmask
    }

    /// What is worth considering for a mask.
    static func candidates(for mask: SparsePattern) -> [StorageLayout] {
        func candidates<Layout: StoreLayout>(_ type: Layout.Type) -> [StorageLayout] {
            type.candidates(for: mask).map { StorageLayout($0) }
        }
        return all.flatMap { candidates($0) }
    }
}
