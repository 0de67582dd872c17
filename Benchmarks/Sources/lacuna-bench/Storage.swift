import LacunaSparse

/// A way to store a pruned matrix, as a table names it.
struct Storage {
    var name: String
    var layout: StorageLayout
    var values: ValueType
    var pattern: Pattern?
    var sparsity: Double

    static func dense(_ values: ValueType) -> Storage {
        Storage(name: "\(values) dense", layout: .dense, values: values, pattern: nil, sparsity: 0)
    }

    static func bitmask(_ values: ValueType, _ sparsity: Double) -> Storage {
        Storage(
            name: "\(values) bitmask \(percent(sparsity))", layout: .bitmask, values: values,
            pattern: .unstructured(.layer), sparsity: sparsity)
    }

    static func csr(_ values: ValueType, _ sparsity: Double) -> Storage {
        Storage(
            name: "\(values) CSR \(percent(sparsity))", layout: .csr, values: values,
            pattern: .unstructured(.layer), sparsity: sparsity)
    }

    static func nm(_ values: ValueType, _ n: Int, _ m: Int) -> Storage {
        Storage(
            name: "\(values) \(n):\(m)", layout: .nm(n: n, m: m), values: values, pattern: .nm(n: n, m: m),
            sparsity: 1 - Double(n) / Double(m))
    }

    static func bsr(_ values: ValueType, side: Int, _ sparsity: Double) -> Storage {
        Storage(
            name: "\(values) blocks of \(side) × \(side), \(percent(sparsity))",
            layout: .bsr(rows: side, columns: side), values: values,
            pattern: .block(rows: side, columns: side), sparsity: sparsity)
    }

    private static func percent(_ sparsity: Double) -> String { "\(Int((sparsity * 100).rounded())) %" }
}
