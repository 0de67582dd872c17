/// A regular expression, taken apart.
indirect enum ExpressionNode: Sendable, Equatable {
    case set(CharacterSet)
    case sequence([ExpressionNode])
    case alternatives([ExpressionNode])
    /// `greed` as in `*`, `*?` and `*+`.
    case repetition(ExpressionNode, minimum: Int, maximum: Int?, greed: Greed)
    case look(ExpressionNode, ahead: Bool, negated: Bool)
    case atomic(ExpressionNode)
    /// `^` and `$`: at an end of a line.
    case lineStart
    case lineEnd
    /// `\A` and `\z`.
    case textStart
    case textEnd

    enum Greed: Sendable { case greedy, lazy, possessive }

    /// Whether it can match nothing.
    var canBeEmpty: Bool {
        switch self {
        case .set: false
        case .sequence(let parts): parts.allSatisfy(\.canBeEmpty)
        case .alternatives(let parts): parts.contains(where: \.canBeEmpty)
        case .repetition(let body, let minimum, _, _): minimum == 0 || body.canBeEmpty
        case .atomic(let body): body.canBeEmpty
        case .look, .lineStart, .lineEnd, .textStart, .textEnd: true
        }
    }

    /// How many characters it matches, if that is always the same.
    var fixedLength: Int? {
        switch self {
        case .set: return 1
        case .sequence(let parts):
            return parts.reduce(0) { sum, part in sum.flatMap { sum in part.fixedLength.map { sum + $0 } } }
        case .alternatives(let parts):
            let lengths = Set(parts.map(\.fixedLength))
            return lengths.count == 1 ? lengths.first! : nil
        case .repetition(let body, let minimum, let maximum, _):
            return maximum == minimum ? body.fixedLength.map { $0 * minimum } : nil
        case .atomic(let body): return body.fixedLength
        case .look, .lineStart, .lineEnd, .textStart, .textEnd: return 0
        }
    }
}

/// Why a regular expression is not understood.
struct ExpressionError: Error {
    let what: String
}

/// Reads the regular expressions of tokenizers, which follow Oniguruma's Ruby syntax: alternatives, groups, classes with
/// sets and intersections, `\p{…}`, greedy, lazy and possessive repetitions, looking ahead and behind, atomic groups, and
/// case folding of ASCII by `(?i:…)`. Everything else is refused by name.
struct ExpressionParser {
    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var ignoresCase = false
    private var depth = 0

    static func parse(_ text: String) throws(ExpressionError) -> ExpressionNode {
        var parser = ExpressionParser(text)
        let node = try parser.alternatives()
        guard parser.position == parser.scalars.count else { throw ExpressionError(what: "an unmatched ')'") }
        return node
    }

    private init(_ text: String) { scalars = Array(text.unicodeScalars) }

    private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    private mutating func take(_ text: String) -> Bool {
        let wanted = Array(text.unicodeScalars)
        guard scalars[position...].starts(with: wanted) else { return false }
        position += wanted.count
        return true
    }

    private mutating func alternatives() throws(ExpressionError) -> ExpressionNode {
        depth += 1
        defer { depth -= 1 }
        guard depth < 64 else { throw ExpressionError(what: "groups nested 64 deep") }
        let outer = ignoresCase
        defer { ignoresCase = outer }
        var parts = [try sequence()]
        while take("|") { parts.append(try sequence()) }
        return parts.count == 1 ? parts[0] : .alternatives(parts)
    }

    private mutating func sequence() throws(ExpressionError) -> ExpressionNode {
        var parts: [ExpressionNode] = []
        // Letters that fold together with one neighbour, such as those of ß.
        var folded: [Unicode.Scalar] = []
        while let scalar = next, scalar != "|", scalar != ")" {
            let start = position
            guard let atom = try atom() else { continue }
            let repeated = try repetition(of: atom)
            if ignoresCase, position == start + 1, "\u{61}"..."\u{7A}" ~= scalar || "\u{41}"..."\u{5A}" ~= scalar {
                folded.append(Unicode.Scalar(scalar.value | 0x20)!)
                let tail = String(String.UnicodeScalarView(folded.suffix(2)))
                if ["ss", "st", "ff", "fi", "fl"].contains(tail) {
                    throw ExpressionError(what: "'\(tail)' without regard to case, which a single character also is")
                }
            } else {
                folded = []
            }
            parts.append(repeated)
        }
        return parts.count == 1 ? parts[0] : .sequence(parts)
    }

    /// Nil for what matches nothing by itself, such as a change of options.
    private mutating func atom() throws(ExpressionError) -> ExpressionNode? {
        let scalar = scalars[position]
        switch scalar {
        case "(": return try group()
        case "[":
            position += 1
            return .set(CharacterSet(try characterClass()))
        case "\\":
            position += 1
            return try escape()
        case ".":
            position += 1
            return .set(CharacterSet(.not(.ranges([0x0A...0x0A]))))
        case "^":
            position += 1
            return .lineStart
        case "$":
            position += 1
            return .lineEnd
        case "*", "+", "?": throw ExpressionError(what: "a '\(scalar)' that repeats nothing")
        default:
            position += 1
            return .set(try literal(scalar))
        }
    }

    private func literal(_ scalar: Unicode.Scalar) throws(ExpressionError) -> CharacterSet {
        CharacterSet(.ranges(try folded(scalar.value...scalar.value)))
    }

    /// A range together with what equals its characters without regard to case.
    private func folded(_ range: ClosedRange<UInt32>) throws(ExpressionError) -> [ClosedRange<UInt32>] {
        guard ignoresCase else { return [range] }
        var result = [range]
        for value in range {
            guard value < 0x80 else { throw ExpressionError(what: "characters beyond ASCII without regard to case") }
            guard case 0x61...0x7A = value | 0x20 else { continue }
            result.append((value ^ 0x20)...(value ^ 0x20))
            // The long s and the sign of the kelvin.
            if value | 0x20 == 0x73 { result.append(0x17F...0x17F) }
            if value | 0x20 == 0x6B { result.append(0x212A...0x212A) }
        }
        return result
    }

    private mutating func group() throws(ExpressionError) -> ExpressionNode? {
        position += 1
        guard take("?") else { return try finishGroup { $0 } }
        if take(":") { return try finishGroup { $0 } }
        if take(">") { return try finishGroup { .atomic($0) } }
        if take("=") { return try finishGroup { .look($0, ahead: true, negated: false) } }
        if take("!") { return try finishGroup { .look($0, ahead: true, negated: true) } }
        if take("<=") { return try lookBehind(negated: false) }
        if take("<!") { return try lookBehind(negated: true) }
        if take("i:") { return try finishGroup(ignoringCase: true) { $0 } }
        if take("-i:") { return try finishGroup(ignoringCase: false) { $0 } }
        if take("i)") {
            ignoresCase = true
            return nil
        }
        let name = next.map { String($0) } ?? ""
        throw ExpressionError(what: "a group that begins with '(?\(name)'")
    }

    private mutating func finishGroup(
        ignoringCase: Bool? = nil, _ make: (ExpressionNode) -> ExpressionNode
    ) throws(ExpressionError) -> ExpressionNode {
        let outer = ignoresCase
        if let ignoringCase { ignoresCase = ignoringCase }
        let body = try alternatives()
        ignoresCase = outer
        guard take(")") else { throw ExpressionError(what: "a group without ')'") }
        return make(body)
    }

    private mutating func lookBehind(negated: Bool) throws(ExpressionError) -> ExpressionNode {
        let node = try finishGroup { .look($0, ahead: false, negated: negated) }
        guard case .look(let body, _, _) = node else { return node }
        let parts = if case .alternatives(let parts) = body { parts } else { [body] }
        guard parts.allSatisfy({ $0.fixedLength != nil }) else {
            throw ExpressionError(what: "looking behind for something of no fixed length")
        }
        return node
    }

    private mutating func repetition(of atom: ExpressionNode) throws(ExpressionError) -> ExpressionNode {
        var node = atom
        while let (minimum, maximum, isInterval) = try quantifier() {
            var greed = ExpressionNode.Greed.greedy
            if take("?") {
                guard !isInterval || minimum != maximum else {
                    throw ExpressionError(what: "'{\(minimum)}?', whose meaning depends on the dialect")
                }
                greed = .lazy
            } else if !isInterval, take("+") {
                greed = .possessive
            }
            if case .look = node { throw ExpressionError(what: "a repeated look ahead or behind") }
            guard maximum == 1 || !node.canBeEmpty else {
                throw ExpressionError(what: "a repetition of something that can be empty")
            }
            node = .repetition(node, minimum: minimum, maximum: maximum, greed: greed)
        }
        return node
    }

    private mutating func quantifier() throws(ExpressionError) -> (minimum: Int, maximum: Int?, isInterval: Bool)? {
        if take("*") { return (0, nil, false) }
        if take("+") { return (1, nil, false) }
        if take("?") { return (0, 1, false) }
        guard next == "{" else { return nil }
        let start = position
        position += 1
        func number() -> Int? {
            var value: Int?
            while let digit = next, "0"..."9" ~= digit, (value ?? 0) <= 1000 {
                value = (value ?? 0) * 10 + Int(digit.value - 0x30)
                position += 1
            }
            return value
        }
        let first = number()
        let hasComma = take(",")
        let second = hasComma ? number() : first
        guard take("}"), first != nil || hasComma && second != nil else {
            position = start
            throw ExpressionError(what: "a '{' that begins no repetition")
        }
        let minimum = first ?? 0
        guard minimum <= 1000, second ?? 0 <= 1000, second ?? minimum >= minimum else {
            throw ExpressionError(what: "a repetition of more than 1000 times or in the wrong order")
        }
        return (minimum, hasComma ? second : minimum, true)
    }

    // MARK: Classes

    private mutating func escape() throws(ExpressionError) -> ExpressionNode {
        guard let scalar = next else { throw ExpressionError(what: "a '\\' at the end") }
        switch scalar {
        case "A":
            position += 1
            return .textStart
        case "z":
            position += 1
            return .textEnd
        default:
            switch try escapedMember() {
            case .one(let value):
                guard let scalar = Unicode.Scalar(value) else { throw ExpressionError(what: "a surrogate") }
                return .set(try literal(scalar))
            case .many(let expression): return .set(CharacterSet(expression))
            }
        }
    }

    private enum Member {
        case one(UInt32)
        case many(CharacterSet.Expression)
    }

    /// What follows a `\`, in a class or outside.
    private mutating func escapedMember() throws(ExpressionError) -> Member {
        guard let scalar = next else { throw ExpressionError(what: "a '\\' at the end") }
        position += 1
        switch scalar {
        case "n": return .one(0x0A)
        case "r": return .one(0x0D)
        case "t": return .one(0x09)
        case "f": return .one(0x0C)
        case "v": return .one(0x0B)
        case "a": return .one(0x07)
        case "e": return .one(0x1B)
        case "s": return .many(.whitespace)
        case "S": return .many(.not(.whitespace))
        case "d": return .many(.categories(UnicodeClasses.bit(.decimalNumber)))
        case "D": return .many(.not(.categories(UnicodeClasses.bit(.decimalNumber))))
        case "w": return .many(.word)
        case "W": return .many(.not(.word))
        case "p": return .many(try property(negated: false))
        case "P": return .many(try property(negated: true))
        case "u": return .one(try hexadecimal(digits: 4))
        case "x":
            guard take("{") else { return .one(try hexadecimal(digits: 2)) }
            let value = try hexadecimal(digits: nil)
            guard take("}") else { throw ExpressionError(what: "'\\x{' without '}'") }
            return .one(value)
        case "0"..."9", "a"..."z", "A"..."Z": throw ExpressionError(what: "the escape '\\\(scalar)'")
        default: return .one(scalar.value)
        }
    }

    private mutating func hexadecimal(digits: Int?) throws(ExpressionError) -> UInt32 {
        var (value, count) = (UInt32(0), 0)
        while let scalar = next, let digit = scalar.hexadecimalValue, count < digits ?? 6 {
            value = value << 4 | digit
            count += 1
            position += 1
        }
        guard count > 0, digits == nil || count == digits, value <= 0x10FFFF else {
            throw ExpressionError(what: "a malformed code of a character")
        }
        return value
    }

    private mutating func property(negated: Bool) throws(ExpressionError) -> CharacterSet.Expression {
        guard take("{") else { throw ExpressionError(what: "'\\p' without '{'") }
        let isInverted = take("^") != negated
        var name = ""
        while let scalar = next, scalar != "}" {
            name.unicodeScalars.append(scalar)
            position += 1
        }
        guard take("}") else { throw ExpressionError(what: "'\\p{' without '}'") }
        guard let mask = Self.categories[name] else { throw ExpressionError(what: "the property '\(name)'") }
        if ignoresCase, ["Lu", "Ll", "Lt"].contains(name) {
            throw ExpressionError(what: "the property '\(name)' without regard to case")
        }
        return isInverted ? .not(.categories(mask)) : .categories(mask)
    }

    private static let categories: [String: UInt32] = {
        typealias Classes = UnicodeClasses
        return [
            "L": Classes.letters, "Letter": Classes.letters, "Lu": Classes.bit(.uppercaseLetter),
            "Ll": Classes.bit(.lowercaseLetter), "Lt": Classes.bit(.titlecaseLetter),
            "Lm": Classes.bit(.modifierLetter), "Lo": Classes.bit(.otherLetter), "M": Classes.marks,
            "Mark": Classes.marks, "Mn": Classes.bit(.nonspacingMark), "Mc": Classes.bit(.spacingMark),
            "Me": Classes.bit(.enclosingMark), "N": Classes.numbers, "Number": Classes.numbers,
            "Nd": Classes.bit(.decimalNumber), "Nl": Classes.bit(.letterNumber), "No": Classes.bit(.otherNumber),
            "P": Classes.punctuation, "Punctuation": Classes.punctuation, "Pc": Classes.bit(.connectorPunctuation),
            "Pd": Classes.bit(.dashPunctuation), "Ps": Classes.bit(.openPunctuation),
            "Pe": Classes.bit(.closePunctuation), "Pi": Classes.bit(.initialPunctuation),
            "Pf": Classes.bit(.finalPunctuation), "Po": Classes.bit(.otherPunctuation), "S": Classes.symbols,
            "Symbol": Classes.symbols, "Sm": Classes.bit(.mathSymbol), "Sc": Classes.bit(.currencySymbol),
            "Sk": Classes.bit(.modifierSymbol), "So": Classes.bit(.otherSymbol), "Z": Classes.separators,
            "Zs": Classes.bit(.spaceSeparator), "Zl": Classes.bit(.lineSeparator),
            "Zp": Classes.bit(.paragraphSeparator), "C": Classes.others, "Cc": Classes.bit(.control),
            "Cf": Classes.bit(.format), "Co": Classes.bit(.privateUse), "Cn": Classes.bit(.unassigned),
        ]
    }()

    /// What stands between `[` and `]`.
    private mutating func characterClass() throws(ExpressionError) -> CharacterSet.Expression {
        depth += 1
        defer { depth -= 1 }
        guard depth < 64 else { throw ExpressionError(what: "classes nested 64 deep") }
        let isInverted = take("^")
        var intersected: [CharacterSet.Expression] = []
        var members: [CharacterSet.Expression] = []
        var isFirst = true
        while true {
            guard let scalar = next else { throw ExpressionError(what: "a class without ']'") }
            if scalar == "]" && !isFirst {
                position += 1
                break
            }
            isFirst = false
            if take("&&") {
                intersected.append(.union(members))
                members = []
                continue
            }
            if scalars[position...].starts(with: "[:".unicodeScalars) {
                throw ExpressionError(what: "a class by name, '[:'")
            }
            if take("[") {
                members.append(try characterClass())
                continue
            }
            let member = try classMember()
            guard case .one(let first) = member else {
                if case .many(let expression) = member { members.append(expression) }
                continue
            }
            // A hyphen at the end of a class stands for itself.
            if next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" {
                position += 1
                guard case .one(let last) = try classMember(), last >= first else {
                    throw ExpressionError(what: "a range that ends before it begins")
                }
                members.append(.ranges(try folded(first...last)))
            } else {
                members.append(.ranges(try folded(first...first)))
            }
        }
        let union = members.count == 1 ? members[0] : .union(members)
        let all = intersected.isEmpty ? union : .intersection(intersected + [union])
        return isInverted ? .not(all) : all
    }

    private mutating func classMember() throws(ExpressionError) -> Member {
        if take("\\") { return try escapedMember() }
        defer { position += 1 }
        return .one(scalars[position].value)
    }
}

extension Unicode.Scalar {
    fileprivate var hexadecimalValue: UInt32? {
        switch value {
        case 0x30...0x39: value - 0x30
        case 0x41...0x46: value - 0x37
        case 0x61...0x66: value - 0x57
        default: nil
        }
    }
}
