import LacunaIO
import LacunaTensor

extension Judgements {
    /// Reads a file of judgements: TREC's `query 0 document grade`, or the tab-separated `query-id corpus-id score` of
    /// BEIR, which its first line names. May be packed (`.gz`).
    ///
    /// - Throws: `LacunaError.malformed` with the line for anything else, and for a pair that is judged twice.
    public init(contentsOf path: String) throws {
        self.init()
        let lines = try TextLines(path)
        var isTable = false
        while let text = try lines.nextText() {
            let words = text.split(whereSeparator: { $0 == " " || $0 == "\t" })
            if words.isEmpty { continue }
            if lines.line == 1 && words.first == "query-id" {
                isTable = true
                continue
            }
            let expected = isTable ? 3 : 4
            guard words.count == expected else {
                throw lines.failure("\(words.count) columns where \(expected) are expected")
            }
            guard let grade = Int(words[expected - 1]) else {
                throw lines.failure("the grade '\(words[expected - 1].prefix(40))' is not a whole number")
            }
            do {
                try judge(query: String(words[0]), document: String(words[expected - 2]), grade: grade)
            } catch LacunaError.invalidArgument(_, let reason) {
                throw lines.failure(reason)
            }
        }
        if queries.isEmpty {
            throw LacunaError.malformed(file: path, location: "line 1", reason: "there are no judgements")
        }
    }

    /// The judgements as TREC writes them, by query in order, by document.
    ///
    /// - Throws: `LacunaError.invalidArgument` for an identifier that is empty or has blanks in it, which the format
    ///   cannot hold.
    public func trecText() throws -> String {
        try queries.reduce(into: "") { text, query in
            let id = try trecWord(query, of: "judgements")
            for (document, grade) in grades(of: query).sorted(by: { $0.key < $1.key }) {
                text += "\(id) 0 \(try trecWord(document, of: "judgements")) \(grade)\n"
            }
        }
    }
}

/// A word that can stand in a column of a TREC file.
private func trecWord(_ word: String, of content: String) throws -> String {
    if word.isEmpty || word.contains(where: \.isWhitespace) {
        throw LacunaError.invalidArgument(
            content, reason: "'\(word)' is empty or has blanks in it, which a TREC file cannot hold")
    }
    return word
}

extension RankedRun {
    /// Reads a run in TREC's format, `query Q0 document rank score name`. May be packed (`.gz`). Ranks are not read:
    /// the scores order the documents, as in `trec_eval`. A query's lines need not be adjacent.
    ///
    /// - Throws: `LacunaError.malformed` with the line for anything else, or with the query for a document that comes
    ///   twice.
    public init(contentsOf path: String) throws {
        self.init()
        let lines = try TextLines(path)
        var order: [String] = []
        var found: [String: [Hit]] = [:]
        while let text = try lines.nextText() {
            let words = text.split(whereSeparator: { $0 == " " || $0 == "\t" })
            if words.isEmpty { continue }
            guard words.count == 6 else { throw lines.failure("\(words.count) columns where 6 are expected") }
            guard let score = Double(words[4]), score.isFinite else {
                throw lines.failure("the score '\(words[4].prefix(40))' is not a finite number")
            }
            let query = String(words[0])
            if found[query] == nil {
                if order.isEmpty { name = String(words[5]) }
                order.append(query)
            }
            found[query, default: []].append(Hit(document: String(words[2]), score: score))
        }
        if order.isEmpty { throw LacunaError.malformed(file: path, location: "line 1", reason: "the run is empty") }
        for query in order {
            do {
                try append(query: query, hits: found[query]!)
            } catch LacunaError.invalidArgument(_, let reason) {
                throw LacunaError.malformed(file: path, location: "query \(query)", reason: reason)
            }
        }
    }

    /// The run as TREC writes it, with ranks from 1.
    ///
    /// - Throws: `LacunaError.invalidArgument` for an identifier or a name that is empty or has blanks in it, which the
    ///   format cannot hold.
    public func trecText() throws -> String {
        var text = ""
        let name = try trecWord(self.name, of: "run")
        for query in queries {
            let id = try trecWord(query, of: "run")
            for (rank, hit) in hits(of: query).enumerated() {
                text += "\(id) Q0 \(try trecWord(hit.document, of: "run")) \(rank + 1) \(hit.score) \(name)\n"
            }
        }
        return text
    }
}
