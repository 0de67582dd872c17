import LacunaTensor

/// The words of byte-level models: cut by GPT-2's expression, unless another step did that, and read byte by byte.
struct ByteLevelPreTokenizer: PreTokenizer {
    /// GPT-2's words (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019).
    static let expression = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    private let addsBlank: Bool
    private let cutter: PatternPreTokenizer?

    init(_ fields: JSONFields) throws {
        addsBlank = try fields.bool("add_prefix_space", default: true)
        cutter =
            try fields.bool("use_regex", default: true)
            ? PatternPreTokenizer(try TextPattern(expression: Self.expression, file: fields.file), .isolated) : nil
    }

    func split(_ words: inout TextPieces) {
        if addsBlank {
            words.rewrite { piece, _, result in
                if piece.first != 0x20 { result.append(0x20) }
                result.append(contentsOf: piece)
            }
        }
        cutter?.split(&words)
        words.areBytes = true
    }
}
