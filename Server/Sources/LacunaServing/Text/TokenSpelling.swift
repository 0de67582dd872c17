import LacunaIO

extension Tokenizer {
    /// A token as responses spell it: its text, or `bytes:\xf0\x9f` for one that is a part of a character.
    func spelling(_ token: Int) -> String {
        let bytes = Array(bytes(of: token))
        let text = String(decoding: bytes, as: UTF8.self)
        if text.utf8.elementsEqual(bytes) { return text }
        return "bytes:" + bytes.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
