import LacunaSparse
import LacunaTensor
import Testing

/// A layout from outside the library goes everywhere that the library's own go.
@Suite struct OwnLayoutTests {
    private let layout: StorageLayout

    init() {
        StoreLayouts.register(TernaryLayout.self)
        StoreLayouts.register(TernaryLayout.self)
        layout = StorageLayout(TernaryLayout())
    }

    @Test func itsNameIsKnown() throws {
        #expect(StorageLayout("ternary") == layout && StorageLayout("ternaries") == nil)
        #expect(StorageFormat(description: "ternary") == StorageFormat(layout, .f32))
        #expect(StorageFormat(description: "ternary-f32") == nil)
        #expect(StorageFormat(layout, .f32).description == "ternary")
        #expect(StoreLayouts.all.count { $0 == TernaryLayout.self } == 1)
    }

    @Test(arguments: [(1, 1), (33, 70), (520, 130)]) func itsProductsTakeTheFastPaths(rows: Int, columns: Int) throws {
        let weight = normalTensor(rows, columns, seed: 1)
        let mask = SparsePattern(rows: rows, columns: columns) { ($0 + $1) % 3 == 0 }
        let stored = try WeightStore.make(weight, mask: mask, layout: layout, values: .f32)
        let own = try #require(stored as? TernaryMatrix)
        #expect(stored.storedCount == mask.count && stored.keptEntries == mask)
        let dense = stored.densified()
        for r in 0..<min(rows, 3) {
            let kept = (0..<columns).filter { mask[r, $0] }
            let mean = kept.reduce(0) { $0 + abs(weight[r, $1]) } / Float(max(kept.count, 1))
            for c in kept { #expect(abs(dense[r, c] - (weight[r, c] > 0 ? mean : -mean)) < 1e-6) }
        }
        for n in [1, 4, 5, 17, 40, 130] {
            let x = normalTensor(n, columns, seed: UInt64(n))
            let before = own.panelCalls.withLock { $0 }
            let y = stored.applied(toRows: x)
            let calls = own.panelCalls.withLock { $0 } - before
            // Few vectors go one by one, more by panels: each block of rows with each panel.
            let blocks = own.panelBlocks(width: n > 32 ? 64 : n > 16 ? 32 : 16).count
            #expect(calls == (n <= 4 ? 0 : blocks * ((n + 63) / 64)))
            let expected = x.multiplied(by: dense, otherTransposed: true)
            #expect(zip(y.scalars, expected.scalars).allSatisfy { abs($0 - $1) < 1e-3 })
        }
    }

    @Test func plansConsiderIt() throws {
        let mask = SparsePattern(rows: 61, columns: 64) { ($0 * 7 + $1) % 5 == 0 }
        for vectors in [1, 128] {
            let plan = try StoragePlan(mask: mask, vectors: vectors)
            #expect(plan.best.layout == layout && plan.best.storedCount == mask.count)
        }
        var costs = StorageCosts.measured
        costs[layout].rate128 = 1
        #expect(try StoragePlan(mask: mask, vectors: 128, costs: costs).best.layout != layout)
        #expect(costs[.csr] == StorageCosts.measured[.csr])
    }
}

/// Products by tensors, and rows that come from no dense matrix.
@Suite struct SafeProductTests {
    @Test(arguments: StoreCases.layouts) func productsMeanWhatTheySay(layout: StorageLayout) throws {
        let square = StoreCases.Square(layout: layout, values: .f32, rows: 9, columns: 20)
        let (weight, mask) = StoreCases.make(square, seed: 3)
        let stored = try WeightStore.make(weight, mask: mask, layout: layout, values: .f32)
        let a = mask.applied(to: weight)
        let b = normalTensor(20, 7, seed: 5)
        func close(_ x: Tensor<Float>, _ y: Tensor<Float>) -> Bool {
            x.shape == y.shape && zip(x.scalars, y.scalars).allSatisfy { abs($0 - $1) < 1e-4 }
        }
        #expect(close(stored.multiplied(by: b), a.multiplied(by: b)))
        let x = normalTensor(7, 20, seed: 6)
        #expect(close(stored.applied(toRows: x), x.multiplied(by: a, otherTransposed: true)))
        #expect(stored.applied(toRows: Tensor(zeros: [0, 20])).shape == [0, 9])
        let vector = (0..<20).map { Float($0) - 9 }
        let product = a.multiplied(by: Tensor(vector, shape: [20, 1])).scalars
        #expect(zip(stored.multiplied(by: vector), product).allSatisfy { abs($0 - $1) < 1e-3 })
    }

    /// Every row holds column 0 and the row's number times 1000.
    private struct Wide: RowSource {
        var rows = 50
        var columns = 2_000_000_000
        var breaks: Int? = nil
        var lies = false
        func count(row: Int) -> Int { row == 0 ? 1 : 2 }
        func withRow(_ row: Int, _ body: (UnsafeBufferPointer<UInt32>, UnsafeBufferPointer<Float>) -> Void) {
            var columns: [UInt32] = row == 0 ? [0] : [0, UInt32(row) * 1000]
            var values: [Float] = row == 0 ? [1] : [1, Float(row)]
            if row == breaks { columns.reverse() }
            if row == breaks && lies {
                columns.append(5000)
                values.append(1)
            }
            columns.withUnsafeBufferPointer { c in values.withUnsafeBufferPointer { v in body(c, v) } }
        }
    }

    @Test func storesAreMadeRowByRow() throws {
        // Dense, this would be 10¹¹ floats.
        let csr = try WeightStore.make(Wide(), layout: .csr, values: .f32)
        #expect(csr.storedCount == 99 && csr.byteCount == 99 * 8 + 51 * 4)
        let narrow = Wide(columns: 50_000)
        for layout in [StorageLayout.csr, .bitmask, .bsr(rows: 4, columns: 8), .masked, .dense, .nm(n: 8, m: 16)] {
            for values in ValueType.allCases {
                let stored = try WeightStore.make(narrow, layout: layout, values: values)
                let dense = stored.densified()
                for r in 1..<50 {
                    #expect(abs(dense[r, r * 1000] - Float(r)) <= Float(r) / 100 && dense[r, 1] == 0)
                }
            }
        }
    }

    /// A sparse matrix is stored as the dense one with its pattern is.
    @Test(arguments: StoreCases.layouts, ValueType.allCases)
    func sparseMatricesAreRows(layout: StorageLayout, values: ValueType) throws {
        let square = StoreCases.Square(layout: layout, values: values, rows: 17, columns: 70)
        let (weight, mask) = StoreCases.make(square)
        let dense = mask.applied(to: weight)
        let sparse = try SparseMatrix(mask, values: mask.rowwise(dense))
        let stored = try WeightStore.make(sparse, layout: layout, values: values)
        let expected = try WeightStore.make(weight, mask: mask, layout: layout, values: values)
        #expect(stored.densified() == expected.densified() && stored.byteCount == expected.byteCount)
    }

    @Test(arguments: StoreCases.layouts) func badRowsAreRefused(layout: StorageLayout) {
        for source in [
            Wide(columns: 50_000, breaks: 3), Wide(columns: 50_000, breaks: 7, lies: true), Wide(columns: 49_000),
        ] {
            #expect(throws: LacunaError.self) { try WeightStore.make(source, layout: layout, values: .f32) }
        }
        #expect(throws: LacunaError.self) { try WeightStore.make(Wide(rows: -1), layout: layout, values: .f32) }
    }

    @Test func layoutsSayWhatTheyHold() throws {
        let layouts: [(StorageLayout, holds: [String], not: [String])] = [
            (.nm(n: 2, m: 4), ["2:4", "1:4"], ["3:4", "2:8", "2:4:output", "unstructured", "any:4", "block:2x2:2:4"]),
            (.csr, ["2:4", "unstructured", "rows"], []),
            (.bsr(rows: 4, columns: 4), ["unstructured", "block:8x8"], []),
        ]
        for (layout, holds, not) in layouts {
            for text in holds { #expect(try layout.base.holds(Pattern(text)), "\(layout) \(text)") }
            for text in not { #expect(try !layout.base.holds(Pattern(text)), "\(layout) \(text)") }
        }
        let mask = SparsePattern(rows: 4, columns: 8) { ($0 + $1) % 4 == 0 }
        let suiting: [(String, StorageLayout)] = [
            ("2:4", .nm(n: 2, m: 4)), ("any:4", .nm(n: 1, m: 4)), ("2:4:output", .bitmask),
            ("1:1000", .nm(n: 1, m: 1000)),
            ("block:16x2", .bsr(rows: 16, columns: 2)), ("block:2x2:2:4", .bsr(rows: 2, columns: 2)),
            ("block:300x2", .bitmask), ("rows", .bitmask), ("unstructured:row", .bitmask),
        ]
        for (text, layout) in suiting { #expect(try StoreLayouts.suiting(Pattern(text), mask) == layout, "\(text)") }
    }

    @Test(arguments: StoreCases.layouts, ValueType.allCases)
    func sizesAreKnownBeforehand(layout: StorageLayout, values: ValueType) throws {
        let square = StoreCases.Square(layout: layout, values: values, rows: 33, columns: 64)
        let (weight, mask) = StoreCases.make(square)
        let stored = try WeightStore.make(weight, mask: mask, layout: layout, values: values)
        let size = layout.base.size(of: mask, values: values)
        #expect(size.storedCount == stored.storedCount)
        // Nibbles are padded here and there.
        #expect(abs(size.byteCount - stored.byteCount) <= (values == .int4 ? stored.byteCount / 4 : 0))
        #expect(StorageFormat(description: stored.format.description) == stored.format)
        let exact: Set<String> = ["csr", "bsr"]
        if !exact.contains(where: { layout.description.hasPrefix($0) }) && !layout.description.contains(":") {
            #expect(stored.keptEntries.count == (layout == .dense ? 33 * 64 : mask.count))
        }
    }
}

extension SparsePattern {
    /// The kept entries of a matrix, row by row.
    fileprivate func rowwise(_ matrix: Tensor<Float>) -> [Float] {
        (0..<rows).flatMap { r in keptColumns(row: r).map { matrix[r, $0] } }
    }
}
