import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

/// Tables as NumPy, SciPy, scikit-learn and pandas write them, and files that are wrong.
@Suite struct TableTests {
    private func table(_ name: String) throws -> String { try fixture("tables/\(name)") }
    private static func value(_ i: Int, _ j: Int) -> Double { Double(3 * i - 2 * j) / 4 }
    private static let columnMajor = (0..<20).map { value($0 % 5, $0 / 5) }

    private static func dense(_ sparse: SparseMatrix<Double>) -> [Double] { sparse.densified().transposed().scalars }

    @Test(arguments: ["rows", "columns", "single", "big-endian"]) func arrays(_ name: String) throws {
        let array = try NumPyArray(contentsOf: table("\(name).npy"))
        #expect(array.shape == [5, 4] && array.columnMajor == Self.columnMajor)
        #expect(array.isColumnMajor == (name == "columns"))
        #expect((array.doublesOffset != nil) == (name == "columns"))
    }

    @Test func headersTellWhatCanBeMapped() throws {
        for name in ["rows", "columns", "single", "big-endian", "vector", "integers"] {
            let file = try MappedFile(table("\(name).npy"))
            let header = try NumPyHeader(file)
            let array = try NumPyArray(contentsOf: table("\(name).npy"))
            #expect(header.shape == array.shape && header.isColumnMajor == array.isColumnMajor)
            #expect(header.isMappable == (name == "columns" || name == "vector"))
            #expect(array.doublesOffset == (header.isMappable ? header.offset : nil))
            if header.isMappable {
                let first = file.bytes.loadUnaligned(fromByteOffset: header.offset, as: Double.self)
                #expect(first == array.columnMajor[0])
            }
        }
    }

    @Test func otherArrays() throws {
        for name in ["integers", "small"] {
            let array = try NumPyArray(contentsOf: table("\(name).npy"))
            #expect(array.columnMajor == Self.columnMajor.map { 4 * $0 })
        }
        let vector = try NumPyArray(contentsOf: table("vector.npy"))
        #expect(vector.shape == [5] && vector.columns == 1 && vector.columnMajor == (0..<5).map { Self.value($0, 1) })
        for name in ["cube.npy", "complex.npy"] {
            guard case .unsupported? = failure({ try NumPyArray(contentsOf: table(name)) }) else {
                Issue.record("\(name) is not refused as unsupported")
                continue
            }
        }
    }

    @Test func archives() throws {
        let archive = try NumPyArchive(contentsOf: table("both.npz"))
        #expect(archive.names == ["X", "y"])
        #expect(try archive.array("X")?.columnMajor == Self.columnMajor)
        #expect(try archive.array("y")?.columnMajor == [1, -1, 1, 1, -1])
        // The same array, as numpy.savez_compressed packs it.
        let packed = try NumPyArchive(contentsOf: table("compressed.npz"))
        #expect(try packed.array("X")?.columnMajor == Self.columnMajor && packed.array("X")?.shape == [5, 4])
        let larger = try NumPyArchive(contentsOf: table("compressed-large.npz"))
        let numbers = try #require(try larger.array("X"))
        #expect(try numbers.shape == [300, 40] && larger.array("y")?.columnMajor.count == 300)
        for (i, j) in [(0, 0), (17, 3), (299, 39)] {
            #expect(numbers.columnMajor[j * 300 + i] == Double((7 * i + 3 * j) % 11) / 4)
        }
    }

    @Test func matrixMarket() throws {
        let sparse = try MatrixMarketFile(contentsOf: table("sparse.mtx"))
        guard case .sparse(let columns) = sparse.content else {
            Issue.record("not sparse")
            return
        }
        #expect(sparse.rows == 5 && sparse.columns == 4 && Self.dense(columns) == Self.columnMajor)
        #expect(columns.values.allSatisfy { $0 != 0 })
        #expect(try MatrixMarketFile(contentsOf: table("dense.mtx")).content == .dense(Self.columnMajor))
        let expected = (0..<16).map { Self.value($0 % 4, $0 / 4) + Self.value($0 / 4, $0 % 4) }
        guard case .sparse(let symmetric) = try MatrixMarketFile(contentsOf: table("symmetric.mtx")).content else {
            Issue.record("not sparse")
            return
        }
        #expect(Self.dense(symmetric) == expected)
        #expect(try MatrixMarketFile(contentsOf: table("symmetric-dense.mtx")).content == .dense(expected))
        let scratch = try Scratch()
        let pattern = try scratch.write(
            "%%MatrixMarket matrix coordinate pattern general\n% c\n2 3 2\n2 1\n1 3\n".utf8, to: "p.mtx")
        guard case .sparse(let ones) = try MatrixMarketFile(contentsOf: pattern).content else { return }
        #expect(Self.dense(ones) == [0, 1, 0, 0, 1, 0])
        let skew = try scratch.write(
            "%%MatrixMarket matrix array real skew-symmetric\n3 3\n1\n2\n3\n".utf8, to: "s.mtx")
        #expect(try MatrixMarketFile(contentsOf: skew).content == .dense([0, 1, 2, -1, 0, 3, -2, -3, 0]))
    }

    @Test func svmlight() throws {
        for (name, zero) in [("one.svm", false), ("zero.svm", true)] {
            let file = try SvmlightFile(contentsOf: table(name))
            #expect(file.labels == [1, -1, 1, 1, -1] && file.isZeroBased == zero)
            #expect(Self.dense(file.features) == Self.columnMajor)
        }
        let scratch = try Scratch()
        let path = try scratch.write("# nothing\n\n2.5 qid:3 1:1e2 7:-1 # c 9:9\r\n-1\n".utf8, to: "x")
        let file = try SvmlightFile(contentsOf: path)
        #expect(file.labels == [2.5, -1] && file.features.columns == 7)
        #expect(file.features.values == [100, -1] && file.features.pattern.columnIndices == [0, 6])
    }

    /// Random files, read and put together again by other means.
    @Test func sparseTablesOfAllKinds() throws {
        let scratch = try Scratch()
        var generator = SeededGenerator(seed: 12)
        for round in 0..<30 {
            // SVMlight: for the columns that occur, for all, and for those of a model.
            let far = round % 3 == 0 ? 1 << 27 : 40
            var (lines, expected) = ([String](), [[Int: Double]]())
            for _ in 0..<Int.random(in: 1...9, using: &generator) {
                var row: [Int: Double] = [:]
                for _ in 0..<Int.random(in: 0...6, using: &generator) {
                    row[Int.random(in: (round % 2)...far, using: &generator)] =
                        Double(Int.random(in: -3...3, using: &generator)) / 4
                }
                let words = row.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }
                lines.append((["1"] + words).joined(separator: round % 5 == 0 ? " \t" : " "))
                expected.append(row.filter { $0.value != 0 })
            }
            let path = try scratch.write(lines.joined(separator: "\n").utf8, to: "t.svm")
            let file = try SvmlightFile(contentsOf: path)
            let occurring = Set(expected.flatMap(\.keys)).sorted()
            if occurring.last ?? 0 > 1 << 18 {
                #expect(file.indices == occurring)
            } else if far == 40 {
                #expect(file.indices.first ?? 0 <= 1 && file.indices.last ?? 0 >= occurring.last ?? 0)
            }
            let wanted = [0, 3, 4, 17, 39, occurring.last ?? 40 + 40].sorted()
            for (file, indices) in [
                (file, file.indices),
                (try SvmlightFile(contentsOf: path, columns: Set(wanted).sorted()), Set(wanted).sorted()),
            ] {
                #expect(file.features.rows == lines.count && file.features.columns == indices.count)
                for (row, values) in expected.enumerated() {
                    let found = Dictionary(
                        uniqueKeysWithValues: file.features.pattern.entries(row: row).map {
                            (indices[file.features.pattern.columnIndices[$0]], file.features.values[$0])
                        })
                    #expect(found == values.filter { indices.contains($0.key) }, "round \(round)")
                }
            }
            // MatrixMarket: symmetric ones with entries in both halves, some of them twice.
            let sign = round % 2 == 0 ? 1.0 : -1
            let n = Int.random(in: 1...7, using: &generator)
            var (entries, dense) = ([String](), [Double](repeating: 0, count: n * n))
            for _ in 0..<Int.random(in: 0...20, using: &generator) {
                let (i, j) = (Int.random(in: 0..<n, using: &generator), Int.random(in: 0..<n, using: &generator))
                if sign < 0 && i == j { continue }
                let value = Double(Int.random(in: 1...9, using: &generator))
                entries.append("\(i + 1) \(j + 1) \(value)")
                dense[j * n + i] += value
                if i != j { dense[i * n + j] += sign * value }
            }
            let kind = sign > 0 ? "symmetric" : "skew-symmetric"
            let text = "%%MatrixMarket matrix coordinate real \(kind)\n\(n) \(n) \(entries.count)\n"
            let symmetric = try scratch.write((text + entries.joined(separator: "\n")).utf8, to: "s.mtx")
            guard case .sparse(let matrix) = try MatrixMarketFile(contentsOf: symmetric).content else {
                Issue.record("not sparse")
                return
            }
            #expect(Self.dense(matrix) == dense, "round \(round)")
            for row in 0..<n {
                let columns = matrix.pattern.entries(row: row).map { matrix.pattern.columnIndices[$0] }
                #expect(columns == Array(Set(columns)).sorted())
            }
        }
    }

    /// What a file announces must not cost more than a small multiple of it.
    @Test func announcedSizesAreHeldAgainstTheFile() throws {
        let scratch = try Scratch()
        let head = "%%MatrixMarket matrix coordinate real general\n"
        for sizes in ["4194305 1", "1 4194305"] {
            let path = try scratch.write("\(head)\(sizes) 1\n1 1 1\n".utf8, to: "t.mtx")
            #expect(
                failure { try MatrixMarketFile(contentsOf: path) }?.description.contains("limit of 4194304") == true)
        }
        let path = try scratch.write("\(head)4194304 4194304 1\n4194304 4194304 1\n".utf8, to: "t.mtx")
        #expect(try MatrixMarketFile(contentsOf: path).rows == 4_194_304)
        // One long line is no list of words.
        let long =
            "%%MatrixMarket matrix array real general\n300 2\n" + (0..<600).map { "\($0)" }.joined(separator: " ")
        guard case .dense(let values) = try MatrixMarketFile(contentsOf: scratch.write(long.utf8, to: "t.mtx")).content
        else { return }
        #expect(values == (0..<600).map(Double.init))
        let wide = try SvmlightFile(contentsOf: scratch.write("1 268435456:1\n0 5:2\n".utf8, to: "t.svm"))
        #expect(wide.indices == [5, 268_435_456] && wide.features.values == [1, 2])
        #expect(wide.features.pattern.columnIndices == [1, 0])
        let wider = try scratch.write("1 268435457:1\n".utf8, to: "t.svm")
        #expect(failure { try SvmlightFile(contentsOf: wider) }?.description.contains("limit of 268435456") == true)
    }

    @Test func csv() throws {
        let file = try CSVTable(contentsOf: table("table.csv"))
        #expect(file.rows == 5 && file.columns.map(\.name) == ["a", "b, c", "say \"d\"", "e\nf", "kind", "gap"])
        for j in 0..<4 { #expect(file.columns[j].values == .numbers((0..<5).map { Self.value($0, j) })) }
        #expect(file["kind"]?.values == .text(["x", "y", "", "x", "z,z"]) && file["kind"]?.missing == [2])
        #expect(file["gap"]?.missing == [1] && file["nothing"] == nil)
        let scratch = try Scratch()
        let path = try scratch.write(
            "\u{FEFF}a;b;c\r\n1; NA ;\"x\"\"y\r\nz\"\r\n2.5e3;?;\r\n\r\n-1;null;w".utf8, to: "t.csv")
        let other = try CSVTable(contentsOf: path)
        #expect(other.rows == 3 && other["a"]?.values == .numbers([1, 2500, -1]))
        #expect(other["b"]?.missing == [0, 1, 2])
        #expect(other["c"]?.values == .text(["x\"y\r\nz", "", "w"]))
        let tabs = try CSVTable(contentsOf: scratch.write("x\ty\n1\t2,5\n".utf8, to: "t.tsv"))
        #expect(tabs["y"]?.values == .numbers([2.5]) && tabs["y"]?.words == ["2,5"])
    }

    @Test(arguments: [
        ("", "empty"), ("a,b\n1,2\n3\n", "line 3"), ("a,b\n1,\"2\n3,4\n", "line 2"), ("a,a\n1,2\n", "two columns"),
        ("a,column 1\n1,2,3\n", "3 fields"), (",column 1\n1,2\n", "two columns"), ("a,b\n1,2,3\n", "3 fields"),
    ]) func brokenCSV(text: String, word: String) throws {
        let scratch = try Scratch()
        let path = try scratch.write(text.utf8, to: "t.csv")
        let error = failure { try CSVTable(contentsOf: path) }
        #expect(
            error?.description.contains("t.csv") == true && error?.description.contains(word) == true,
            "\(String(describing: error))")
    }

    @Test(arguments: [
        ("1 2:x", "line 1"), ("1 2:3\none 1:1", "line 2"), ("1 3:1 2:1", "ascend"), ("1 2:1 2:1", "ascend"),
        ("1 -1:1", "index:value"), ("1 99999999999:1", "limit"), ("", "no rows"), ("nan 1:1", "label"),
        ("1 1:inf", "index:value"), ("1 1", "index:value"),
    ]) func brokenSvmlight(text: String, word: String) throws {
        let scratch = try Scratch()
        let path = try scratch.write(text.utf8, to: "t.svm")
        let error = failure { try SvmlightFile(contentsOf: path) }
        #expect(
            error?.description.contains("t.svm") == true && error?.description.contains(word) == true,
            "\(String(describing: error))")
    }

    @Test(arguments: [
        ("", "MatrixMarket"), ("%%MatrixMarket matrix coordinate real general\n", "sizes"),
        ("%%MatrixMarket matrix coordinate real general\n2 2\n", "sizes"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n", "1 entries are missing"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 1\n", "line 3"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 0 1\n", "line 3"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1\n2 2 1\n", "more entries"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 x\n", "finite"),
        ("%%MatrixMarket matrix coordinate real general\n99999999999 1 1\n1 1 1\n", "sizes"),
        ("%%MatrixMarket matrix coordinate real general\n2000000000 2000000000 1\n1 1 1\n", "limit"),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 3 0\n", "symmetric"),
        ("%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 1 1\n", "complex"),
        ("%%MatrixMarket matrix array real general\n4000000000 4000000000\n1\n", "cannot be"),
        ("%%MatrixMarket matrix array real general\n1 2\n1\n", "missing"),
        ("%%MatrixMarket matrix array real general\n1 1\n1\n2\n", "more numbers"),
        ("%%MatrixMarket matrix array pattern general\n1 1\n1\n", "pattern"),
    ]) func brokenMatrixMarket(text: String, word: String) throws {
        let scratch = try Scratch()
        let path = try scratch.write(text.utf8, to: "t.mtx")
        let error = failure { try MatrixMarketFile(contentsOf: path) }
        #expect(
            error?.description.contains("t.mtx") == true && error?.description.contains(word) == true,
            "\(String(describing: error))")
    }

    @Test func tablesAsOthersWriteThem() throws {
        let scratch = try Scratch()
        // A .tsv file is separated by tabs, whatever else its names hold.
        let tabs = try CSVTable(contentsOf: scratch.write("a (x, y, z)\tb\n1,5\t2\n".utf8, to: "t.TSV"))
        #expect(tabs.columns.map(\.name) == ["a (x, y, z)", "b"])
        #expect(tabs["a (x, y, z)"]?.values == .numbers([1.5]))
        // An index without a name, as DataFrame.to_csv has it.
        let index = try CSVTable(contentsOf: scratch.write(",a,\n0,1,2\n1,3,4\n".utf8, to: "i.csv"))
        #expect(index.columns.map(\.name) == ["column 1", "a", "column 3"])
        #expect(index["column 1"]?.values == .numbers([0, 1]))
        let words = ["", "NA", "n/a", "#N/A", "#NA", "<NA>", "NaN", "-nan", "1.#IND", "-1.#QNAN", "null", "?", "7"]
        let gaps = try CSVTable(
            contentsOf: scratch.write(("x,y\n" + words.map { "\($0),1\n" }.joined()).utf8, to: "g.csv"))
        #expect(gaps["x"]?.missing == Array(0..<12))
        // What is a word in most tables stays one.
        let level = try CSVTable(contentsOf: scratch.write("x\nnone\nsome\n".utf8, to: "l.csv"))
        #expect(level["x"]?.values == .text(["none", "some"]))
    }

    @Test func missingHeadersAreNoticed() throws {
        let scratch = try Scratch()
        let path = try scratch.write("1,2.5,NA\n3,4,5\n".utf8, to: "h.csv")
        guard case .malformed(path, "line 1", let reason) = failure({ try CSVTable(contentsOf: path, header: .auto) })
        else { return }
        #expect(reason.contains("is there no header?"))
        let none = try CSVTable(contentsOf: path, header: .no)
        #expect(none.rows == 2 && none.columns.map(\.name) == ["column 1", "column 2", "column 3"])
        #expect(none["column 2"]?.values == .numbers([2.5, 4]) && none["column 3"]?.missing == [0])
        #expect(try CSVTable(contentsOf: path, header: .yes).columns.map(\.name) == ["1", "2.5", "NA"])
        // One word is enough for a header; an empty line is no numbers.
        let names = try scratch.write("2001,2002,year\n3,4,5\n".utf8, to: "n.csv")
        #expect(try CSVTable(contentsOf: names, header: .auto).rows == 1)
        let unnamed = try scratch.write(",\n3,4\n".utf8, to: "u.csv")
        #expect(try CSVTable(contentsOf: unnamed, header: .auto).rows == 1)
    }

    /// Cut off anywhere, or with any byte changed: an error that names the file, or other numbers, but no crash.
    @Test(arguments: [
        "rows.npy", "columns.npy", "both.npz", "compressed.npz", "sparse.mtx", "symmetric-dense.mtx", "one.svm",
        "table.csv",
    ])
    func damagedFiles(_ name: String) throws {
        let whole = try FileSystem.readBytes(table(name))
        let scratch = try Scratch()
        var random = SeededGenerator(seed: 1)
        func check(_ bytes: [UInt8], _ context: String) throws {
            let path = try scratch.write(bytes, to: name)
            survives(context) {
                switch name.suffix(3) {
                case "npy": _ = try NumPyArray(contentsOf: path)
                case "npz": _ = try NumPyArchive(contentsOf: path)
                case "mtx": _ = try MatrixMarketFile(contentsOf: path)
                case "svm": _ = try SvmlightFile(contentsOf: path)
                default: _ = try CSVTable(contentsOf: path)
                }
            }
        }
        for length in stride(from: 0, to: whole.count, by: max(1, whole.count / 60)) {
            try check(Array(whole.prefix(length)), "\(name) cut to \(length)")
        }
        for _ in 0..<150 {
            var bytes = whole
            for _ in 0..<(1 + Int(random.next() % 3)) {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            try check(bytes, "\(name) changed")
        }
        if name.hasSuffix("npy") || name.hasSuffix("npz") {
            let path = try scratch.write(whole.dropLast(whole.count / 3), to: name)
            let error = failure {
                if name.hasSuffix("npy") {
                    _ = try NumPyArray(contentsOf: path)
                } else {
                    _ = try NumPyArchive(contentsOf: path)
                }
            }
            #expect(error?.description.contains(name) == true)
        }
    }
}
