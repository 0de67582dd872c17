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
            ("rows", .rows), ("columns", .columns), ("heads:64", .heads(64)),
            ("heads:8:input", .heads(8, axis: .input)),
            ("block:16x16:row", .block(rows: 16, columns: 16, .row)),
            ("rows:global", Pattern(.rows(1), .scope(.global))),
            ("block:4x1:2:4", Pattern(.block(rows: 4, columns: 1), .every(4, along: .input), keep: 2)),
            ("block:4x1:2:4:output", Pattern(.block(rows: 4, columns: 1), .every(4, along: .output), keep: 2)),
            ("rows:1:2", Pattern(.rows(1), .every(2, along: .output), keep: 1)),
            ("heads:8:input:1:2", Pattern(.columns(8), .every(2, along: .input), keep: 1)),
            ("any:4", .anyOf(4)), ("any:8:output", .anyOf(8, axis: .output)),
            ("columns:any:4", Pattern(.columns(1), .every(4, along: .input))),
        ]
        for (text, pattern) in spelled {
            #expect(try Pattern(text) == pattern)
            #expect(pattern.description == text)
        }
        #expect(try Pattern("unstructured:layer") == .unstructured(.layer))
        #expect(try Pattern("2:4:input") == .nm(n: 2, m: 4))
        #expect(try Pattern("unstructured:2:4") == .nm(n: 2, m: 4) && Pattern("heads:1") == .rows)
    }

    @Test(arguments: [
        "", ":", "x", "2:", ":4", "2:4:", "2:4:rows", "2:4:input:1", "n:m", "+2:4", "-2:4", "2.0:4", "2 :4", "0:4",
        "4:4",
        "5:4", "2:1025", "0:0", "99999999999999999999:4", "block", "block:", "block:16", "block:x", "block:16x",
        "block:0x4",
        "block:4x0", "block:-4x4", "block:4x4x4", "block:4:4", "unstructured:", "unstructured:head", "Rows", "rows:2",
        "columns:x", "2:٤", "rows:row", "columns:row", "rows:2:4:input", "columns:2:4:output", "heads", "heads:",
        "heads:0",
        "heads:x", "heads:4:output", "any", "any:", "any:1", "any:2000", "block:2x2:4:4", "block:2x2:x",
        "unstructured:x:y",
        "unstructured:any", "2:4:4", "layer", "rows:2:4:output:x",
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
        #expect(Pattern.anyOf(4).impliedSparsity == nil && Pattern.anyOf(4).group == nil)
        #expect(Pattern.rows.impliedSparsity == nil && Pattern.unstructured(.row).impliedSparsity == nil)
    }
}
