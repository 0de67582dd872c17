import Testing

@testable import LacunaCommand

@Suite struct TableTests {
    let table = Table([.left("model"), .right("bytes")], rows: [["dense", "1,000"], ["a|b <sparse>", "7"]])

    @Test func textIsAligned() {
        #expect(
            table.text() == """
                model         bytes
                ────────────  ─────
                dense         1,000
                a|b <sparse>      7
                """)
    }

    @Test func linesDoNotEndInBlanks() {
        let text = Table([.left("a"), .left("longer")], rows: [["x", ""], ["", "y"]]).text()
        #expect(text.split(separator: "\n").allSatisfy { !$0.hasSuffix(" ") })
    }

    @Test func markdownEscapesItsSeparator() {
        #expect(
            table.markdown() == """
                | model | bytes |
                | --- | ---: |
                | dense | 1,000 |
                | a\\|b <sparse> | 7 |
                """)
    }

    @Test func htmlEscapesCells() throws {
        #expect(table.html().contains("<td>a|b &lt;sparse&gt;</td><td class=\"number\">7</td>"))
        try expectWellFormed(table.html())
    }

    @Test func coloursAreForTerminalsOnly() {
        let terminal = Console(descriptor: 1, environment: [:], isTerminal: true)
        let pipe = Console(descriptor: 1, environment: [:], isTerminal: false)
        let refusing = Console(descriptor: 1, environment: ["NO_COLOR": "1"], isTerminal: true)
        #expect(terminal.styled("x", .bold) == "\u{1B}[1mx\u{1B}[0m")
        #expect(pipe.styled("x", .bold) == "x")
        #expect(refusing.styled("x", .bold) == "x")
    }
}
