import LacunaTensor

/// A sparse matrix with a kernel that multiplies it by a panel of vectors without decoding it.
protocol PanelMatrix: WeightMatrix {
    /// Whether there is a kernel for the matrix's values; it is not called otherwise.
    var hasPanelKernel: Bool { get }

    /// The ranges of rows that a product with panels, the widest of `width` vectors, is cut into, of at most 512 rows.
    func panelBlocks(width: Int) -> PanelBlocks

    /// `tile[i * width + t] = Σ_c W[rows.lowerBound + i, c] x[c * width + t]`, for 16, 32 or 64 vectors and the rows of one
    /// block. Both are aligned to 64 bytes.
    func multiply(
        panel x: UnsafePointer<Float>, width: Int, block: Int, rows: Range<Int>,
        into tile: UnsafeMutablePointer<Float>)
}

extension PanelMatrix {
    func panelBlocks(width: Int) -> PanelBlocks {
        .even(RowCut(rows: rows, unit: rowGranularity, items: 8, limit: 512))
    }
}

/// Ranges of rows: about equally many, or with about equally many entries.
enum PanelBlocks {
    case even(RowCut)
    case byEntries(RowBlocks)

    var count: Int {
        switch self {
        case .even(let cut): cut.items
        case .byEntries(let blocks): blocks.count
        }
    }

    func rows(_ block: Int) -> Range<Int> {
        switch self {
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
