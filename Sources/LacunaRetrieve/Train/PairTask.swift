import LacunaTensor

/// A page of sentences in paragraphs, with links to other pages: what pairs of a query and a document are made of,
/// without labels.
public struct LinkedPage: Sendable {
    /// Sentences of each paragraph; the first paragraph is the page's first section.
    public var paragraphs: [[String]]
    /// Pages that this one links to, by their place in the list.
    public var links: [Int]

    /// A page that links nowhere, unless links are given.
    public init(paragraphs: [[String]], links: [Int] = []) { (self.paragraphs, self.links) = (paragraphs, links) }
}

/// Makes pairs of a query and a document that belong together, for pre-training a retriever.
///
/// Wei-Cheng Chang, Felix X. Yu, Yin-Wen Chang, Yiming Yang, Sanjiv Kumar, "Pre-training Tasks for Embedding-based
/// Large-scale Retrieval", arXiv:2002.03932.
public enum PairTask: String, Sendable, Hashable, CaseIterable {
    /// A sentence, and the rest of its paragraph without it, wherever else it stands there: the inverse cloze task.
    case inverseCloze
    /// A sentence of the first section, and a paragraph of the same page.
    case bodyFirst
    /// A sentence of the first section, and a paragraph of a page that the page links to.
    case linked

    /// A query and a document that belongs to it.
    public struct Pair: Sendable, Equatable {
        /// One sentence.
        public let query: String
        /// The sentences of a paragraph, joined by blanks.
        public let document: String
        /// Where the document is from: pairs of one source are no negatives of each other.
        public let source: Int
    }

    /// Draws a pair.
    ///
    /// - Throws: `LacunaError.invalidArgument` if no page has what the task needs.
    public func pair(_ pages: [LinkedPage], using generator: inout SeededGenerator) throws -> Pair {
        // Most pages have what is needed: draw until one does, but not for ever.
        for _ in 0..<1000 where !pages.isEmpty {
            let index = Int.random(in: 0..<pages.count, using: &generator)
            if let pair = draw(index, pages, &generator) { return pair }
        }
        throw LacunaError.invalidArgument("pages", reason: "none of them has what task '\(rawValue)' needs")
    }

    private func draw(_ index: Int, _ pages: [LinkedPage], _ generator: inout SeededGenerator) -> Pair? {
        let page = pages[index]
        func any<Element>(_ elements: [Element]) -> Element? { elements.randomElement(using: &generator) }
        switch self {
        case .inverseCloze:
            guard let paragraph = any(page.paragraphs), paragraph.count > 1 else { return nil }
            let chosen = Int.random(in: 0..<paragraph.count, using: &generator)
            let rest = paragraph.filter { $0 != paragraph[chosen] }
            if rest.isEmpty { return nil }
            return Pair(query: paragraph[chosen], document: rest.joined(separator: " "), source: index)
        case .bodyFirst:
            guard let sentence = page.paragraphs.first.flatMap(any), page.paragraphs.count > 1,
                let paragraph = any(Array(page.paragraphs.dropFirst())), !paragraph.isEmpty
            else { return nil }
            return Pair(query: sentence, document: paragraph.joined(separator: " "), source: index)
        case .linked:
            let others = page.links.filter { $0 != index && pages.indices.contains($0) }
            guard let sentence = page.paragraphs.first.flatMap(any), let other = any(others),
                let paragraph = any(pages[other].paragraphs), !paragraph.isEmpty
            else { return nil }
            return Pair(query: sentence, document: paragraph.joined(separator: " "), source: other)
        }
    }
}
