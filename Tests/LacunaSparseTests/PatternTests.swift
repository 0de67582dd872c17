import LacunaSparse
import LacunaTensor
import Testing

@Suite struct PatternTests {
    @Test func spellingsReadBack() throws {
        let spelled: [(String, Pattern)] = [
            ("unstructured", .unstructured(.layer)), ("unstructured:row", .unstructured(.row)),
            ("unstructured:global", .unstructured(.global)), ("2:4", .nm(n: 2, m: 4)), ("4:8", .nm(n: 4, m: 8)),
            ("1:1024", .nm(n: 1, m: 1024)), ("2:4:output", .nm(n: 2, m: 4, axis: .output)),
            ("block:16x1", .block(rows: 16, columns: 1)), ("block:1x32", .block(rows: 1, columns: 32)),
            ("rows", .rows), ("columns", .columns),
        ]
        for (text, pattern) in spelled {
            #expect(try Pattern(text) == pattern)
            #expect(pattern.description == text)
        }
        #expect(try Pattern("unstructured:layer") == .unstructured(.layer))
        #expect(try Pattern("2:4:input") == .nm(n: 2, m: 4))
    }

    @Test(arguments: [
        "", ":", "x", "2:", ":4", "2:4:", "2:4:rows", "2:4:input:1", "n:m", "+2:4", "-2:4", "2.0:4", "2 :4", "0:4",
        "4:4",
        "5:4", "2:1025", "0:0", "99999999999999999999:4", "block", "block:", "block:16", "block:x", "block:16x",
        "block:0x4",
        "block:4x0", "block:-4x4", "block:4x4x4", "block:4:4", "unstructured:", "unstructured:head", "Rows", "rows:2",
        "columns:x", "2:٤",
    ])
    func badSpellingsAreRefused(text: String) {
        #expect {
            try Pattern(text)
        } throws: { error in
            if case LacunaError.invalidArgument("pattern", _) = error { true } else { false }
        }
    }

    @Test func impliedSparsity() {
        #expect(Pattern.nm(n: 1, m: 4).impliedSparsity == 0.75)
        #expect(Pattern.rows.impliedSparsity == nil && Pattern.unstructured(.row).impliedSparsity == nil)
    }
}
