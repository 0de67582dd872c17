import LacunaIO
import Testing

/// Sparse matrices in files: what SciPy wrote is read (`Scripts/fixtures_tables.py` makes the files), what is written is
/// read again, what is wrong is refused.
@Suite struct SparseFileTests {
    private static let expected: Tensor<Double> = {
        var result = Tensor<Double>(zeros: [5, 7])
        for i in 0..<35 where i % 3 == 1 && i / 7 != 2 { result[i / 7, i % 7] = Double(i) - 10.25 }
        return result
    }()

    @Test(arguments: ["csr", "csc", "coo", "csr-unsorted", "csr-packed"]) func scipyFiles(_ name: String) throws {
        let matrix = try SparseMatrix<Double>(npz: fixture("tables/\(name).npz"))
        #expect(matrix.densified() == Self.expected)
        #expect(try SparseMatrix<Float>(npz: fixture("tables/\(name).npz")).converted(to: Double.self) == matrix)
    }

    @Test func otherFormatsAreNamed() throws {
        let failure = #expect(throws: LacunaError.self) { try SparseMatrix<Double>(npz: fixture("tables/bsr.npz")) }
        #expect(failure?.description.contains("bsr") == true)
        #expect(throws: LacunaError.self) { try SparseMatrix<Double>(npz: fixture("tables/both.npz")) }
    }

    @Test func filesAreReadAgain() throws {
        let scratch = try Scratch()
        var generator = SeededGenerator(seed: 3)
        for (rows, columns, density) in [(0, 0, 0.0), (1, 1, 1.0), (40, 30, 0.1), (3, 200, 0.02)] {
            let matrix = try SparseMatrix<Double>.random(
                rows: rows, columns: columns, density: density, using: &generator)
            let path = scratch.file("m.npz")
            try matrix.write(npz: path)
            #expect(try SparseMatrix<Double>(npz: path) == matrix)
            try matrix.converted(to: Float.self).write(npz: path)
            #expect(try SparseMatrix<Float>(npz: path) == matrix.converted(to: Float.self))
            let text = scratch.file("m.mtx")
            try matrix.write(matrixMarket: text)
            #expect(try SparseMatrix<Double>(matrixMarket: text) == matrix)
            let single = matrix.converted(to: Float.self)
            #expect(try SparseMatrix<Float>(matrixMarket: text) == single)
            try single.write(matrixMarket: text)
            #expect(try SparseMatrix<Float>(matrixMarket: text) == single)
        }
        let values = SparseMatrix(diagonal: [1e-308, -0.1, 1e300, 3, 123456789.123456789])
        try values.write(matrixMarket: scratch.file("v.mtx"))
        #expect(try SparseMatrix<Double>(matrixMarket: scratch.file("v.mtx")).values == values.values)
        #expect(throws: LacunaError.self) {
            try SparseMatrix(diagonal: [Double.nan]).write(matrixMarket: scratch.file("n.mtx"))
        }
        #expect(!FileSystem.exists(scratch.file("n.mtx")))
        let dense = Tensor<Float>([1, 2, 3, 4, 5, 6], shape: [2, 3])
        try NumPyArray.write(dense, to: scratch.file("d.npy"))
        let array = try NumPyArray(contentsOf: scratch.file("d.npy"))
        #expect(array.shape == [2, 3] && array.columnMajor == [1, 4, 2, 5, 3, 6])
        #expect(throws: LacunaError.self) {
            try NumPyArray.write(Tensor<Float>(zeros: [1, 1, 1]), to: scratch.file("e"))
        }
    }

    /// Every spelling of a number, also the ones that a quick way could get wrong in the last bit.
    @Test func numbersAreRoundedOnce() throws {
        let scratch = try Scratch()
        let words = [
            "0", "-0", "+7", "1.", ".5", "-.25", "0.1", "123456789012345", "1234567890123456",
            "0.000000000000000000001",
            "9007199254740993", "1e5", "-1.5E-3", "2.2250738585072014e-308", "4.9e-324", "1e-400",
            "179769313486231570000",
            "0.30000000000000004", "00012.50", "3.14159265358979",
        ]
        let path = try scratch.write(
            ("%%MatrixMarket matrix coordinate real general\n\(words.count) 1 \(words.count)\n"
                + words.enumerated().map { "\($0.offset + 1) 1 \($0.element)\n" }.joined()).utf8, to: "n.mtx")
        let matrix = try SparseMatrix<Double>(matrixMarket: path)
        for (i, word) in words.enumerated() { #expect(matrix[i, 0] == Double(word)!, "\(word)") }
        for bad in ["+", "-", ".", "1e", "nan", "inf", "1e999", "0x10", "1,5", "--1", "1 2", ""] {
            let path = try scratch.write(
                "%%MatrixMarket matrix coordinate real general\n1 1 1\n1 1 \(bad)\n".utf8, to: "b.mtx")
            #expect(throws: LacunaError.self, "\(bad)") { try SparseMatrix<Double>(matrixMarket: path) }
        }
    }

    @Test func hostileSizesAreRefusedAtOnce() throws {
        let scratch = try Scratch()
        for header in ["268435456 268435456 1", "4294967295 4294967295 1", "2 2 99999999", "1 18446744073709551615 1"] {
            let path = try scratch.write(
                "%%MatrixMarket matrix coordinate real general\n\(header)\n1 1 1\n".utf8, to: "h.mtx")
            #expect(throws: LacunaError.self, "\(header)") { try SparseMatrix<Double>(matrixMarket: path) }
        }
        let good = try Array(FileSystem.readBytes(fixture("tables/csr.npz")))
        for cut in stride(from: 0, to: good.count, by: 7) {
            let path = try scratch.write(good[..<cut], to: "c.npz")
            #expect(throws: LacunaError.self) { try SparseMatrix<Double>(npz: path) }
        }
        var generator = SeededGenerator(seed: 9)
        for _ in 0..<300 {
            var bytes = good
            for _ in 0..<3 {
                bytes[Int(generator.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: generator.next())
            }
            _ = try? SparseMatrix<Double>(npz: scratch.write(bytes, to: "d.npz"))
        }
    }

    /// Other programs refuse an archive whose checksums are not those of its files (CRC-32 of ISO 3309, bit by bit).
    @Test func archivesCarryTheirChecksums() throws {
        let scratch = try Scratch()
        try SparseMatrix(diagonal: [1.0, 2, 3]).write(npz: scratch.file("m.npz"))
        let bytes = try Array(FileSystem.readBytes(scratch.file("m.npz")))
        func number(_ offset: Int, _ count: Int) -> Int {
            (0..<count).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
        }
        var (offset, checksums) = (0, [Int]())
        while number(offset, 4) == 0x0403_4B50 {
            let start = offset + 30 + number(offset + 26, 2) + number(offset + 28, 2)
            var checksum: UInt32 = 0xFFFF_FFFF
            for byte in bytes[start..<start + number(offset + 22, 4)] {
                checksum ^= UInt32(byte)
                for _ in 0..<8 { checksum = checksum >> 1 ^ (checksum & 1 == 0 ? 0 : 0xEDB8_8320) }
            }
            #expect(number(offset + 14, 4) == Int(~checksum))
            checksums.append(Int(~checksum))
            offset = start + number(offset + 22, 4)
        }
        // The directory at the end says the same.
        for checksum in checksums {
            #expect(number(offset, 4) == 0x0201_4B50 && number(offset + 16, 4) == checksum)
            offset += 46 + number(offset + 28, 2) + number(offset + 30, 2) + number(offset + 32, 2)
        }
        #expect(checksums.count == 5 && number(offset, 4) == 0x0605_4B50)
    }
}
