import LacunaIO
import LacunaModels
import LacunaTensor

/// Questions and answers in turn, all of them remembered as far as the context reaches.
///
///     let conversation = try Conversation(generator, system: "Answer in one sentence.")
///     _ = try conversation.answer("Why is the sky blue?") { token in … }
///
/// Before every answer the whole conversation is put into the template's form anew, since templates may treat what is
/// past differently from what is new; of its tokens only those are read that the session has not read already. What the
/// model continues is thus always the template's text, however an answer ended.
///
/// A conversation belongs to one thread at a time.
public final class Conversation {
    /// What writes the answers.
    public let generator: Generator
    /// The form of the conversation.
    public let template: ChatTemplate
    /// What the template is told besides the messages.
    public let templateOptions: ChatTemplate.Options
    /// What has been said, the system's message included.
    public private(set) var messages: [ChatTemplate.Message]
    /// Positions that the session has read.
    public var position: Int { session.cache.count }

    private let tokenizer: Tokenizer
    private let session: DecodingSession
    private let beginning: [ChatTemplate.Message]
    private let endOfTurn: Int?
    /// The tokens that the session has read.
    private var read: [Int] = []

    /// Positions that a conversation has room for unless it is said, or fewer if the model has fewer.
    public static let defaultContext = 4096

    /// - Parameters:
    ///   - system: What the model is told to be; nil leaves that to the template.
    ///   - context: Positions to make room for.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without a tokenizer, or for more positions than the model has;
    ///   ``LacunaError`` for more than the machine has memory for; as ``ChatTemplate/init(_:)``.
    public init(
        _ generator: Generator, system: String? = nil, context: Int? = nil,
        template options: ChatTemplate.Options = .init()
    ) throws {
        guard let tokenizer = generator.tokenizer else {
            throw LacunaError.invalidArgument("tokenizer", reason: "is needed for a conversation")
        }
        self.generator = generator
        self.tokenizer = tokenizer
        template = try ChatTemplate(tokenizer)
        templateOptions = options
        endOfTurn = template.endOfTurn(tokenizer)
        beginning = system.map { [.init(.system, $0)] } ?? []
        messages = beginning
        let configuration = generator.decoder.configuration
        let limit = configuration.maximumPositions
        let context = context ?? min(limit, Self.defaultContext)
        try MachineMemory.require(
            shape: [2, configuration.layerCount, configuration.keyValueWidth, max(min(context, limit), 0)],
            of: Float.self, for: "a conversation of \(context) tokens")
        session = try generator.session(context: context)
    }

    /// Asks, and writes the answer.
    ///
    /// - Parameters:
    ///   - startsAnew: Called if the conversation no longer fits the context, and all but the question is forgotten.
    ///   - receive: Called with each token as soon as it is chosen; returns whether to go on.
    /// - Throws: As ``Generator/generate(_:in:_:receive:)``, also for a question that does not fit by itself, and what the
    ///   template objects to. The conversation is then as before.
    public func answer(
        _ question: String, _ options: Generator.Options = .init(), startsAnew: () -> Void = {},
        receive: (Int) throws -> Bool
    ) throws -> Generation {
        var history = messages + [.init(.user, question)]
        var tokens = try template.encode(history, with: tokenizer, templateOptions)
        if tokens.count >= session.cache.capacity && messages.count > beginning.count {
            startsAnew()
            history = beginning + [.init(.user, question)]
            tokens = try template.encode(history, with: tokenizer, templateOptions)
        }
        var options = options
        if let endOfTurn { options.stopTokens.insert(endOfTurn) }
        // At least the last token is read, for the logits after it.
        let known = min(zip(read, tokens).prefix { $0 == $1 }.count, tokens.count - 1)
        let result: Generation
        do {
            session.cache.truncate(to: max(known, 0))
            result = try generator.generate(
                Array(tokens.dropFirst(max(known, 0))), in: session, options, receive: receive)
        } catch {
            session.reset()
            read = []
            throw error
        }
        // The last token of an answer may not have been read.
        read = Array((tokens + result.tokens).prefix(session.cache.count))
        messages = history + [.init(.assistant, tokenizer.decode(result.tokens, skipsSpecials: true))]
        return result
    }
}
