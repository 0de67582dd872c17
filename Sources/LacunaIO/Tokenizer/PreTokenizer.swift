import LacunaTensor

/// How text is cut into words before byte pairs are merged: steps, each of which cuts the pieces of the one before.
public struct PreTokenizer: Sendable, Hashable {
    public enum Step: Sendable, Hashable {
        /// Every number character on its own, or runs of them.
        case digits(individual: Bool)
        case pattern(SplitPattern)
    }

    public var steps: [Step]

    public init(_ steps: [Step]) { self.steps = steps }

    /// Calls `body` with the byte range of every word of well-formed UTF-8 text, in order.
    func forEachWord(_ bytes: UnsafeBufferPointer<UInt8>, in range: Range<Int>, _ body: (Range<Int>) -> Void) {
        cut(bytes, range, steps[...], body)
    }

    private func cut(
        _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ steps: ArraySlice<Step>,
        _ body: (Range<Int>) -> Void
    ) {
        guard let step = steps.first else { return body(range) }
        let text = ScalarScanner(bytes: bytes, end: range.upperBound)
        var start = range.lowerBound
        while start < range.upperBound {
            let end =
                switch step {
                case .pattern(let pattern): pattern.wordEnd(text, from: start)
                case .digits(let individual): digitsEnd(text, start, individual: individual)
                }
            cut(bytes, start..<end, steps.dropFirst(), body)
            start = end
        }
    }

    private func digitsEnd(_ text: ScalarScanner, _ start: Int, individual: Bool) -> Int {
        var end = start
        let isNumber = text.classify(at: start)!.kind == .number
        while let (kind, next) = text.classify(at: end), (kind == .number) == isNumber {
            end = next
            if isNumber && individual { break }
        }
        return end
    }

    /// The words of `text`, for tests and inspection.
    public func words(of text: String) -> [String] {
        var text = text
        return text.withUTF8 { bytes in
            var words: [String] = []
            forEachWord(bytes, in: 0..<bytes.count) { words.append(String(decoding: bytes[$0], as: UTF8.self)) }
            return words
        }
    }
}

extension PreTokenizer {
    /// From tokenizer.json's `pre_tokenizer`.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for anything that would cut differently from what is known here.
    init(json fields: JSONFields) throws {
        self.init([])
        try append(fields)
        // Byte-level vocabularies have no other way to spell blanks.
        guard try Self.mapsBytes(fields) else {
            throw LacunaError.unsupported(file: fields.file, what: "a pre-tokenizer without a ByteLevel step")
        }
    }

    private static func mapsBytes(_ fields: JSONFields) throws -> Bool {
        switch try fields.string("type") {
        case "ByteLevel": true
        case "Sequence": try Self.members(fields).contains { try mapsBytes($0) }
        default: false
        }
    }

    private static func members(_ fields: JSONFields) throws -> [JSONFields] {
        try fields.array("pretokenizers").enumerated().map {
            try JSONFields($1, file: fields.file, location: "\(fields.location).pretokenizers[\($0)]")
        }
    }

    private mutating func append(_ fields: JSONFields) throws {
        let type = try fields.string("type")
        switch type {
        case "Sequence":
            for member in try Self.members(fields) { try append(member) }
        case "Digits":
            steps.append(.digits(individual: try fields.bool("individual_digits", default: false)))
        case "ByteLevel":
            guard try !fields.bool("add_prefix_space", default: true) else {
                throw LacunaError.unsupported(
                    file: fields.file, what: "a ByteLevel pre-tokenizer with add_prefix_space")
            }
            if try fields.bool("use_regex", default: true) { steps.append(.pattern(.gpt2)) }
        case "Split":
            let expression = try fields.fields("pattern").string("Regex")
            guard let pattern = SplitPattern(expression: expression) else {
                throw LacunaError.unsupported(
                    file: fields.file, what: "the unknown split expression \(expression) in \(fields.location)")
            }
            let behavior = try fields.string("behavior")
            // The known expressions match every character, so that what would become of the gaps does not matter.
            guard behavior == "Isolated", try !fields.bool("invert", default: false) else {
                throw LacunaError.unsupported(file: fields.file, what: "split behaviour '\(behavior)'")
            }
            steps.append(.pattern(pattern))
        default:
            throw LacunaError.unsupported(file: fields.file, what: "pre-tokenizer '\(type)'")
        }
    }

    /// From the name in GGUF's `tokenizer.ggml.pre`.
    init?(gguf name: String) {
        switch name {
        case "gpt-2", "gpt2": self.init([.pattern(.gpt2)])
        case "smollm": self.init([.digits(individual: true), .pattern(.gpt2)])
        case "llama-bpe", "llama3", "llama-v3": self.init([.pattern(.llama3)])
        case "qwen2": self.init([.pattern(.qwen2)])
        default: return nil
        }
    }

    /// As tokenizer.json has it.
    var json: JSONValue {
        var members: [JSONValue] = steps.map { step in
            switch step {
            case .digits(let individual): ["type": "Digits", "individual_digits": .bool(individual)]
            case .pattern(let pattern):
                [
                    "type": "Split", "pattern": ["Regex": .string(pattern.expression)], "behavior": "Isolated",
                    "invert": false,
                ]
            }
        }
        members.append(["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false])
        return ["type": "Sequence", "pretokenizers": .array(members)]
    }
}
