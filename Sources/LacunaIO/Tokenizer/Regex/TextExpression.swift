import LacunaTensor

/// A compiled regular expression over UTF-8 text: backtracking, the first alternative that fits, as Oniguruma matches.
struct TextExpression: Sendable {
    private enum Instruction: Sendable {
        /// One character of a set.
        case set(Int)
        case byte(UInt8)
        /// As many characters of a set as there are, up to a number; fewer if what follows does not match then.
        case run(Int, minimum: Int, maximum: Int, isPossessive: Bool)
        /// The first way, and if that fails the second.
        case choice(Int, Int)
        case jump(Int)
        /// Whether the program at a place matches from here; `back` characters further back for each alternative.
        case look(start: Int, back: Int?, negated: Bool, next: Int)
        case atomic(start: Int, next: Int)
        case lineStart, lineEnd, textStart, textEnd
        case accept
    }

    private var program: [Instruction] = []
    private var sets: [CharacterSet] = []
    /// Where the alternatives of the whole expression begin, in order.
    private var entries: [Int] = []
    /// Which of them can begin with a byte, as bits; the last element is for the end of the text.
    private var candidates = [UInt64](repeating: 0, count: 257)

    private static let sizeLimit = 20_000

    init(_ text: String) throws(ExpressionError) {
        let node = try ExpressionParser.parse(text)
        let parts = if case .alternatives(let parts) = node, parts.count <= 64 { parts } else { [node] }
        for (index, part) in parts.enumerated() {
            entries.append(program.count)
            try compile(part)
            program.append(.accept)
            let first = firstBytes(part)
            for byte in 0...256 where first.canBeEmpty || byte < 256 && first.bytes[byte] {
                candidates[byte] |= 1 << UInt64(index)
            }
        }
    }

    // MARK: Compiling

    private mutating func append(_ instruction: Instruction) throws(ExpressionError) {
        guard program.count < Self.sizeLimit else { throw ExpressionError(what: "an expression of this size") }
        program.append(instruction)
    }

    private mutating func index(_ set: CharacterSet) -> Int {
        if let known = sets.firstIndex(of: set) { return known }
        sets.append(set)
        return sets.count - 1
    }

    private mutating func compile(_ node: ExpressionNode) throws(ExpressionError) {
        switch node {
        case .set(let set):
            if let byte = set.onlyByte { try append(.byte(byte)) } else { try append(.set(index(set))) }
        case .sequence(let parts):
            for part in parts { try compile(part) }
        case .alternatives(let parts):
            var exits: [Int] = []
            for (index, part) in parts.enumerated() {
                let choice = program.count
                if index < parts.count - 1 { try append(.jump(0)) }
                try compile(part)
                guard index < parts.count - 1 else { break }
                exits.append(program.count)
                try append(.jump(0))
                program[choice] = .choice(choice + 1, program.count)
            }
            for exit in exits { program[exit] = .jump(program.count) }
        case .repetition(let body, let minimum, let maximum, let greed):
            try compileRepetition(body, minimum, maximum, greed)
        case .look(let body, let ahead, let negated):
            try compileLook(body, ahead: ahead, negated: negated)
        case .atomic(let body):
            let start = program.count
            try append(.jump(0))
            try compile(body)
            try append(.accept)
            program[start] = .atomic(start: start + 1, next: program.count)
        case .lineStart: try append(.lineStart)
        case .lineEnd: try append(.lineEnd)
        case .textStart: try append(.textStart)
        case .textEnd: try append(.textEnd)
        }
    }

    private mutating func compileRepetition(
        _ body: ExpressionNode, _ minimum: Int, _ maximum: Int?, _ greed: ExpressionNode.Greed
    ) throws(ExpressionError) {
        if case .set(let set) = body, greed != .lazy {
            return try append(
                .run(index(set), minimum: minimum, maximum: maximum ?? .max, isPossessive: greed == .possessive))
        }
        if greed == .possessive {
            return try compile(.atomic(.repetition(body, minimum: minimum, maximum: maximum, greed: .greedy)))
        }
        func choose(_ choice: Int, again: Int, leave: Int) {
            program[choice] = greed == .lazy ? .choice(leave, again) : .choice(again, leave)
        }
        for _ in 0..<minimum { try compile(body) }
        if let maximum {
            var choices: [Int] = []
            for _ in minimum..<maximum {
                choices.append(program.count)
                try append(.jump(0))
                try compile(body)
            }
            for choice in choices { choose(choice, again: choice + 1, leave: program.count) }
        } else {
            let choice = program.count
            try append(.jump(0))
            try compile(body)
            try append(.jump(choice))
            choose(choice, again: choice + 1, leave: program.count)
        }
    }

    private mutating func compileLook(
        _ body: ExpressionNode, ahead: Bool, negated: Bool
    ) throws(ExpressionError) {
        let parts = if !ahead, case .alternatives(let parts) = body { parts } else { [body] }
        // Alternatives of different lengths are looked for one by one.
        if parts.count > 1 {
            guard negated else {
                return try compile(.alternatives(parts.map { .look($0, ahead: false, negated: false) }))
            }
            for part in parts { try compileLook(part, ahead: false, negated: true) }
            return
        }
        let start = program.count
        try append(.jump(0))
        try compile(parts[0])
        try append(.accept)
        program[start] = .look(
            start: start + 1, back: ahead ? nil : parts[0].fixedLength, negated: negated, next: program.count)
    }

    /// The bytes with which a match can begin, at least.
    private func firstBytes(_ node: ExpressionNode) -> (bytes: [Bool], canBeEmpty: Bool) {
        var all = [Bool](repeating: false, count: 256)
        switch node {
        case .set(let set):
            for byte in 0..<256 { all[byte] = byte >= 0x80 || set.contains(ascii: UInt8(byte)) }
            return (all, false)
        case .sequence(let parts):
            for part in parts {
                let first = firstBytes(part)
                for byte in 0..<256 where first.bytes[byte] { all[byte] = true }
                if !first.canBeEmpty { return (all, false) }
            }
            return (all, true)
        case .alternatives(let parts):
            var canBeEmpty = false
            for part in parts {
                let first = firstBytes(part)
                for byte in 0..<256 where first.bytes[byte] { all[byte] = true }
                canBeEmpty = canBeEmpty || first.canBeEmpty
            }
            return (all, canBeEmpty)
        case .repetition(let body, let minimum, _, _):
            let first = firstBytes(body)
            return (first.bytes, minimum == 0 || first.canBeEmpty)
        case .atomic(let body): return firstBytes(body)
        case .look, .lineStart, .lineEnd, .textStart, .textEnd: return (all, true)
        }
    }

    // MARK: Matching

    /// What remains to be tried; reused between matches.
    struct Workspace {
        fileprivate struct Frame {
            var instruction: Int
            var position: Int
            /// For a run: how far it may be shortened; otherwise -1.
            var least: Int
        }
        fileprivate var frames: [Frame] = []
    }

    /// Where the match that begins at `start` ends; nil if there is none.
    func matchEnd(
        _ text: UnsafeBufferPointer<UInt8>, in range: Range<Int>, at start: Int, _ workspace: inout Workspace
    ) -> Int? {
        var bits = candidates[start < range.upperBound ? Int(text[start]) : 256]
        while bits != 0 {
            let entry = bits.trailingZeroBitCount
            bits &= bits - 1
            if let end = run(entries[entry], text, range, start, &workspace) { return end }
        }
        return nil
    }

    private func run(
        _ entry: Int, _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ start: Int,
        _ workspace: inout Workspace
    ) -> Int? {
        let bottom = workspace.frames.count
        var (pc, position) = (entry, start)
        return program.withUnsafeBufferPointer { program in
            while true {
                var matches = true
                switch program[pc] {
                case .byte(let byte):
                    matches = position < range.upperBound && text[position] == byte
                    position += 1
                    pc += 1
                case .set(let set):
                    if position < range.upperBound {
                        let (scalar, next) = UTF8Text.scalar(text, at: position)
                        matches = sets[set].contains(scalar)
                        position = next
                        pc += 1
                    } else {
                        matches = false
                    }
                case .run(let set, let minimum, let maximum, let isPossessive):
                    let (least, end) = runEnd(sets[set], text, range, position, minimum, maximum)
                    matches = end >= 0
                    if matches {
                        pc += 1
                        if end > least && !isPossessive {
                            workspace.frames.append(.init(instruction: pc, position: end, least: least))
                        }
                        position = end
                    }
                case .choice(let first, let second):
                    workspace.frames.append(.init(instruction: second, position: position, least: -1))
                    pc = first
                case .jump(let target): pc = target
                case .look(let body, let back, let negated, let next):
                    var from: Int? = position
                    for _ in 0..<(back ?? 0) {
                        from = from.flatMap { $0 > range.lowerBound ? UTF8Text.previous(text, before: $0) : nil }
                    }
                    let isThere = from.map { run(body, text, range, $0, &workspace) != nil } ?? false
                    matches = isThere != negated
                    pc = next
                case .atomic(let body, let next):
                    if let end = run(body, text, range, position, &workspace) {
                        (position, pc) = (end, next)
                    } else {
                        matches = false
                    }
                case .lineStart:
                    matches = position == range.lowerBound || text[position - 1] == 0x0A
                    pc += 1
                case .lineEnd:
                    matches = position == range.upperBound || text[position] == 0x0A
                    pc += 1
                case .textStart:
                    matches = position == range.lowerBound
                    pc += 1
                case .textEnd:
                    matches = position == range.upperBound
                    pc += 1
                case .accept:
                    workspace.frames.removeLast(workspace.frames.count - bottom)
                    return position
                }
                if matches { continue }
                guard workspace.frames.count > bottom else { return nil }
                let top = workspace.frames.count - 1
                pc = workspace.frames[top].instruction
                position = workspace.frames[top].position
                if workspace.frames[top].least >= 0 {
                    position = UTF8Text.previous(text, before: position)
                    if position > workspace.frames[top].least {
                        workspace.frames[top].position = position
                    } else {
                        workspace.frames.removeLast()
                    }
                } else {
                    workspace.frames.removeLast()
                }
            }
        }
    }

    /// Where a run of characters of a set ends, and where it could end at the earliest; end -1 if it is too short.
    @inline(__always)
    private func runEnd(
        _ set: CharacterSet, _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ start: Int, _ minimum: Int,
        _ maximum: Int
    ) -> (least: Int, end: Int) {
        var (count, end, least) = (0, start, start)
        while end < range.upperBound, count < maximum {
            let byte = text[end]
            var next = end + 1
            if byte < 0x80 {
                guard set.contains(ascii: byte) else { break }
            } else {
                let (scalar, after) = UTF8Text.scalar(text, at: end)
                guard set.contains(scalar) else { break }
                next = after
            }
            end = next
            count += 1
            if count == minimum { least = end }
        }
        return count >= minimum ? (least, end) : (start, -1)
    }
}

/// What a step of a tokenizer looks for: a text, or a regular expression.
struct TextPattern: Sendable {
    private enum Kind: Sendable {
        case text([UInt8])
        case expression(TextExpression)
    }

    private let kind: Kind

    init(text: String) { kind = .text(Array(text.utf8)) }

    /// - Parameter file: For the error.
    init(expression: String, file: String) throws {
        do {
            kind = .expression(try TextExpression(expression))
        } catch {
            throw LacunaError.unsupported(file: file, what: "the expression '\(expression)', for \(error.what)")
        }
    }

    /// From the member `pattern`: `{"String": …}` or `{"Regex": …}`.
    init(_ fields: JSONFields) throws {
        let pattern = try fields.fields("pattern")
        if let expression = try pattern.optionalString("Regex") {
            try self.init(expression: expression, file: fields.file)
        } else {
            self.init(text: try pattern.string("String"))
        }
    }

    /// Calls `body` with every stretch of well-formed UTF-8 text, in order, and whether it is a match.
    func forEachPart(
        _ text: UnsafeBufferPointer<UInt8>, in range: Range<Int>, _ body: (Range<Int>, _ isMatch: Bool) -> Void
    ) {
        switch kind {
        case .text(let wanted): forEachOccurrence(of: wanted, text, range, body)
        case .expression(let expression): forEachMatch(of: expression, text, range, body)
        }
    }

    private func forEachOccurrence(
        of wanted: [UInt8], _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ body: (Range<Int>, Bool) -> Void
    ) {
        guard let first = wanted.first else {
            if !range.isEmpty { body(range, false) }
            return
        }
        var (start, i) = (range.lowerBound, range.lowerBound)
        while i + wanted.count <= range.upperBound {
            guard text[i] == first, text[i..<i + wanted.count].elementsEqual(wanted) else {
                i += 1
                continue
            }
            if start < i { body(start..<i, false) }
            i += wanted.count
            body(i - wanted.count..<i, true)
            start = i
        }
        if start < range.upperBound { body(start..<range.upperBound, false) }
    }

    private func forEachMatch(
        of expression: TextExpression, _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>,
        _ body: (Range<Int>, Bool) -> Void
    ) {
        var workspace = TextExpression.Workspace()
        var (start, i) = (range.lowerBound, range.lowerBound)
        var lastEnd: Int?
        if range.isEmpty { return }
        while i <= range.upperBound {
            guard let end = expression.matchEnd(text, in: range, at: i, &workspace), end > i || lastEnd != i else {
                i = i < range.upperBound ? UTF8Text.scalar(text, at: i).next : i + 1
                continue
            }
            if start < i { body(start..<i, false) }
            body(i..<end, true)
            (start, i, lastEnd) = (end, end, end)
        }
        if start < range.upperBound { body(start..<range.upperBound, false) }
    }
}
