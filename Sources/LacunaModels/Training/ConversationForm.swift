import LacunaIO

/// Turns conversations into the text that a chat model reads. `ChatTemplate` of LacunaInfer is one; training on
/// conversations asks for it.
public protocol ConversationForm {
    /// - Parameters:
    ///   - messages: Objects with `role` and `content`.
    ///   - addsGenerationPrompt: Whether the text ends where the assistant begins to answer.
    /// - Returns: The text, and the bytes of it that the form wrote itself, in which special tokens are recognised.
    func rendered(
        _ messages: [JSONValue], addsGenerationPrompt: Bool
    ) throws -> (text: String, specialRanges: [Range<Int>])
}
