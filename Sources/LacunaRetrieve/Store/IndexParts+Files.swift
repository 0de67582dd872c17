import LacunaIO
import LacunaTensor

// The parts of indexes as sections of a file. What is read with `checked` points nowhere but into the file, whatever
// is in it.

extension DocumentVectors {
    init(_ file: SectionFile.Reader, termCount: Int, documentCount: Int, checked: Bool) throws {
        let weights = try file.array("vectors.weights", of: Float.self)
        let starts = try file.starts(
            "vectors.at", count: documentCount + 1, total: weights.count, checked: checked)
        let isNarrow = termCount <= Self.narrowLimit
        self.init(
            termCount: termCount, starts: starts,
            narrowTerms: isNarrow ? try file.array("vectors.terms16", of: UInt16.self, count: weights.count) : nil,
            wideTerms: isNarrow ? nil : try file.array("vectors.terms32", of: UInt32.self, count: weights.count),
            weights: weights)
        guard checked else { return }
        for document in 0..<documentCount {
            var (last, isBad) = (-1, false)
            forEachEntry(of: document) { term, weight in
                isBad = isBad || term <= last || term >= termCount || !(weight > 0 && weight.isFinite)
                last = term
            }
            if isBad { throw file.failure("vectors", "document \(document) has terms or weights that cannot be") }
        }
    }
}

extension PostingLists {
    var sections: [(String, UnsafeRawBufferPointer)] {
        [
            ("lists.at", starts.bytes), ("lists.documents", documents.bytes), ("lists.weights", weights.bytes),
            ("lists.blocks", blockStarts.bytes), ("lists.lasts", blockLasts.bytes),
            ("lists.maxima", blockMaxima.bytes), ("lists.largest", maxima.bytes),
        ]
    }

    init(_ file: SectionFile.Reader, _ vectors: DocumentVectors, checked: Bool) throws {
        let terms = vectors.termCount
        let documents = try file.array("lists.documents", of: UInt32.self, count: vectors.entryCount)
        let lasts = try file.array("lists.lasts", of: UInt32.self)
        self.init(
            starts: try file.starts("lists.at", count: terms + 1, total: documents.count, checked: checked),
            documents: documents, weights: try file.array("lists.weights", of: Float.self, count: documents.count),
            blockStarts: try file.starts("lists.blocks", count: terms + 1, total: lasts.count, checked: checked),
            blockLasts: lasts, blockMaxima: try file.array("lists.maxima", of: Float.self, count: lasts.count),
            maxima: try file.array("lists.largest", of: Float.self, count: terms))
        guard checked else { return }
        for term in 0..<terms {
            let list = starts[term]..<starts[term + 1]
            guard blockStarts[term + 1] - blockStarts[term] == (list.count + Self.blockSize - 1) / Self.blockSize else {
                throw file.failure("lists.blocks", "term \(term) has another number of blocks")
            }
            var last = -1
            for i in list {
                guard Int(documents[i]) > last, Int(documents[i]) < vectors.documentCount else {
                    throw file.failure(
                        "lists.documents", "the list of term \(term) does not ascend within the documents")
                }
                last = Int(documents[i])
            }
            for (number, block) in (blockStarts[term]..<blockStarts[term + 1]).enumerated() {
                let end = min(list.lowerBound + (number + 1) * Self.blockSize, list.upperBound)
                guard blockLasts[block] == documents[end - 1] else {
                    throw file.failure("lists.lasts", "block \(block) ends elsewhere")
                }
            }
        }
    }
}

extension SeismicIndex {
    var sections: [(String, UnsafeRawBufferPointer)] {
        [
            ("blocks.at", lists.listBlocks.bytes), ("blocks.docs.at", lists.blockStarts.bytes),
            ("blocks.documents", lists.documents.bytes), ("blocks.steps", lists.steps.bytes),
            ("sums.at", lists.listTerms.bytes), ("sums.terms", lists.summaryTerms.bytes),
            ("sums.entries.at", lists.entryStarts.bytes), ("sums.blocks", lists.entryBlocks.bytes),
            ("sums.codes", lists.entryCodes.bytes),
        ] + (graph.map { [("graph.at", $0.starts.bytes), ("graph.documents", $0.documents.bytes)] } ?? [])
    }
}

extension SeismicLists {
    init(_ file: SectionFile.Reader, _ vectors: DocumentVectors, checked: Bool) throws {
        let terms = vectors.termCount
        documents = try file.array("blocks.documents", of: UInt32.self)
        steps = try file.array("blocks.steps", of: Float.self)
        blockStarts = try file.starts(
            "blocks.docs.at", count: steps.count + 1, total: documents.count, checked: checked)
        listBlocks = try file.starts("blocks.at", count: terms + 1, total: steps.count, checked: checked)
        summaryTerms = try file.array("sums.terms", of: UInt32.self)
        listTerms = try file.starts("sums.at", count: terms + 1, total: summaryTerms.count, checked: checked)
        entryBlocks = try file.array("sums.blocks", of: UInt32.self)
        entryCodes = try file.array("sums.codes", of: UInt8.self, count: entryBlocks.count)
        entryStarts = try file.starts(
            "sums.entries.at", count: summaryTerms.count + 1, total: entryBlocks.count, checked: checked)
        guard checked else { return }
        if let bad = documents.elements.first(where: { Int($0) >= vectors.documentCount }) {
            throw file.failure("blocks.documents", "document \(bad) of \(vectors.documentCount)")
        }
        for term in 0..<terms {
            let blocks = listBlocks[term + 1] - listBlocks[term]
            for place in listTerms[term]..<listTerms[term + 1] {
                for entry in entryStarts[place]..<entryStarts[place + 1] where Int(entryBlocks[entry]) >= blocks {
                    throw file.failure("sums.blocks", "block \(entryBlocks[entry]) of \(blocks)")
                }
            }
        }
    }
}

extension NeighbourGraph {
    /// Nil if the file has none.
    init?(_ file: SectionFile.Reader, documents count: Int, checked: Bool) throws {
        guard file.contains("graph.at") else { return nil }
        documents = try file.array("graph.documents", of: UInt32.self)
        starts = try file.starts("graph.at", count: count + 1, total: documents.count, checked: checked)
        if checked, let bad = documents.elements.first(where: { Int($0) >= count }) {
            throw file.failure("graph.documents", "document \(bad) of \(count)")
        }
    }
}
