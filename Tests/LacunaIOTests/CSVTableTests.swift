import LacunaTensor
import Testing

@testable import LacunaIO

/// Tables as programs and people write them.
@Suite struct CSVTableTests {
    private func table(
        _ text: String, _ name: String = "t.csv", _ options: CSVTable.Options = .init()
    ) throws -> CSVTable {
        let scratch = try Scratch()
        return try withExtendedLifetime(scratch) {
            try CSVTable(contentsOf: scratch.write(Array(text.utf8), to: name), options)
        }
    }

    private func numbers(_ table: CSVTable, _ name: String) -> [Double]? {
        if case .numbers(let numbers)? = table[name]?.values { numbers } else { nil }
    }

    @Test func spellingsOfNumbers() throws {
        let european = try table("a;b;c;d\n1,5;1.234,5;7;1 000\n-2,25;12;8;20\n")
        #expect(numbers(european, "a") == [1.5, -2.25] && numbers(european, "b") == [1234.5, 12])
        #expect(numbers(european, "c") == [7, 8] && numbers(european, "d") == [1000, 20])
        #expect(european.remarks.contains { $0.contains("'a'") && $0.contains("decimal commas") })
        #expect(!european.remarks.contains { $0.contains("'c'") })
        let american = try table("a,b,c\n\"1,234\",12%,$5\n\"1,234,567.5\",7.5 %,\"-$1,000.50\"\n3,0%,($2)\n")
        #expect(numbers(american, "a") == [1234, 1_234_567.5, 3])
        #expect(numbers(american, "b") == [0.12, 0.075, 0] && numbers(american, "c") == [5, -1000.5, -2])
        // A comma in a file of commas is a group, unless it cannot be one, or someone says so.
        #expect(numbers(try table("a,b\n\"1,25\",1\n"), "a") == [1.25])
        #expect(numbers(try table("a,b\n\"1,250\",1\n"), "a") == [1250])
        #expect(numbers(try table("a,b\n\"1,250\",1\n", "t.csv", .init(decimal: .comma)), "a") == [1.25])
        #expect(numbers(try table("a;b\n1,250;1\n"), "a") == [1.25])
        // One that fits no spelling makes a column of text.
        for odd in ["1,5x", "12,34,5", "1..5", "0x1F", "1e", "+", "5 %%", "1 2"] {
            #expect(numbers(try table("a;b\n1,5;2\n\(odd);3\n"), "a") == nil, "\(odd)")
        }
        #expect(numbers(try table("a,b\n12%,1\n7,2\n"), "a") == nil, "per cent and plain do not mix")
        let plain = try table("a\n1e3\n+5\n-.5\n.25\n1.\n123456789012345678\n0.1\n-0.30000000000000004\ninf\n")
        #expect(
            numbers(plain, "a")
                == [1000, 5, -0.5, 0.25, 1, 123_456_789_012_345_680, 0.1, -0.30000000000000004, .infinity])
    }

    /// Codes keep their spelling.
    @Test func wordsAreWhatIsWritten() throws {
        let file = try table("id,zip\n1234567890123456001,007\n1234567890123456002,7\nNA,7.0\n")
        #expect(file["id"]?.words == ["1234567890123456001", "1234567890123456002", ""])
        #expect(file["zip"]?.words == ["007", "7", "7.0"] && numbers(file, "zip") == [7, 7, 7])
        #expect(file["id"]?.missing == [2])
    }

    @Test func missingAmongNumbers() throws {
        for word in ["-", ".", "None", "n.a.", "missing", "--"] {
            let file = try table("a,b\n1,x\n\(word),y\n3,\(word)\n")
            #expect(file["a"]?.missing == [1] && numbers(file, "a")?[2] == 3, "\(word)")
            #expect(file["b"]?.values == .text(["x", "y", word]), "a word among words")
        }
        let own = try table("a\n1\n999\n3\n", "t.csv", .init(missing: ["999"]))
        #expect(own["a"]?.missing == [1])
        #expect(try table("a\n-\n-\n")["a"]?.values == .text(["-", "-"]))
    }

    @Test func encodings() throws {
        let scratch = try Scratch()
        let text = "näme,€\nMüller,1\n"
        func read(_ bytes: [UInt8]) throws -> CSVTable { try CSVTable(contentsOf: scratch.write(bytes, to: "e.csv")) }
        let little = text.utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
        let big = text.utf16.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] }
        let windows: [UInt8] = text.unicodeScalars.map { $0 == "€" ? 0x80 : UInt8($0.value) }
        for (bytes, encoding) in [
            (Array(text.utf8), TextEncoding.utf8), ([0xEF, 0xBB, 0xBF] + Array(text.utf8), .utf8),
            ([0xFF, 0xFE] + little, .utf16), ([0xFE, 0xFF] + big, .utf16), (windows, .windows1252),
        ] {
            let file = try read(bytes)
            #expect(file.columns.map(\.name) == ["näme", "€"] && file.encoding == encoding)
            #expect(file["näme"]?.values == .text(["Müller"]))
            #expect(file.remarks.isEmpty == (encoding == .utf8))
        }
        #expect(try read([0xFF, 0xFE] + Array("x".utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] })).rows == 0)
        for bytes: [UInt8] in [
            Array("a,b\n1,2".utf8) + [0], [0xFF, 0xFE, 0x61], [0xFF, 0xFE, 0x00, 0xD8, 0x61, 0x00], [0x61, 0x81, 0x0A],
            [0xEF, 0xBB, 0xBF, 0xFF],
        ] { #expect(failure { try read(bytes) }?.description.contains("e.csv: byte") == true, "\(bytes)") }
        let astral = try read([0xFF, 0xFE] + "😀\n1\n".utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] })
        #expect(astral.columns.map(\.name) == ["😀"])
    }

    @Test func linesAndEnds() throws {
        for end in ["\n", "\r\n", "\r"] {
            let file = try table(["a,b", "1,\"x\(end == "\r" ? " " : "\n")y\"", "", "2,z", ""].joined(separator: end))
            #expect(file.rows == 2 && numbers(file, "a") == [1, 2])
        }
        let commented = try table("# made by hand\n\n  \n# more\na,b\n1,2\n")
        #expect(commented.columns.map(\.name) == ["a", "b"] && commented.rows == 1)
        let error = failure { try table("# c\na,b\n1,2\n1,2,3\n") }
        #expect(error?.description.contains("line 4: has 3 fields") == true)
        // Separators at the ends of lines, with and without one in the header.
        for text in ["a,b,\n1,2,\n3,4,\n", "a,b\n1,2,\n3,4,,\n"] {
            let file = try table(text)
            #expect(file.columns.map(\.name) == ["a", "b"] && numbers(file, "b") == [2, 4], "\(text)")
        }
        #expect(try table("a,\n1,\n3,5\n").columns.map(\.name) == ["a", "column 2"])
    }

    @Test func rowNamesAndIndices() throws {
        let r = try table("mpg,cyl\nMazda,21,6\nDatsun,22.8,4\n")
        #expect(r.columns.map(\.name) == ["row names", "mpg", "cyl"] && numbers(r, "cyl") == [6, 4])
        #expect(r["row names"]?.values == .text(["Mazda", "Datsun"]) && r.remarks.count == 1)
        let pandas = try table(",a\n0,5\n1,7\n")
        #expect(pandas.remarks.contains { $0.contains("counts the rows") })
        let other = try table(",a\n0,5\n5,7\n")
        #expect(other.remarks.contains { $0.contains("no name") } && !other.remarks.contains { $0.contains("counts") })
    }

    @Test func headersAreDoubted() throws {
        let auto = CSVTable.Options(header: .auto)
        let iris = "5.1,3.5,setosa\n4.9,3.0,setosa\n5.0,3.1,virginica\n"
        #expect(failure { try table(iris, "t.csv", auto) }?.description.contains("stands in its column again") == true)
        #expect(try table(iris, "t.csv", .init(header: .no)).rows == 3)
        #expect(try table("country,1990,1991\nChile,3.2,4.5\nPeru,1,2\n", "t.csv", auto).rows == 2)
        #expect(try table("a,b\na,1\n", "t.csv", auto).rows == 1, "no number in the header")
    }

    @Test func compressedFiles() throws {
        // printf 'a,b\n1,2\n' | gzip -n
        let packed: [UInt8] = [
            0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 0x4B, 0xD4, 0x49, 0xE2, 0x32, 0xD4, 0x31, 0xE2, 2, 0, 0x7B, 7, 0x97, 10,
            8, 0, 0, 0,
        ]
        let scratch = try Scratch()
        let file = try CSVTable(contentsOf: scratch.write(packed, to: "t.csv.gz"))
        #expect(file.columns.map(\.name) == ["a", "b"] && file.rows == 1)
    }

    @Test func dates() {
        #expect(DateSpelling.days("1970-01-01") == 0 && DateSpelling.days("1969-12-31") == -1)
        #expect(DateSpelling.days("2000-03-01") == 11017 && DateSpelling.days("29.02.2024") == 19782)
        #expect(DateSpelling.days("2024/02/29") == 19782 && DateSpelling.days("2024-2-9") == 19762)
        #expect(
            DateSpelling.days("2000-03-01T12:00") == 11017.5 && DateSpelling.days("2000-03-01 06:00:00Z") == 11017.25)
        #expect(DateSpelling.days("2000-03-01T01:00:00.5+01:00") == 11017 + 0.5 / 86_400)
        #expect(DateSpelling.days("2000-03-01T23:00-0100") == 11018)
        // Of full centuries every fourth has a leap day.
        #expect(DateSpelling.days("2000-02-29") == 11016 && DateSpelling.days("1900-03-01") == -25508)
        for text in [
            "1900-02-29", "2100-02-29", "2023-02-29", "2024-13-01", "2024-00-10", "01/02/2024", "2024", "24-01-01",
            "2024-01-01x",
            "2024-01-01T25:00",
            "2024-01-01T12:61", "", "1.5.24", "2024-01-01 12", "2024-01-01 12:00 13:00", "2024-01-01 ",
        ] { #expect(DateSpelling.days(text) == nil, "\(text)") }
    }
}
