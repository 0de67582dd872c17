import Foundation
import LacunaIO
import LacunaTensor
import Testing

@Suite struct ConfigurationTests {
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
        // Larger than a piece of output, and ending exactly with one.
        for count in [(1 << 18) - 1, 1 << 18, (1 << 18) + 1, 1_000_000] {
            let zeros = try Self.zeros(count)
            #expect(try Gzip.decompressed(zeros, file: "x") == [UInt8](repeating: 0, count: count))
            #expect(throws: LacunaError.self) { try Gzip.decompressed(zeros, file: "x", limit: count - 1) }
            #expect(throws: LacunaError.self) { try Gzip.decompressed(Array(zeros.dropLast()), file: "x") }
        }
        #expect(throws: LacunaError.self) { try Gzip.decompressed(Self.compressed + [1], file: "x") }
    }

    /// A gzip file of zeros, by the program of that name.
    private static func zeros(_ count: Int) throws -> [UInt8] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", "head -c \(count) /dev/zero | gzip -c"]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let bytes = [UInt8](output.fileHandleForReading.readDataToEndOfFile())
        process.waitUntilExit()
        return bytes
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
        // What of TOML is not read is named.
        ("a = [1,\n2]", "line 1: a: an array ends on the line where it begins"),
        ("a = [\n1]", "line 1: a: an array ends on the line where it begins"),
        ("a = {b = 1}", "line 1: a: inline tables are not read"), ("[[a]", "line 1: expected ']]'"),
        ("[a]\n[[a]]", "line 2: 'a' cannot be an array"),
        ("[[a]]\n[a]", "line 2: 'a' is an array of tables"), ("[[a.b]]", "line 1: 'a.b' cannot be an array"),
        ("a = \"\"\"x\"\"\"", "line 1: a: strings in three quotation marks are not read"),
        ("\"a b\" = 1", "line 1: quoted keys are not read"),
        ("a = 1979-05-27", "line 1: a: '1979-05-27': dates and times are not read"),
        ("a = 07:32:00", "line 1: a: '07:32:00': dates and times are not read"),
        ("a = 0xFF", "line 1: a: '0xFF': integers are read in decimal only"),
        ("a = -inf", "line 1: a: '-inf' is no finite number"),
        ("a = True", "line 1: a: 'True' is no value; write true"),
    ])
    func mistakes(text: String, place: String) {
        do {
            _ = try ConfigurationFile(text: text, file: "c.toml")
            Issue.record("accepted \(text)")
        } catch {
            #expect("\(error)".hasPrefix("c.toml: \(place)"), "\(error)")
        }
    }

    @Test func misspeltNamesAreGuessed() throws {
        let file = try ConfigurationFile(text: "[model]\nkind = \"mpl\"\nhiden = 3", file: "c.toml")
        _ = try file.optionalInteger("model.hidden")
        #expect(
            failure { try file.choice("model.kind", of: ["mlp", "cnn"]) }
                == .malformed(
                    file: "c.toml", location: "line 2: model.kind",
                    reason: "'mpl' is none of mlp, cnn; did you mean 'mlp'?"))
        #expect(
            failure { try file.requireAllUsed() }
                == .malformed(
                    file: "c.toml", location: "line 3: model.hiden",
                    reason: "is no setting here; did you mean 'model.hidden'?"))
    }

    @Test func otherSettingsAreNamed() throws {
        let before = try ConfigurationFile(text: "a = 1\n[s]\nb = 0.5\nc = [1, 2]", file: "old").settings
        let kept = try JSONValue(parsing: before.serialized())
        // Order, comments and spelling are not settings.
        try ConfigurationFile(text: "s.c = [ 1,2 ]\ns.b = 5e-1 # half\na = 1", file: "c").requireSettings(
            kept, of: "it")
        func mistake(_ text: String) -> LacunaError? {
            failure { try ConfigurationFile(text: text, file: "c").requireSettings(kept, of: "it") }
        }
        #expect(
            mistake("a = 2\ns.b = 0.5\ns.c = [1, 3]")
                == .malformed(file: "c", location: "line 1: a", reason: "is 2, but it has 1"))
        #expect(
            mistake("a = 1\ns.b = 0.5\ns.c = [1, 2]\nd = 1")
                == .malformed(file: "c", location: "line 4: d", reason: "is 1, but it has no such setting"))
        #expect(
            mistake("a = 1\ns.c = [1, 2]")
                == .malformed(file: "c", location: "s.b", reason: "is missing, but it has 0.5"))
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
