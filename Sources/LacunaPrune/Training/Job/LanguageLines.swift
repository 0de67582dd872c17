import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaTensor

/// Reads files of one JSON object a line as examples for a language model: texts, questions with answers, or conversations.
/// Of the last two, only what the model is to say itself is learned.
struct LanguageLines {
    private enum Form {
        case text(String)
        case answers(prompt: String, answer: String)
        case chat(String, any ConversationForm)
    }

    /// What `data.form` can be; the first is the default.
    static let forms = ["text", "answers", "chat"]

    private let form: Form
    private let tokenizer: Tokenizer
    private let end: Int?
    /// Whether special tokens that texts, questions and answers spell are those tokens.
    private let recognizesSpecials: Bool

    /// Whether texts are read one after the other, as one.
    var isStream: Bool { if case .text = form { true } else { false } }

    /// - Parameter end: The token that ends a text; nil for none.
    init(
        file: ConfigurationFile, tokenizer: Tokenizer, end: Int?, environment: TrainingJob.Environment
    ) throws {
        self.tokenizer = tokenizer
        self.end = end
        switch try file.choice("data.form", of: Self.forms, default: Self.forms[0]) {
        case "text": form = .text(try file.optionalString("data.text") ?? "text")
        case "answers":
            form = .answers(
                prompt: try file.optionalString("data.prompt") ?? "prompt",
                answer: try file.optionalString("data.answer") ?? "answer")
        default:
            form = .chat(
                try file.optionalString("data.messages") ?? "messages", try environment.conversations(tokenizer))
        }
        recognizesSpecials = try file.optionalBool("data.special_tokens") ?? false
        if recognizesSpecials, case .chat = form {
            throw file.failure("data.special_tokens", "those of a conversation are its template's own")
        }
    }

    func examples(_ paths: [String]) throws -> [TokenExamples.Example] {
        try paths.flatMap { path in
            var result: [TokenExamples.Example] = []
            let lines = try JSONLines(path)
            while let example = try lines.next(example) { result.append(example) }
            guard !result.isEmpty else {
                throw LacunaError.malformed(file: path, location: "lines", reason: "has none")
            }
            return result
        }
    }

    private func example(_ fields: JSONFields) throws -> TokenExamples.Example {
        let closing = end.map { [Int32($0)] } ?? []
        switch form {
        case .text(let key):
            let tokens = encode(try fields.string(key)) + closing
            return .init(tokens: tokens, counts: Array(repeating: true, count: tokens.count))
        case .answers(let prompt, let answer):
            let (question, reply) = (encode(try fields.string(prompt)), encode(try fields.string(answer)) + closing)
            guard !question.isEmpty, !reply.isEmpty else {
                throw fields.failure(question.isEmpty ? prompt : answer, "is empty")
            }
            return .init(
                tokens: question + reply,
                counts: Array(repeating: false, count: question.count) + Array(repeating: true, count: reply.count))
        case .chat(let key, let chat): return try conversation(fields, key, chat)
        }
    }

    private func encode(_ text: String) -> [Int32] {
        tokenizer.encode(text, recognizesSpecials: recognizesSpecials, addsBeginning: false).map { Int32($0) }
    }

    /// What the model is to go on from: a text, a question, or a conversation up to its last answer, which a line may have or not.
    ///
    /// - Throws: `LacunaError.malformed` for a line without it.
    func prompt(_ fields: JSONFields) throws -> [Int] {
        switch form {
        case .text(let key), .answers(let key, _):
            let tokens = encode(try fields.string(key))
            if tokens.isEmpty { throw fields.failure(key, "is empty") }
            return tokens.map { Int($0) }
        case .chat(let key, let chat):
            var messages = try fields.array(key)
            while messages.last?["role"]?.stringValue == "assistant" { messages.removeLast() }
            if messages.isEmpty { throw fields.failure(key, "asks nothing") }
            let (text, ranges) = try chat.rendered(messages, addsGenerationPrompt: true)
            return tokenizer.encode(text, specialRanges: ranges, addsBeginning: false)
        }
    }

    /// The text of a whole conversation; what the template puts behind a turn of the assistant's belongs to the answer.
    private func conversation(
        _ fields: JSONFields, _ key: String, _ chat: any ConversationForm
    ) throws -> TokenExamples.Example {
        let messages = try fields.array(key)
        let (text, ranges) = try chat.rendered(messages, addsGenerationPrompt: false)
        let whole = Array(text.utf8)
        var (tokens, counts, position) = ([Int32](), [Bool](), 0)
        func append(_ end: Int, counts isAnswer: Bool) {
            let own = ranges.compactMap { range -> Range<Int>? in
                let part = range.clamped(to: position..<end)
                return part.isEmpty ? nil : part.lowerBound - position..<part.upperBound - position
            }
            let part = tokenizer.encode(
                String(decoding: whole[position..<end], as: UTF8.self), specialRanges: own, addsBeginning: false)
            tokens += part.map { Int32($0) }
            counts += Array(repeating: isAnswer, count: part.count)
            position = end
        }
        for (index, message) in messages.enumerated() where message["role"]?.stringValue == "assistant" {
            let before = Array(try chat.rendered(Array(messages[..<index]), addsGenerationPrompt: true).text.utf8)
            let after = Array(try chat.rendered(Array(messages[...index]), addsGenerationPrompt: false).text.utf8)
            // Templates may show past turns otherwise than they were said: then there is no text in which an answer has
            // its place.
            guard whole.starts(with: after), after.starts(with: before), before.count >= position,
                after.count > before.count
            else {
                throw LacunaError.unsupported(
                    file: fields.file,
                    what: "\(fields.location): a conversation whose turn \(index + 1) the chat template does not show "
                        + "as it was said; give one answer a line")
            }
            append(before.count, counts: false)
            append(after.count, counts: true)
        }
        guard position > 0 else { throw fields.failure(key, "has no answer of the assistant") }
        return .init(tokens: tokens, counts: counts)
    }
}
