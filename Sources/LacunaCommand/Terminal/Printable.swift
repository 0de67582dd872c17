/// Text from outside, made safe for a terminal: names of tensors, columns and files may hold anything, commands to the
/// terminal included.
enum Printable {
    /// A name on one line: every control character and every mark that turns the direction of writing is spelt out, as
    /// `\u001b`.
    static func name(_ text: String) -> String { escaped(text) { _ in false } }

    /// Text that Lacuna composed: line ends, tabs and its own styles stay. The spelling of the rest is that of JSON, so JSON
    /// means the same afterwards.
    static func text(_ text: String) -> String {
        guard mayNeedEscapes(text) else { return text }
        var result = ""
        var rest = Substring(text)
        // Styles are the only commands that Lacuna sends in composed text.
        while let start = rest.firstIndex(of: "\u{1B}") {
            result += escaped(String(rest[..<start])) { $0 == "\n" || $0 == "\t" }
            rest = rest[start...]
            if let style = Console.Style.sequences.first(where: { rest.hasPrefix($0) }) {
                result += style
                rest = rest.dropFirst(style.count)
            } else {
                result += "\\u001b"
                rest = rest.dropFirst()
            }
        }
        return result + escaped(String(rest)) { $0 == "\n" || $0 == "\t" }
    }

    /// What a model wrote, on its way to a terminal.
    static func prose(_ text: String) -> String { escaped(text) { $0 == "\n" || $0 == "\t" } }

    private static func escaped(_ text: String, except isAllowed: (Unicode.Scalar) -> Bool) -> String {
        guard mayNeedEscapes(text) else { return text }
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            guard isCommand(scalar), !isAllowed(scalar) else {
                result.append(scalar)
                continue
            }
            let digits = String(scalar.value, radix: 16)
            result.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).unicodeScalars)
        }
        return String(result)
    }

    /// Controls (C0, DEL, C1), and embeddings, overrides and isolates of the writing direction.
    private static func isCommand(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F..<0xA0, 0x202A...0x202E, 0x2066...0x2069: true
        default: false
        }
    }

    /// A quick look that lets nearly all text pass as it is.
    private static func mayNeedEscapes(_ text: String) -> Bool {
        text.utf8.contains { $0 < 0x20 || $0 == 0x7F || $0 == 0xC2 || $0 == 0xE2 }
    }
}
