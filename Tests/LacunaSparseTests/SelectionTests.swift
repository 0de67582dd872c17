import LacunaSparse
import LacunaTensor
import Testing

@Suite struct SelectionTests {
    @Test func countsAreFloorsOfTheExactProduct() {
        for n in [0, 1, 2, 3, 7, 10, 64, 100, 331_776, 884_736, 28_311_552] {
            for numerator in 0...100 {
                #expect(
                    Selection.removedCount(sparsity: Double(numerator) / 100, of: n)
                        == Reference.count(numerator, 100, of: n))
            }
        }
        #expect(Selection.removedCount(sparsity: 0.3, of: 10) == 3)  // 0.3 * 10 == 3, but 0.29 * 100 < 29
        #expect(Selection.removedCount(sparsity: 0.29, of: 100) == 29)
        #expect(Selection.removedCount(sparsity: 1, of: 5) == 5)
    }

    @Test(arguments: edgeShapes) func unstructuredMatchesAFullSort(shape: [Int]) throws {
        let (rows, columns) = (shape[0], shape[1])
        for seed in 0..<3 as Range<UInt64> {
            for scores in [normalTensor(rows, columns, seed: seed), tiedScores(rows, columns, seed: seed, levels: 1)] {
                for percent in [0, 1, 30, 50, 95, 100] {
                    let sparsity = Double(percent) / 100
                    let layer = try Selection.mask(scores: scores, pattern: .unstructured(.layer), sparsity: sparsity)
                    let removed = Reference.count(percent, 100, of: rows * columns)
                    #expect(layer == Reference.layer(scores, removing: removed))
                    #expect(layer.count == rows * columns - removed)
                    #expect(
                        layer
                            == (try Selection.mask(scores: scores, pattern: .unstructured(.global), sparsity: sparsity))
                    )
                    let row = try Selection.mask(scores: scores, pattern: .unstructured(.row), sparsity: sparsity)
                    let perRow = Reference.count(percent, 100, of: columns)
                    #expect(row == Reference.rows(scores, removing: perRow))
                    #expect(row.keptCounts.allSatisfy { $0 == columns - perRow })
                }
            }
        }
    }

    @Test func tiesAcrossParallelPieces() throws {
        // All equal: the removed ones are exactly the first. Large enough for several pieces.
        let scores = Tensor<Float>(repeating: 2, shape: [300, 1000])
        let mask = try Selection.mask(scores: scores, pattern: .unstructured(.layer), sparsity: 0.51234)
        #expect(mask.count == 300_000 - 153_702)
        #expect(mask == SparsePattern(rows: 300, columns: 1000) { $0 * 1000 + $1 >= 153_702 })
    }

    @Test func resultsDoNotDependOnTheInputsSign() throws {
        // -0 and 0 tie, so the earlier goes first whatever its sign.
        let scores = Tensor<Float>([0, -0.0, -0.0, 0, 1, -1], shape: [1, 6])
        let mask = try Selection.mask(scores: scores, pattern: .unstructured(.row), sparsity: 0.5)
        #expect(Array(mask.keptColumns(row: 0)) == [2, 3, 4])
    }

    @Test(arguments: edgeShapes) func groupsAlongInputs(shape: [Int]) throws {
        for (n, m) in [(2, 4), (1, 2), (1, 4), (4, 8), (3, 7), (1, 32), (31, 32), (5, 100)] {
            for scores in [
                normalTensor(shape[0], shape[1], seed: 9), tiedScores(shape[0], shape[1], seed: 9, levels: 1),
            ] {
                let mask = try Selection.mask(scores: scores, pattern: .nm(n: n, m: m))
                #expect(mask == Reference.groupsAlongInputs(scores, n: n, m: m))
                #expect(mask.satisfies(.nm(n: n, m: m)))
            }
        }
    }

    @Test(arguments: edgeShapes) func groupsAlongOutputsAreThoseOfTheTranspose(shape: [Int]) throws {
        for (n, m) in [(2, 4), (3, 7)] {
            let scores = tiedScores(shape[0], shape[1], seed: 10, levels: 2)
            let mask = try Selection.mask(scores: scores, pattern: .nm(n: n, m: m, axis: .output))
            #expect(mask.transposed() == Reference.groupsAlongInputs(scores.transposed(), n: n, m: m))
            #expect(mask.satisfies(.nm(n: n, m: m, axis: .output)))
        }
    }

    @Test func incompleteGroupsKeepTheirShareRoundedUp() {
        #expect((0...4).map { Selection.keptCount(n: 2, m: 4, size: $0) } == [0, 1, 1, 2, 2])
        #expect((1...8).map { Selection.keptCount(n: 1, m: 8, size: $0) } == [1, 1, 1, 1, 1, 1, 1, 1])
        #expect((1...8).map { Selection.keptCount(n: 6, m: 8, size: $0) } == [1, 2, 3, 3, 4, 5, 6, 6])
    }

    @Test(arguments: edgeShapes) func blocksRowsAndColumns(shape: [Int]) throws {
        let (rows, columns) = (shape[0], shape[1])
        // Ties among block means are common, and all sums are exact.
        let scores = tiedScores(rows, columns, seed: 11, levels: 2)
        for percent in [0, 34, 50, 100] {
            let sparsity = Double(percent) / 100
            for (height, width) in [(1, 1), (2, 2), (16, 1), (1, 16), (3, 5), (64, 64)] {
                let pattern = Pattern.block(rows: height, columns: width)
                let mask = try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity)
                let reference = Reference.blocks(scores, height: height, width: width) {
                    Reference.count(percent, 100, of: $0)
                }
                #expect(mask == reference, "\(pattern) of \(shape)")
                #expect(mask.satisfies(pattern))
            }
            let byRows = try Selection.mask(scores: scores, pattern: .rows, sparsity: sparsity)
            let byColumns = try Selection.mask(scores: scores, pattern: .columns, sparsity: sparsity)
            if rows > 0 && columns > 0 {
                let removedRows = Reference.count(percent, 100, of: rows)
                #expect(byRows == Reference.blocks(scores, height: 1, width: columns) { _ in removedRows })
                let removedColumns = Reference.count(percent, 100, of: columns)
                #expect(byColumns == Reference.blocks(scores, height: rows, width: 1) { _ in removedColumns })
            }
            #expect(byRows.satisfies(.rows) && byColumns.satisfies(.columns))
        }
    }

    @Test func globalSelectionIsASelectionOfTheConcatenation() throws {
        let a = tiedScores(4, 100, seed: 1)
        let b = tiedScores(3, 100, seed: 2)
        let empty = Tensor<Float>(zeros: [0, 100])
        let joined = Tensor<Float>(a.scalars + b.scalars, shape: [7, 100])
        for percent in [0, 20, 50, 77, 100] {
            let sparsity = Double(percent) / 100
            let masks = try Selection.selectGlobally(["b": b, "a": a, "aa": empty], sparsity: sparsity)
            let reference = Reference.layer(joined, removing: Reference.count(percent, 100, of: 700))
            #expect(masks["a"]!.packedWords + masks["b"]!.packedWords == reference.packedWords)
            #expect(masks["aa"] == SparsePattern(rows: 0, columns: 100))
            let rows = try Selection.selectGlobally(["a": a, "b": b], pattern: .rows, sparsity: sparsity)
            let allRows = try Selection.mask(scores: joined, pattern: .rows, sparsity: sparsity)
            #expect(rows["a"]!.packedWords + rows["b"]!.packedWords == allRows.packedWords)
        }
        #expect(try Selection.selectGlobally([:], sparsity: 0.5).isEmpty)
    }

    @Test func resultsDoNotDependOnThreads() throws {
        // Parallel pieces exist from 65,536 entries on.
        let scores = tiedScores(300, 700, seed: 12, levels: 3)
        let patterns: [Pattern] = [
            .unstructured(.row), .unstructured(.layer), .block(rows: 4, columns: 4), .columns, .nm(n: 2, m: 4),
            .nm(n: 2, m: 4, axis: .output),
        ]
        let all = try patterns.map { try Selection.mask(scores: scores, pattern: $0, sparsity: 0.5) }
        // A body of a loop runs nested loops serially.
        let results = Buffer<Bool>(repeating: false, count: 2)
        Parallel.forEach(2) { item in
            let serial = try? patterns.map { try Selection.mask(scores: scores, pattern: $0, sparsity: 0.5) }
            results.pointer[item] = serial == all
        }
        #expect(results.elements.allSatisfy { $0 })
    }

    @Test(arguments: [
        "unstructured", "unstructured:row", "unstructured:global", "2:4", "2:4:output", "block:2x2", "rows", "columns",
    ])
    func undefinedScoresAreRefused(text: String) throws {
        let pattern = try Pattern(text)
        var scores = normalTensor(6, 10, seed: 13)
        scores[5, 9] = .nan
        for sparsity in pattern.impliedSparsity.map({ [$0] }) ?? [0, 0.5, 1] {
            #expect {
                try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity)
            } throws: { error in
                if case LacunaError.numerical = error { true } else { false }
            }
        }
    }

    @Test func messagesNameTheCulprit() throws {
        var scores = normalTensor(6, 10, seed: 13)
        scores[5, 9] = .nan
        scores[2, 3] = .nan
        #expect(
            throws: LacunaError.numerical(
                operation: "selection", reason: "up_proj: the score at [2, 3] is not a number")
        ) {
            try Selection.selectGlobally(["down_proj": normalTensor(2, 2, seed: 1), "up_proj": scores], sparsity: 0.5)
        }
    }

    @Test func badArguments() throws {
        let scores = normalTensor(4, 8, seed: 14)
        for sparsity in [-0.1, 1.0001, .nan, .infinity] {
            #expect(throws: LacunaError.self) {
                try Selection.mask(scores: scores, pattern: .unstructured(.row), sparsity: sparsity)
            }
            #expect(throws: LacunaError.self) { try Selection.selectGlobally(["a": scores], sparsity: sparsity) }
        }
        #expect(throws: LacunaError.self) { try Selection.mask(scores: scores, pattern: .rows) }
        #expect(throws: LacunaError.self) {
            try Selection.mask(scores: scores, pattern: .nm(n: 2, m: 4), sparsity: 0.6)
        }
        #expect(throws: LacunaError.self) { try Selection.mask(scores: scores, pattern: .nm(n: 4, m: 4)) }
        #expect(throws: LacunaError.self) {
            try Selection.mask(scores: scores, pattern: .block(rows: 0, columns: 1), sparsity: 0.5)
        }
        #expect(throws: LacunaError.self) {
            try Selection.mask(scores: Tensor<Float>([1, 2]), pattern: .rows, sparsity: 0.5)
        }
        #expect(throws: LacunaError.self) {
            try Selection.selectGlobally(["a": scores], pattern: .nm(n: 2, m: 4), sparsity: 0.5)
        }
    }
}
