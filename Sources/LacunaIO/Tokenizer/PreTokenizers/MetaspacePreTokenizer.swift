import LacunaTensor

/// SentencePiece's words: blanks become a visible character, which begins every word.
struct MetaspacePreTokenizer: PreTokenizer {
    /// Where text that does not begin with the character gets one.
    enum Prefix: String, Sendable { case always, never, first }

    private let replacement: [UInt8]
    private let prefix: Prefix
    private let cuts: Bool

    init(_ fields: JSONFields) throws {
        replacement = Array(String(try fields.scalar("replacement")).utf8)
        let name = try fields.optionalString("prepend_scheme") ?? "always"
        guard var prefix = Prefix(rawValue: name) else {
            throw LacunaError.unsupported(file: fields.file, what: "prepend_scheme '\(name)'")
        }
        if try fields.optionalBool("add_prefix_space") == false {
            guard prefix == .never || !fields.contains("prepend_scheme") else {
                throw fields.failure("add_prefix_space", "contradicts prepend_scheme '\(name)'")
            }
            prefix = .never
        }
        self.prefix = prefix
        cuts = try fields.bool("split", default: true)
    }

    func split(_ words: inout TextPieces) {
        words.rewrite { piece, isStart, result in
            let isWanted =
                switch prefix {
                case .always: true
                case .first: isStart
                case .never: false
                }
            if isWanted, piece.first != 0x20, !piece.starts(with: replacement) {
                result.append(contentsOf: replacement)
            }
            for byte in piece {
                if byte == 0x20 { result.append(contentsOf: replacement) } else { result.append(byte) }
            }
        }
        guard cuts else { return }
        words.cut { bytes, range, emit in
            var start = range.lowerBound
            var i = start
            while i < range.upperBound {
                if bytes[i] == replacement[0], i > start, i + replacement.count <= range.upperBound,
                    bytes[i..<i + replacement.count].elementsEqual(replacement)
                {
                    emit(start..<i)
                    start = i
                }
                i += 1
            }
            emit(start..<range.upperBound)
        }
    }
}
