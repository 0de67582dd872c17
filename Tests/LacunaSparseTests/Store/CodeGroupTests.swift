import CLacuna
import LacunaTensor
import Testing

@testable import LacunaSparse

/// 4-bit groups: what is rounded, what is stored, and products against dense ones.
@Suite struct CodeGroupTests {
    /// A random matrix and a mask that keeps `kept` groups of every row.
    private static func sample(
        _ rows: Int, _ groups: Int, size: Int, kept: Int, seed: UInt64 = 1
    ) throws -> (weight: Tensor<Float>, mask: SparsePattern) {
        var generator = SeededGenerator(seed: seed)
        let weight = Tensor<Float>(normal: [rows, groups * size], using: &generator)
        let mask = try Selection.mask(
            scores: MagnitudeScore().scores(weight: weight), pattern: .block(rows: 1, columns: size, .row),
            amount: .count(kept))
        return (weight, mask)
    }

    private static func groups(_ weight: Tensor<Float>, _ mask: SparsePattern? = nil, size: Int) throws -> CodeGroups {
        try CodeGroups(DenseRows(weight, mask: mask), size: size)
    }

    @Test func roundingIsItsFormula() throws {
        // 0, 0.5, …, 7.5: a scale of exactly 0.5 from 0 on; then -2 … 5.5, whose 0 is code 4; then all of one sign.
        let values: [Float] =
            (0..<16).map { Float($0) / 2 } + (0..<16).map { Float($0) / 2 - 2 } + Array(repeating: -15, count: 16)
        let found = try Self.groups(Tensor(values, shape: [1, 48]), size: 16)
        #expect(found.scales == [0.5, 0.5, 1] && found.zeros == [0, 4, 15])
        #expect(found.codes == (0..<16).map { UInt8($0) } + (0..<16).map { UInt8($0) } + Array(repeating: 0, count: 16))
        #expect(found.densified().scalars == values)
        // Numbers above 0 alone: steps reach from 0 to the largest all the same.
        let high = try Self.groups(Tensor((0..<16).map { Float(30 - $0 % 3) }, shape: [1, 16]), size: 16)
        #expect(high.scales == [2] && high.zeros == [0] && high.densified()[0, 0] == 30)
        // Nothing is further off than half a step, as 0 is always a step.
        let (weight, _) = try Self.sample(7, 5, size: 32, kept: 5)
        let rounded = try Self.groups(weight, size: 32)
        let near = rounded.densified()
        for row in 0..<7 {
            for column in 0..<160 {
                let scale = rounded.scales[row * 5 + column / 32]
                #expect(abs(weight[row, column] - near[row, column]) <= 0.51 * scale)
            }
        }
    }

    @Test func aGroupsEntriesOutsideTheMaskAreZeros() throws {
        let (weight, mask) = try Self.sample(6, 8, size: 16, kept: 3)
        let found = try Self.groups(weight, mask, size: 16)
        #expect(found.kept == 3 && found.pattern == mask)
        #expect(mask.applied(to: found.densified()) == found.densified())
        // A row of fewer groups stores others, of zeros.
        var uneven = mask
        for column in 0..<128 { uneven[2, column] = false }
        let padded = try Self.groups(weight, uneven, size: 16)
        #expect(padded.kept == 3)
        #expect((0..<128).allSatisfy { padded.densified()[2, $0] == 0 })
        #expect(padded.densified()[3, 0] == found.densified()[3, 0])
    }

    @Test(arguments: [(16, 9, 5), (16, 36, 18), (32, 6, 3), (48, 4, 1), (128, 3, 2), (16, 4, 0)])
    func productsAreThoseOfTheDenseMatrix(size: Int, groups: Int, kept: Int) throws {
        let rows = 37
        let (weight, mask) = try Self.sample(rows, groups, size: size, kept: kept)
        let source = try Self.groups(weight, mask, size: size)
        let matrix = try CodeGroupMatrix(source)
        #expect(matrix.codeGroups == source)
        #expect(matrix.densified() == source.densified())
        #expect(matrix.keptEntries == mask)
        #expect(matrix.byteCount == rows * (kept * size / 2 + 4 * kept + (kept + 1) / 2))
        #expect(matrix.storedCount == rows * kept * size)
        var generator = SeededGenerator(seed: 9)
        for count in [1, 3, 19] {
            let x = Tensor<Float>(normal: [count, groups * size], using: &generator)
            let found = matrix.applied(toRows: x)
            let expected = x.multiplied(by: source.densified(), otherTransposed: true)
            for (a, b) in zip(found.scalars, expected.scalars) { #expect(abs(a - b) < 1e-4 * (1 + abs(b))) }
        }
    }

    /// Half of the groups of 16: 3.1 bits for a dense value, as the authors count.
    @Test func whatItTakes() throws {
        let (weight, mask) = try Self.sample(8, 36, size: 16, kept: 18)
        let matrix = try CodeGroupMatrix(Self.groups(weight, mask, size: 16))
        #expect(Double(8 * matrix.byteCount) / Double(weight.count) == 3.125)
        #expect(matrix.format.description == "groups16x18:36" && matrix.sparsity == 0.5)
        let layout = StorageLayout(CodeGroupLayout(size: 16, kept: 18, of: 36))
        #expect(layout.base.size(of: mask, values: .int4).byteCount == matrix.byteCount)
        #expect(StorageFormat(description: "groups16x18:36") == matrix.format)
        for name in ["groups", "groups16x18", "groups8x1:2", "groups16x3:2", "groups16x1:2-int8", "groups512x1:2"] {
            #expect(StorageFormat(description: name) == nil, "\(name)")
        }
    }

    @Test(arguments: (0..<LK_LEVELS).filter { lk_level($0) != nil })
    func everyLevelIsTheReference(level: Int32) throws {
        let (table, reference) = (lk_level(level)!.pointee, lk_reference()!.pointee)
        for (size, groups, kept) in [(16, 12, 7), (32, 8, 3), (48, 4, 4)] {
            let (weight, mask) = try Self.sample(9, groups, size: size, kept: kept)
            let matrix = try CodeGroupMatrix(Self.groups(weight, mask, size: size))
            var generator = SeededGenerator(seed: 3)
            let x = Tensor<Float>(normal: [groups * size], using: &generator)
            let columns = groups * size
            let rowBytes = matrix.byteCount / 9
            x.withPointer { x in
                var input = lk_input()
                input.x = x
                var w = lk_code_groups(
                    rows: matrix.bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), columns: columns,
                    group: size, kept: kept, row_bytes: rowBytes)
                var (a, b) = ([Float](repeating: .nan, count: 7), [Float](repeating: .nan, count: 7))
                table.gemv_code_groups(&w, &input, 2, 9, &a)
                reference.gemv_code_groups(&w, &input, 2, 9, &b)
                for (a, b) in zip(a, b) { #expect(abs(a - b) < 1e-4 * (1 + abs(b))) }
                var (c, d) = (
                    [Float](repeating: .nan, count: 7 * columns), [Float](repeating: .nan, count: 7 * columns)
                )
                table.decode_code_groups(&w, 2, 9, &c)
                reference.decode_code_groups(&w, 2, 9, &d)
                #expect(c == d)
            }
        }
    }

    /// What is not stored never contributes, whatever meets it.
    @Test func inputsThatAreNotFiniteMeetNothing() throws {
        let (weight, mask) = try Self.sample(5, 4, size: 16, kept: 2)
        let matrix = try CodeGroupMatrix(Self.groups(weight, mask, size: 16))
        let row0 = Set((0..<64).filter { mask[0, $0] })
        var x = Tensor<Float>(zeros: [7, 64])
        for t in 0..<7 { for c in 0..<64 { x[t, c] = row0.contains(c) ? 1 : .infinity } }
        let found = matrix.applied(toRows: x)
        let sum = (0..<64).reduce(Float(0)) { $0 + matrix.densified()[0, $1] }
        for t in 0..<7 { #expect(abs(found[t, 0] - sum) < 1e-4) }
    }

    @Test func bytesComeBackAndBadOnesAreRefused() throws {
        let (weight, mask) = try Self.sample(5, 4, size: 16, kept: 2)
        let matrix = try CodeGroupMatrix(Self.groups(weight, mask, size: 16))
        let layout = CodeGroupLayout(size: 16, kept: 2, of: 4)
        var bytes = Array(matrix.bytes)
        #expect(layout.columns(bytesPerRow: bytes.count / 5) == 64 && layout.columns(bytesPerRow: 24) == nil)
        func made(_ columns: Int = 64) throws -> any StoredMatrix {
            try bytes.withUnsafeBytes { try layout.make(bytes: $0, rows: 5, columns: columns) }
        }
        #expect((try made() as? CodeGroupMatrix)?.codeGroups == matrix.codeGroups)
        #expect(throws: LacunaError.self) { try made(48) }
        let whole = bytes
        // A group beyond the row, then two in no order, then an infinite scale.
        for (offset, value) in [(20, [4, 0]), (20, [3, 0, 3, 0]), (16, [0, 0x7C])] as [(Int, [UInt8])] {
            bytes = whole
            bytes.replaceSubrange(offset..<offset + value.count, with: value)
            #expect(throws: LacunaError.self) { try made() }
        }
        bytes = Array(whole.dropLast())
        #expect(throws: LacunaError.self) { try made() }
        #expect(throws: LacunaError.self) { try layout.make(DenseRows(weight), values: .int4) }
        #expect(throws: LacunaError.self) { try layout.make(DenseRows(weight, mask: mask), values: .int8) }
        #expect(try layout.make(DenseRows(weight, mask: mask), values: .int4).densified() == matrix.densified())
        for size in [0, 8, 24, 272] { #expect(throws: LacunaError.self) { try Self.groups(weight, size: size) } }
        var broken = weight
        broken[0, 0] = .nan
        #expect(throws: LacunaError.self) { try Self.groups(broken, size: 16) }
        broken[0, 0] = 1e6 * 15
        #expect(throws: LacunaError.self) { try Self.groups(broken, size: 16) }
        var wrong = matrix.codeGroups
        wrong.codes[0] = 16
        #expect(throws: LacunaError.self) { try CodeGroupMatrix(wrong) }
    }
}
