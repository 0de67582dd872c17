import LacunaTensor

/// A sparse matrix with a kernel that multiplies it by a panel of vectors without decoding it: what makes products with many
/// vectors fast while the matrix is sparse enough (``StoreLayout/densityLimit(_:)``).
public protocol PanelMatrix: StoredMatrix {
    /// Whether there is a kernel for the matrix's values; it is not called otherwise.
    var hasPanelKernel: Bool { get }

    /// The ranges of rows that a product with panels, the widest of `width` vectors, is cut into, of at most 512 rows. The
    /// default cuts evenly.
    func panelBlocks(width: Int) -> PanelBlocks

    /// `tile[i][t] = Σ_c A[rows.lowerBound + i, c] x[c][t]` for 16, 32 or 64 vectors and the rows of one block. The tile has
    /// to be written whole: it holds anything before. Called from several threads at once, for different blocks.
    func multiply(panel x: InputPanel, block: Int, rows: Range<Int>, into tile: OutputPanel)
}

extension PanelMatrix {
    public func panelBlocks(width: Int) -> PanelBlocks {
        PanelBlocks(.even(RowCut(rows: rows, unit: rowGranularity, items: 8, limit: 512)))
    }
}

/// A panel of vectors, one number of each beside the other: what panel kernels read.
public struct InputPanel {
    /// Entries of each vector.
    public let columns: Int
    /// Vectors: 16, 32 or 64. Those that a product has no use for are 0.
    public let width: Int
    /// [columns, width], aligned to 64 bytes.
    let pointer: UnsafePointer<Float>

    /// Entry `column` of every vector, while the product lasts.
    public subscript(column: Int) -> UnsafeBufferPointer<Float> {
        require(column >= 0 && column < columns, "column \(column) of \(columns)")
        return UnsafeBufferPointer(start: pointer + column * width, count: width)
    }
}

/// Where a panel kernel writes.
public struct OutputPanel {
    /// Rows of the matrix.
    public let rows: Int
    /// Vectors.
    public let width: Int
    /// [rows, width], aligned to 64 bytes.
    let pointer: UnsafeMutablePointer<Float>

    /// A row's results, one for every vector, while the product lasts.
    public subscript(row: Int) -> UnsafeMutableBufferPointer<Float> {
        require(row >= 0 && row < rows, "row \(row) of \(rows)")
        return UnsafeMutableBufferPointer(start: pointer + row * width, count: width)
    }
}

/// Ranges of rows: about equally many, or with about equally many entries.
public struct PanelBlocks {
    enum Cut {
        case even(RowCut)
        case byEntries(RowBlocks)
    }

    private let cut: Cut

    init(_ cut: Cut) { self.cut = cut }

    /// Number of blocks.
    public var count: Int {
        switch cut {
        case .even(let cut): cut.items
        case .byEntries(let blocks): blocks.count
        }
    }

    /// The rows of a block.
    public func rows(_ block: Int) -> Range<Int> {
        switch cut {
        case .even(let cut): cut.range(block)
        case .byEntries(let blocks): blocks.rows(block)
        }
    }
}

/// How `count` vectors are cut into panels: of 64, and a narrower one for the rest.
struct PanelPlan {
    let count: Int
    let columns: Int

    static let width = 64

    var panels: Int { (count + Self.width - 1) / Self.width }

    /// Vectors in panel `index`, and the width of that panel.
    func panel(_ index: Int) -> (first: Int, count: Int, width: Int) {
        let first = index * Self.width
        let used = min(Self.width, count - first)
        return (first, used, used > 32 ? 64 : used > 16 ? 32 : 16)
    }

    /// Where panel `index` begins.
    func offset(_ index: Int) -> Int { index * Self.width * columns }
    /// Floats of all panels.
    var size: Int { panels * Self.width * columns }
}
