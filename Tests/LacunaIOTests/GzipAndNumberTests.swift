import LacunaIO
import LacunaTensor
import Testing

@Suite struct GzipAndNumberTests {
    /// A gzip file of Python's `gzip.compress(b"hello hello hello, " * 40, mtime=0)`: dynamic or fixed codes with copies.
    private static let compressed: [UInt8] = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 203, 72, 205, 201, 201, 87, 200, 64, 144, 58, 200, 156, 81,
        161, 81, 161, 225, 41, 4, 0, 187, 46, 159, 136, 248, 2, 0, 0,
    ]
    private static let text = String(repeating: "hello hello hello, ", count: 40)

    @Test func gzip() throws {
        #expect(try Gzip.decompressed(Self.compressed, file: "x") == Array(Self.text.utf8))
        #expect(try Gzip.decompressed(Self.compressed + Self.compressed, file: "x").count == 2 * Self.text.utf8.count)
        #expect(try Gzip.decompressed([1, 2, 3], file: "x") == [1, 2, 3])
        #expect(throws: LacunaError.self) { try Gzip.decompressed(Self.compressed, file: "x", limit: 100) }
        // A stored block, as RFC 1951 has it.
        let stored: [UInt8] = [
            0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 0, 0xFD, 0xFF, 104, 105, 0xAC, 0x2A, 0x93, 0xD8, 2, 0, 0, 0,
        ]
        #expect(try Gzip.decompressed(stored, file: "x") == [104, 105])
    }

    /// Damage anywhere gives an error or the right content, never a crash.
    @Test func damagedGzip() {
        for i in Self.compressed.indices {
            for change in [1, 0x80, 0xFF] as [UInt8] {
                var bytes = Self.compressed
                bytes[i] ^= change
                if let result = try? Gzip.decompressed(bytes, file: "x") {
                    #expect(result == Array(Self.text.utf8) || i < 2 || result == bytes)
                }
            }
            #expect((try? Gzip.decompressed(Array(Self.compressed[..<i]), file: "x")) == nil || i < 2)
        }
    }

    @Test func numberTables() throws {
        let plain = try NumberTable(text: "1,2\n3,4\n", file: "t")
        #expect(plain.names == nil && plain.columns == 2 && plain.values == [1, 2, 3, 4] && plain.rows == 2)
        let named = try NumberTable(text: "a;\"b\"\r\n\r\n1.5;-2e3\r\n", file: "t")
        #expect(named.names == ["a", "b"] && named.values == [1.5, -2000])
        for text in ["1,2\n3", "1,2\n3,x", "1,2\n3,nan", "1,2\n3,inf"] {
            #expect(throws: LacunaError.self) { try NumberTable(text: text, file: "t") }
        }
        #expect(try NumberTable(text: "", file: "t").rows == 0)
        do {
            _ = try NumberTable(text: "a,b\n1,2\n1,2,3\n", file: "t")
            Issue.record("accepted")
        } catch {
            #expect("\(error)".contains("line 3"))
        }
    }

    @Test func configurations() throws {
        let file = try ConfigurationFile(
            text: """
                seed = 7  # a comment
                [a.b]
                name = "x # no comment"
                list = [1, 2, 3,]
                rate = 1e-3
                big = 1_000
                flag = true
                other = 'C:\\n'
                """, file: "c.toml")
        #expect(try file.integer("seed") == 7 && file.string("a.b.name") == "x # no comment")
        #expect(try file.integers("a.b.list") == [1, 2, 3] && file.number("a.b.rate") == 1e-3)
        #expect(try file.optionalBool("a.b.flag") == true && file.integer("a.b.big") == 1000)
        #expect(throws: LacunaError.self) { try file.requireAllUsed() }
        #expect(try file.string("a.b.other") == "C:\\n")
        try file.requireAllUsed()
        #expect(try file.optionalInteger("missing") == nil)
    }

    /// Every mistake is reported with its line, and with its key where there is one.
    @Test(arguments: [
        ("a = ", "line 1: a"), ("\nb 3", "line 2: b"), ("a = 1\na = 2", "line 2: a"), ("[x]\n[x]", "line 2"),
        ("[x\n", "line 1"), ("a = \"x", "line 1: a"), ("a = [1, 2", "line 1: a"), ("a = 1 2", "line 1: a"),
        ("a = yes", "line 1: a"), ("= 3", "line 1"), ("a = \"\\q\"", "line 1: a"), ("a = 1e999", "line 1: a"),
        ("a = [[[[[[1]]]]]]", "line 1: a"),
    ])
    func mistakes(text: String, place: String) {
        do {
            _ = try ConfigurationFile(text: text, file: "c.toml")
            Issue.record("accepted \(text)")
        } catch {
            #expect("\(error)".hasPrefix("c.toml: \(place)"), "\(error)")
        }
    }

    @Test func wrongTypesNameTheLine() throws {
        let file = try ConfigurationFile(text: "[m]\nwidth = \"x\"\nrate = 5\nkind = \"z\"", file: "c.toml")
        for body in [
            { _ = try file.integer("m.width") }, { _ = try file.integers("m.width") },
            { _ = try file.number("m.rate", in: 0...1) }, { _ = try file.choice("m.kind", of: ["a", "b"]) },
            { _ = try file.integer("m.absent") },
        ] as [() throws -> Void] {
            do {
                try body()
                Issue.record("accepted")
            } catch {
                #expect("\(error)".contains("m."))
            }
        }
        do { _ = try file.choice("m.kind", of: ["a", "b"]) } catch { #expect("\(error)".contains("line 4: m.kind")) }
    }
}
