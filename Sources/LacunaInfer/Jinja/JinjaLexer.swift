/// What a template is made of.
struct JinjaToken: Sendable, Equatable {
    enum Kind: Sendable, Equatable {
        /// Text between tags.
        case data(String)
        case blockBegin, blockEnd
        case variableBegin, variableEnd
        case name(String)
        case string(String)
        case integer(Int)
        case number(Double)
        case symbol(String)
        case end
    }

    let kind: Kind
    let line: Int
}

/// Cuts a template into tokens, with white space around tags as chat templates are published for: a line break after a
/// block tag goes (`trim_blocks`), and so do blanks before one that begins its line (`lstrip_blocks`).
struct JinjaLexer {
    private let source: [Unicode.Scalar]
    private var position = 0
    private var line = 1
    private var tokens: [JinjaToken] = []
    /// The last tag ended with the end of its line.
    private var startsLine = true

    static func tokens(of source: String) throws -> [JinjaToken] {
        var lexer = JinjaLexer(source)
        try lexer.run()
        return lexer.tokens
    }

    private init(_ source: String) {
        var scalars: [Unicode.Scalar] = []
        scalars.reserveCapacity(source.utf8.count)
        // All line ends are one character, and one at the very end is none.
        for scalar in source.unicodeScalars {
            if scalar == "\n", scalars.last == "\r" { scalars.removeLast() }
            scalars.append(scalar)
        }
        scalars = scalars.map { $0 == "\r" ? "\n" : $0 }
        if scalars.last == "\n" { scalars.removeLast() }
        self.source = scalars
    }

    private func looksAt(_ text: String, at offset: Int? = nil) -> Bool {
        source[(offset ?? position)...].starts(with: text.unicodeScalars)
    }

    private mutating func advance(_ count: Int) {
        for i in position..<position + count where source[i] == "\n" { line += 1 }
        position += count
    }

    private mutating func skipSpace() {
        while position < source.count, source[position].isPythonSpace { advance(1) }
    }

    private mutating func emit(_ kind: JinjaToken.Kind) { tokens.append(JinjaToken(kind: kind, line: line)) }

    private mutating func run() throws {
        while position < source.count {
            let start = position
            var next = start
            while next < source.count, !isTag(next) { next += 1 }
            let sign = next + 2 < source.count ? source[next + 2] : " "
            emitData(start..<next, beforeTag: next < source.count, sign: sign)
            advance(next - start)
            if next < source.count { try tag(sign) }
        }
        emit(.end)
    }

    private func isTag(_ i: Int) -> Bool {
        source[i] == "{" && i + 1 < source.count
            && (source[i + 1] == "{" || source[i + 1] == "%" || source[i + 1] == "#")
    }

    private mutating func emitData(_ range: Range<Int>, beforeTag: Bool, sign: Unicode.Scalar) {
        var end = range.upperBound
        if beforeTag && sign == "-" {
            while end > range.lowerBound, source[end - 1].isPythonSpace { end -= 1 }
        } else if beforeTag && sign != "+" && source[range.upperBound + 1] != "{" {
            let lineStart = source[range].lastIndex(of: "\n").map { $0 + 1 }
            let from = lineStart ?? range.lowerBound
            if lineStart != nil || startsLine, source[from..<range.upperBound].allSatisfy(\.isPythonSpace) {
                end = from
            }
        }
        guard end > range.lowerBound else { return }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: source[range.lowerBound..<end])
        emit(.data(String(view)))
    }

    private mutating func tag(_ sign: Unicode.Scalar) throws {
        let kind = source[position + 1]
        let opening = line
        advance(2)
        if sign == "-" || sign == "+" { advance(1) }
        switch kind {
        case "#":
            while position < source.count, !looksAt("#}") { advance(1) }
            guard position < source.count else { throw JinjaFailure.wrong("a comment that does not end", opening) }
            finishTag(2, sign: source[position - 1])
        case "{":
            emit(.variableBegin)
            try inside("}}", .variableEnd, opening)
        default:
            if try raw(opening) { return }
            emit(.blockBegin)
            try inside("%}", .blockEnd, opening)
        }
    }

    /// Passes the end of a block tag or a comment, with the white space that goes with it.
    private mutating func finishTag(_ length: Int, sign: Unicode.Scalar) {
        advance(length)
        let start = position
        if sign == "-" {
            skipSpace()
        } else if sign != "+", position < source.count, source[position] == "\n" {
            advance(1)
        }
        startsLine = position > start && source[position - 1] == "\n"
    }

    /// `raw … endraw`, if that is where the tag begins.
    private mutating func raw(_ opening: Int) throws -> Bool {
        var i = position
        while i < source.count, source[i].isPythonSpace { i += 1 }
        guard looksAt("raw", at: i) else { return false }
        i += 3
        while i < source.count, source[i].isPythonSpace { i += 1 }
        let isStripping = looksAt("-%}", at: i)
        guard isStripping || looksAt("%}", at: i) else { return false }
        advance(i + (isStripping ? 3 : 2) - position)
        if isStripping { skipSpace() }
        startsLine = false
        let start = position
        while position < source.count {
            guard looksAt("{%") else {
                advance(1)
                continue
            }
            let tagStart = position
            var end = position + 2
            let sign: Unicode.Scalar = end < source.count ? source[end] : " "
            if sign == "-" || sign == "+" { end += 1 }
            while end < source.count, source[end].isPythonSpace { end += 1 }
            guard looksAt("endraw", at: end) else {
                advance(1)
                continue
            }
            end += 6
            while end < source.count, source[end].isPythonSpace { end += 1 }
            let last: Unicode.Scalar = end < source.count ? source[end] : " "
            if last == "-" || last == "+" { end += 1 }
            guard looksAt("%}", at: end) else {
                advance(1)
                continue
            }
            emitData(start..<tagStart, beforeTag: true, sign: sign)
            advance(end - position)
            finishTag(2, sign: last)
            return true
        }
        throw JinjaFailure.wrong("'raw' without 'endraw'", opening)
    }

    private static let symbols = [
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=",
        ".", ":", "|", ",", ";",
    ]

    private mutating func inside(_ ending: String, _ kind: JinjaToken.Kind, _ opening: Int) throws {
        var open: [String] = []
        while true {
            skipSpace()
            guard position < source.count else { throw JinjaFailure.wrong("a tag that does not end", opening) }
            // Braces of a dictionary are not the end of a tag.
            if open.isEmpty {
                let isSigned = source[position] == "-" || source[position] == "+" && kind == .blockEnd
                if looksAt(ending, at: position + (isSigned ? 1 : 0)) {
                    let sign = isSigned ? source[position] : " "
                    emit(kind)
                    if kind == .blockEnd {
                        finishTag(isSigned ? 3 : 2, sign: sign)
                    } else {
                        advance(isSigned ? 3 : 2)
                        let start = position
                        if sign == "-" { skipSpace() }
                        startsLine = position > start && source[position - 1] == "\n"
                    }
                    return
                }
            }
            let scalar = source[position]
            if scalar == "'" || scalar == "\"" {
                try string(scalar)
            } else if "0"..."9" ~= scalar {
                try number()
            } else if scalar == "_" || scalar.properties.isXIDStart {
                var end = position
                while end < source.count, source[end] == "_" || source[end].properties.isXIDContinue { end += 1 }
                emit(.name(text(position..<end)))
                advance(end - position)
            } else if let symbol = Self.symbols.first(where: { looksAt($0) }) {
                if ["(", "[", "{"].contains(symbol) { open.append(symbol) }
                if let partner = [")": "(", "]": "[", "}": "{"][symbol] {
                    guard open.popLast() == partner else { throw JinjaFailure.wrong("an unmatched '\(symbol)'", line) }
                }
                emit(.symbol(symbol))
                advance(symbol.count)
            } else {
                throw JinjaFailure.wrong("the character '\(scalar)'", line)
            }
        }
    }

    private func text(_ range: Range<Int>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: source[range])
        return String(view)
    }

    private mutating func number() throws {
        var end = position
        func digits() { while end < source.count, "0"..."9" ~= source[end] || source[end] == "_" { end += 1 } }
        digits()
        var isWhole = true
        if end + 1 < source.count, source[end] == ".", "0"..."9" ~= source[end + 1] {
            isWhole = false
            end += 1
            digits()
        }
        if end < source.count, source[end] == "e" || source[end] == "E" {
            var i = end + 1
            if i < source.count, source[i] == "+" || source[i] == "-" { i += 1 }
            if i < source.count, "0"..."9" ~= source[i] {
                isWhole = false
                end = i
                digits()
            }
        }
        let spelled = text(position..<end).filter { $0 != "_" }
        if isWhole, let value = Int(spelled) {
            emit(.integer(value))
        } else if !isWhole, let value = Double(spelled) {
            emit(.number(value))
        } else {
            throw JinjaFailure.unsupported("the number \(spelled)", line)
        }
        advance(end - position)
    }

    private mutating func string(_ quote: Unicode.Scalar) throws {
        let opening = line
        var view = String.UnicodeScalarView()
        var i = position + 1
        while true {
            guard i < source.count else { throw JinjaFailure.wrong("a string that does not end", opening) }
            if source[i] == quote { break }
            guard source[i] == "\\", i + 1 < source.count else {
                view.append(source[i])
                i += 1
                continue
            }
            let escape = source[i + 1]
            i += 2
            switch escape {
            case "n": view.append("\n")
            case "r": view.append("\r")
            case "t": view.append("\t")
            case "b": view.append("\u{8}")
            case "f": view.append("\u{C}")
            case "v": view.append("\u{B}")
            case "a": view.append("\u{7}")
            case "\\", "'", "\"": view.append(escape)
            case "\n": break
            case "x", "u", "U":
                let count = escape == "x" ? 2 : escape == "u" ? 4 : 8
                guard i + count <= source.count, let value = UInt32(text(i..<i + count), radix: 16),
                    let scalar = Unicode.Scalar(value)
                else { throw JinjaFailure.unsupported("the escape '\\\(escape)' in a string", opening) }
                view.append(scalar)
                i += count
            case "0"..."7", "N": throw JinjaFailure.unsupported("the escape '\\\(escape)' in a string", opening)
            // As in Python, a backslash before anything else is one.
            default:
                view.append("\\")
                view.append(escape)
            }
        }
        emit(.string(String(view)))
        advance(i + 1 - position)
    }
}
