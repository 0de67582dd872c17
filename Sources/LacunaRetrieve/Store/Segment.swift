import LacunaIO
import LacunaSparse
import LacunaTensor

/// Documents that were written together, and never change: vectors, lists, identifiers, texts and metadata in one
/// mapped file.
final class Segment: Sendable {
    let name: String
    let vectors: DocumentVectors
    /// What finds the documents.
    let index: any SparseIndex
    let ids: TextColumn
    private let idOrder: MappedArray<UInt32>
    /// The texts of documents, as far as they were given.
    let texts: TextColumn
    /// Ascending numbers that stay with documents when segments are merged: of equal scores the lower one comes first.
    let sequences: MappedArray<UInt64>
    let metadata: [String: MetadataColumn]
    let byteCount: Int
    let checksum: UInt32

    var documentCount: Int { ids.count }
    var exact: InvertedIndex? { index as? InvertedIndex }
    var seismic: SeismicIndex? { index as? SeismicIndex }

    /// What a segment is made of.
    struct Content {
        var ids: [String] = []
        var texts: [String] = []
        var sequences: [UInt64] = []
        var vectors: DocumentVectors
        /// For every field a value for each document.
        var metadata: [(name: String, kind: MetadataValue.Kind, values: [MetadataValue?])] = []
    }

    /// Where a document of an identifier is; nil if it is not here.
    func document(_ id: String) -> Int? { ids.index(of: id, order: idOrder) }

    // MARK: Writing

    /// Writes a segment's file.
    ///
    /// - Returns: The checksum of its table.
    static func write(
        _ content: Content, kind: IndexSettings.Kind, to path: String, progress: (any ProgressReporter)?
    ) throws -> UInt32 {
        let vectors = content.vectors
        let ids = TextColumn(content.ids)
        let order = MappedArray(ids.sortedOrder())
        let texts = TextColumn(content.texts)
        let sequences = MappedArray(content.sequences)
        var sections = [
            ("vectors.at", vectors.starts.bytes), ("vectors.weights", vectors.weights.bytes),
            ("ids.order", order.bytes), ("sequences", sequences.bytes),
        ]
        if let terms = vectors.narrowTerms { sections.append(("vectors.terms16", terms.bytes)) }
        if let terms = vectors.wideTerms { sections.append(("vectors.terms32", terms.bytes)) }
        let shape = MappedArray([vectors.termCount, vectors.documentCount])
        sections.append(("shape", shape.bytes))
        sections += ids.sections("ids") + texts.sections("texts")
        let columns = content.metadata.map { MetadataColumn($0.kind, $0.values) }
        for (number, column) in columns.enumerated() { sections += column.sections("f\(number)") }
        let description = JSONValue.array(
            content.metadata.map { ["name": .string($0.name), "kind": .string($0.kind.rawValue)] })
        let fields = MappedArray(Array(description.serialized().utf8))
        sections.append(("fields", fields.bytes))
        let lists = PostingLists(vectors)
        switch kind {
        case .exact: sections += lists.sections
        case .seismic(let settings):
            let index = try SeismicIndex(vectors, postings: lists, settings: settings, progress: progress)
            sections += index.sections
            return try withExtendedLifetime((index, ids, order, texts, sequences, shape, columns, fields)) {
                try SectionFile.write(sections, to: path)
            }
        }
        return try withExtendedLifetime((lists, ids, order, texts, sequences, shape, columns, fields)) {
            try SectionFile.write(sections, to: path)
        }
    }

    // MARK: Reading

    /// Maps a segment's file.
    ///
    /// - Parameter checked: Read all of it and compare it with the checksums, then see that nothing points to where
    ///   nothing is. Without, a damaged file can end the program.
    init(_ path: String, settings: IndexSettings, checked: Bool) throws {
        let file = try SectionFile.Reader(path)
        if checked { try file.verify() }
        name = FileSystem.name(of: path)
        (byteCount, checksum) = (file.file.count, file.tableChecksum)
        let shape = try file.array("shape", of: Int.self, count: 2)
        let (terms, documents) = (shape[0], shape[1])
        guard (0...SparsePattern.maximumSide).contains(terms), (0...SparsePattern.maximumSide).contains(documents)
        else {
            throw file.failure("shape", "\(documents) documents of \(terms) terms")
        }
        vectors = try DocumentVectors(file, termCount: terms, documentCount: documents, checked: checked)
        ids = try TextColumn(file, "ids", count: documents, checked: checked)
        idOrder = try file.array("ids.order", of: UInt32.self, count: documents)
        texts = try TextColumn(file, "texts", count: documents, checked: checked)
        sequences = try file.array("sequences", of: UInt64.self, count: documents)
        if checked {
            if let bad = idOrder.elements.first(where: { Int($0) >= documents }) {
                throw file.failure("ids.order", "document \(bad) of \(documents)")
            }
            for i in 1..<max(documents, 1) where sequences[i] <= sequences[i - 1] {
                throw file.failure("sequences", "do not ascend at \(i)")
            }
        }
        let description = try JSONValue(parsing: file.bytes("fields"), file: path)
        var columns: [String: MetadataColumn] = [:]
        guard let fields = description.arrayValue else { throw file.failure("fields", "is no list") }
        for (number, value) in fields.enumerated() {
            let entry = try JSONFields(value, file: path, location: "fields")
            guard let kind = MetadataValue.Kind(rawValue: try entry.string("kind")) else {
                throw entry.failure("kind", "is none that is known")
            }
            columns[try entry.string("name")] = try MetadataColumn(
                file, "f\(number)", kind, documents: documents, checked: checked)
        }
        metadata = columns
        switch settings.kind {
        case .exact:
            index = InvertedIndex(
                vectors: vectors, lists: try PostingLists(file, vectors, checked: checked))
        case .seismic(let seismic):
            index = SeismicIndex(
                vectors: vectors, lists: try SeismicLists(file, vectors, checked: checked),
                graph: try NeighbourGraph(file, documents: documents, checked: checked), settings: seismic,
                search: settings.search)
        }
    }
}

/// Which documents of a segment were deleted: a file of its own, as the segment's never changes.
struct Deletions: Sendable, Equatable {
    /// One bit a document.
    private(set) var words: [UInt64]
    private(set) var count = 0

    init(documents: Int) { words = [UInt64](repeating: 0, count: (documents + 63) / 64) }

    func contains(_ document: Int) -> Bool { words[document >> 6] >> UInt64(document & 63) & 1 != 0 }

    /// False if it was deleted before.
    mutating func insert(_ document: Int) -> Bool {
        if contains(document) { return false }
        words[document >> 6] |= 1 << UInt64(document & 63)
        count += 1
        return true
    }

    func write(to path: String) throws -> UInt32 {
        try words.withUnsafeBytes { try SectionFile.write([("deleted", $0)], to: path) }
    }

    init(_ path: String, documents: Int) throws {
        let file = try SectionFile.Reader(path)
        try file.verify()
        words = Array(try file.array("deleted", of: UInt64.self, count: (documents + 63) / 64).elements)
        count = words.reduce(0) { $0 + $1.nonzeroBitCount }
        if let last = words.last, documents % 64 != 0, last >> UInt64(documents % 64) != 0 {
            throw file.failure("deleted", "there are no such documents")
        }
    }
}
