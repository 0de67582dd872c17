import LacunaTensor

/// BERT's normalisation (Devlin, Chang, Lee and Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for
/// Language Understanding", arXiv 1810.04805): control characters go, all space becomes blanks, ideographs stand alone,
/// accents and capitals go if the model knows none.
public struct BertNormalizer: Normalizer {
    /// Whether control characters are dropped and all white space becomes spaces.
    public var cleansText: Bool
    /// Whether spaces are put around Chinese characters.
    public var separatesIdeographs: Bool
    /// Whether accents are removed.
    public var stripsAccents: Bool
    /// Whether letters become small.
    public var lowercases: Bool

    /// - Parameter stripsAccents: Nil for the same as `lowercases`.
    public init(
        cleansText: Bool = true, separatesIdeographs: Bool = true, stripsAccents: Bool? = nil, lowercases: Bool = true
    ) {
        self.cleansText = cleansText
        self.separatesIdeographs = separatesIdeographs
        self.stripsAccents = stripsAccents ?? lowercases
        self.lowercases = lowercases
    }

    init(_ fields: JSONFields) throws {
        self.init(
            cleansText: try fields.bool("clean_text", default: true),
            separatesIdeographs: try fields.bool("handle_chinese_chars", default: true),
            stripsAccents: try fields.optionalBool("strip_accents"),
            lowercases: try fields.bool("lowercase", default: true))
    }

    public func normalize(_ text: inout NormalizedText) {
        if cleansText {
            text.remove { $0.value == 0 || $0.value == 0xFFFD || UnicodeClasses.isBertControl($0) }
            UTF8Text.map(&text.bytes) { scalar, result in
                if UnicodeClasses.isWhitespace(scalar) {
                    result.append(0x20)
                } else {
                    UTF8Text.append(scalar, to: &result)
                }
            }
        }
        if separatesIdeographs {
            UTF8Text.map(&text.bytes) { scalar, result in
                let isIdeograph = UnicodeClasses.isIdeograph(scalar)
                if isIdeograph { result.append(0x20) }
                UTF8Text.append(scalar, to: &result)
                if isIdeograph { result.append(0x20) }
            }
        }
        if stripsAccents {
            text.apply(.decomposed)
            text.remove(UnicodeClasses.isBertAccent)
        }
        if lowercases { LowercaseNormalizer().normalize(&text) }
    }
}
