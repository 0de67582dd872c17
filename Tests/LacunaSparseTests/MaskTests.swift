import LacunaSparse
import LacunaTensor
import Testing

@Suite struct MaskTests {
    private func random(_ rows: Int, _ columns: Int, seed: UInt64) -> ([Bool], SparsePattern) {
        var generator = SeededGenerator(seed: seed)
        let bits = (0..<rows * columns).map { _ in Bool.random(using: &generator) }
        return (bits, SparsePattern(rows: rows, columns: columns, bits))
    }

    @Test(arguments: edgeShapes) func constructionCountsAndSubscripts(shape: [Int]) {
        let (rows, columns) = (shape[0], shape[1])
        let (bits, mask) = random(rows, columns, seed: 1)
        #expect(mask.count == bits.filter { $0 }.count)
        for i in 0..<rows {
            let row = bits[i * columns..<(i + 1) * columns]
            #expect(mask.keptCount(row: i) == row.filter { $0 }.count)
            #expect(mask.keptCounts[i] == mask.keptCount(row: i))
            #expect(Array(mask.keptColumns(row: i)) == (0..<columns).filter { bits[i * columns + $0] })
            var visited: [Int] = []
            mask.forEachKeptColumn(row: i) { visited.append($0) }
            #expect(visited == Array(mask.keptColumns(row: i)))
            for j in 0..<columns { #expect(mask[i, j] == bits[i * columns + j]) }
        }
        #expect(SparsePattern(rows: rows, columns: columns, keepingAll: true).count == rows * columns)
        #expect(SparsePattern(rows: rows, columns: columns, keepingAll: true).sparsity == 0)
        let bytes = bits.map { $0 ? UInt8(200) : 0 }
        #expect(SparsePattern(rows: rows, columns: columns, bytes: bytes) == mask)
    }

    @Test func packedBits() {
        // Three rows of 10 columns take two bytes each; the bits beyond column 9 are rubbish.
        let packed: [UInt8] = [0b0000_0001, 0b1111_1110, 0, 0, 0xFF, 0xFD]
        let mask = SparsePattern(rows: 3, columns: 10, packedBits: packed)
        #expect(Array(mask.keptColumns(row: 0)) == [0, 9])
        #expect(mask.keptCount(row: 1) == 0)
        #expect(Array(mask.keptColumns(row: 2)) == [0, 1, 2, 3, 4, 5, 6, 7, 8])
        let wide = SparsePattern(rows: 1, columns: 72, packedBits: [0, 0, 0, 0, 0, 0, 0, 0x80, 0x01])
        #expect(Array(wide.keptColumns(row: 0)) == [63, 64])
    }

    @Test(arguments: edgeShapes) func algebra(shape: [Int]) {
        let (rows, columns) = (shape[0], shape[1])
        let (a, maskA) = random(rows, columns, seed: 2)
        let (b, maskB) = random(rows, columns, seed: 3)
        func mask(_ bits: [Bool]) -> SparsePattern { SparsePattern(rows: rows, columns: columns, bits) }
        #expect(maskA.intersection(maskB) == mask(zip(a, b).map { $0 && $1 }))
        #expect(maskA.union(maskB) == mask(zip(a, b).map { $0 || $1 }))
        #expect(maskA.subtracting(maskB) == mask(zip(a, b).map { $0 && !$1 }))
        #expect(maskA.inverted() == mask(a.map { !$0 }))
        #expect(maskA.inverted().inverted() == maskA)
        #expect(maskA.transposed() == SparsePattern(rows: columns, columns: rows) { maskA[$1, $0] })
        #expect(maskA.transposed().transposed() == maskA)
    }

    @Test(arguments: edgeShapes) func applyingZeroesExactlyTheRemoved(shape: [Int]) {
        let (rows, columns) = (shape[0], shape[1])
        let (bits, mask) = random(rows, columns, seed: 4)
        let original = Tensor<Float>((0..<rows * columns).map { Float($0 + 1) }, shape: shape)
        var changed = original
        mask.apply(to: &changed)
        #expect(changed.scalars == zip(original.scalars, bits).map { $1 ? $0 : 0 })
        #expect(original.scalars.allSatisfy { $0 != 0 })
        #expect(SparsePattern(nonzerosOf: changed) == mask)
        let undefined = Tensor<Double>(repeating: .nan, shape: shape)
        #expect(mask.applied(to: undefined).scalars.filter { $0 == 0 }.count == rows * columns - mask.count)
        #expect(SparsePattern(nonzerosOf: undefined).sparsity == 0)
    }

    @Test func settingRanges() {
        for start in [0, 1, 63, 64, 65, 100] {
            for end in [start, start + 1, 64, 128, 129, 200] where end >= start {
                var mask = SparsePattern(rows: 3, columns: 200)
                mask.set(row: 1, columns: start..<end, kept: true)
                #expect(Array(mask.keptColumns(row: 1)) == Array(start..<end))
                #expect(mask.count == end - start)
                mask = SparsePattern(rows: 3, columns: 200, keepingAll: true)
                mask.set(row: 2, columns: start..<end, kept: false)
                #expect(mask.count == 600 - (end - start) && mask.keptCount(row: 2) == 200 - (end - start))
            }
        }
    }
}

@Suite struct MaskPatternTests {
    @Test func verifierFollowsEveryFlippedBit() throws {
        let scores = normalTensor(24, 40, seed: 5)
        for pattern in [
            Pattern.nm(n: 2, m: 4), .nm(n: 3, m: 8, axis: .output), .block(rows: 8, columns: 5), .rows, .columns,
        ] {
            let sparsity = pattern.impliedSparsity ?? 0.5
            let mask = try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity)
            #expect(mask.satisfies(pattern))
            for row in 0..<24 {
                for column in 0..<40 where !mask[row, column] {
                    var more = mask
                    more[row, column] = true
                    #expect(!more.satisfies(pattern), "\(pattern) [\(row), \(column)]")
                }
            }
        }
    }

    @Test func raggedEdges() {
        // Five columns: the last group of 2:4 has one entry; blocks of 2x2 are cut off on both sides.
        let kept = SparsePattern(rows: 3, columns: 5, keepingAll: true)
        #expect(!kept.satisfies(.nm(n: 2, m: 4)))
        #expect(kept.satisfies(.block(rows: 2, columns: 2)) && kept.satisfies(.rows) && kept.satisfies(.columns))
        var corner = SparsePattern(rows: 3, columns: 5)
        corner[2, 4] = true
        #expect(corner.satisfies(.block(rows: 2, columns: 2)) && corner.satisfies(.nm(n: 1, m: 4)))
        #expect(!corner.satisfies(.rows) && !corner.satisfies(.columns))
        corner[2, 3] = true
        #expect(!corner.satisfies(.block(rows: 2, columns: 2)))
        #expect(
            SparsePattern(rows: 0, columns: 7).satisfies(.rows)
                && SparsePattern(rows: 7, columns: 0).satisfies(.columns))
        // A block larger than the matrix is the whole matrix.
        #expect(kept.satisfies(.block(rows: .max, columns: .max)) && !corner.satisfies(.block(rows: .max, columns: 8)))
    }

    @Test(arguments: [
        "rows", "columns", "block:16x16", "block:8x8", "block:16x1", "block:1x32", "2:4", "1:4", "4:8", "1:2",
        "2:4:output", "unstructured:row", "unstructured",
    ])
    func detectionNamesWhatWasSelected(text: String) throws {
        let pattern = try Pattern(text)
        let mask = try Selection.mask(
            scores: normalTensor(64, 128, seed: 6), pattern: pattern, sparsity: pattern.impliedSparsity ?? 0.6)
        let found = try #require(mask.detectedPattern())
        // 1:2 masks are 2:4 masks, which are tried first.
        #expect(found == (text == "1:2" ? .nm(n: 2, m: 4) : pattern))
        #expect(mask.satisfies(found))
    }

    @Test func detectionOfTrivialMasks() {
        #expect(SparsePattern(rows: 8, columns: 8, keepingAll: true).detectedPattern() == nil)
        #expect(SparsePattern(rows: 0, columns: 8).detectedPattern() == nil)
        #expect(SparsePattern(rows: 8, columns: 8).detectedPattern() == .rows)
    }
}
