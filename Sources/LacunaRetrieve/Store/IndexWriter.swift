import LacunaIO
import LacunaSparse
import LacunaTensor

/// A document to be put into an index.
public struct IndexedDocument: Sendable {
    /// Not empty. A document of the same identifier, to the byte, is replaced.
    public var id: String
    /// Terms and weights; with BM25, words and how often they occur.
    public var weights: [(term: String, weight: Float)]
    /// Kept to be shown; may be empty.
    public var text: String
    /// What filters may ask for: keywords, lists of keywords, numbers and truth values under names.
    public var metadata: JSONObject

    /// A document from its parts; they are checked when it is added.
    public init(
        id: String, weights: [(term: String, weight: Float)], text: String = "", metadata: JSONObject = JSONObject()
    ) {
        (self.id, self.weights, self.text, self.metadata) = (id, weights, text, metadata)
    }

    /// From a line of Anserini's JsonVectorCollection, as Seismic and others use it too: `id`, `vector` (weights by
    /// term) and, if they are there, `contents` (or `content`, `text`) and `metadata`.
    ///
    /// - Throws: `LacunaError.malformed` for members that are missing or of another type, and for weights that are
    ///   negative.
    public init(_ fields: JSONFields) throws {
        id = try fields.identifier("id", "_id", "docid")
        text =
            try fields.optionalString("contents") ?? fields.optionalString("content") ?? fields.optionalString("text")
            ?? ""
        metadata = try fields.optionalFields("metadata")?.object ?? JSONObject()
        weights = try Self.weights(fields)
    }

    /// The weights of member `vector`.
    static func weights(_ fields: JSONFields) throws -> [(term: String, weight: Float)] {
        try fields.fields("vector").object.members.map { member in
            guard let weight = member.value.doubleValue, weight >= 0, Float(weight).isFinite else {
                throw fields.failure("vector", "the weight of '\(member.key)' is no number from 0 on")
            }
            return (member.key, Float(weight))
        }
    }
}

/// Adds, replaces and deletes documents of an index directory. One at a time may write; searching goes on meanwhile.
///
/// Nothing is seen before ``commit()``, which replaces one small file in one step: a program that ends in between, at
/// whatever moment, leaves the index as it was last committed.
public final class IndexWriter {
    /// The directory.
    public let path: String
    private let lock: DirectoryLock
    private let progress: (any ProgressReporter)?
    private var manifest: IndexManifest
    private var segments: [WrittenSegment] = []
    private var terms: [String] = []
    private var termNumbers: [ExactString: UInt32] = [:]
    private var writtenTerms = 0
    private var buffer = DocumentBuffer()
    private var generation: Int

    /// Documents are written when they take about so many bytes in memory; building their lists takes some times more.
    public var memoryBudget: Int
    /// More segments than this are merged when they are committed.
    public var maximumSegments = 12

    private struct WrittenSegment {
        var entry: IndexManifest.SegmentEntry
        let segment: Segment
        var deletions: Deletions?
        var deletionsChanged = false

        var liveCount: Int { segment.documentCount - (deletions?.count ?? 0) }
    }

    /// Opens an index to write to.
    ///
    /// - Throws: As ``IndexSnapshot/open(_:checking:)``, and `LacunaError.file` if another process writes there.
    public convenience init(
        opening path: String, memoryBudget: Int = 1 << 30, progress: (any ProgressReporter)? = nil
    ) throws {
        let lock = try DirectoryLock(path)
        let snapshot = try IndexSnapshot.open(path)
        try self.init(
            path, lock: lock, manifest: snapshot.manifest, memoryBudget: memoryBudget, progress: progress)
        for (entry, part) in zip(snapshot.manifest.segments, snapshot.parts) {
            segments.append(WrittenSegment(entry: entry, segment: part.segment, deletions: part.deletions))
        }
        terms = (0..<snapshot.terms.count).map { snapshot.terms[$0] }
        for (number, term) in terms.enumerated() { termNumbers[ExactString(term)] = UInt32(number) }
        writtenTerms = terms.count
    }

    /// Makes an index.
    ///
    /// - Parameter replacing: Whether an index that is there is replaced, at the first ``commit()``.
    /// - Throws: `LacunaError.file` for a directory that holds anything else, or an index that is not to be replaced.
    public convenience init(
        creating path: String, settings: IndexSettings = IndexSettings(), replacing: Bool = false,
        memoryBudget: Int = 1 << 30, progress: (any ProgressReporter)? = nil
    ) throws {
        try settings.check()
        try Self.check(creating: path, replacing: replacing)
        try FileSystem.createDirectory(path)
        let lock = try DirectoryLock(path)
        var manifest = IndexManifest(settings: settings)
        if let old = try? IndexManifest(path) {
            (manifest.generation, manifest.nextFile) = (old.generation, old.nextFile)
        }
        try self.init(path, lock: lock, manifest: manifest, memoryBudget: memoryBudget, progress: progress)
    }

    /// Says before the work whether an index could be made; makes nothing.
    ///
    /// - Throws: As ``init(creating:settings:replacing:memoryBudget:progress:)``.
    public static func check(creating path: String, replacing: Bool = false) throws {
        guard FileSystem.exists(path) else { return }
        guard FileSystem.isDirectory(path) else {
            throw LacunaError.file(path: path, reason: "is a file, a directory is needed")
        }
        // Files of an index without a manifest are what an ended program has left.
        let content = try FileSystem.list(path).filter { !$0.hasPrefix(".") && !isOwnFile($0) }
        if content.isEmpty { return }
        guard content.contains(IndexManifest.name) else {
            throw LacunaError.file(path: path, reason: "exists already and is not an index")
        }
        if let other = content.first(where: { $0 != IndexManifest.name }) {
            throw LacunaError.file(
                path: path, reason: "holds '\(other)', which is no part of an index: it is not replaced")
        }
        guard replacing else { throw LacunaError.file(path: path, reason: "exists already and is not empty") }
    }

    private static func isOwnFile(_ name: String) -> Bool {
        name.hasSuffix(".lacuna")
            && (name.hasPrefix("segment-") || name.hasPrefix("terms-") || name.hasPrefix("deletions-"))
    }

    private init(
        _ path: String, lock: DirectoryLock, manifest: IndexManifest, memoryBudget: Int,
        progress: (any ProgressReporter)?
    ) throws {
        guard memoryBudget >= 1 else {
            throw LacunaError.invalidArgument("memory", reason: "\(memoryBudget) bytes are too few")
        }
        (self.path, self.lock, self.manifest, self.memoryBudget, self.progress) = (
            path, lock, manifest, memoryBudget, progress
        )
        generation = manifest.generation
    }

    /// What the index is made for, and how it will be searched by default.
    public var settings: IndexSettings { manifest.settings }

    /// Sets how the index is searched by default, from the next ``commit()`` on.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a setting out of range, and for an exact index, which has none.
    public func setSearch(_ search: SeismicSearch) throws {
        try search.check()
        guard case .seismic = manifest.settings.kind else {
            throw LacunaError.invalidArgument("search", reason: "an exact index has nothing to set")
        }
        manifest.settings.search = search
    }

    // MARK: Changing

    /// Adds a document; one of the same identifier is replaced.
    ///
    /// - Throws: `LacunaError.invalidArgument` naming the document, for an empty identifier, weights that are
    ///   negative or not finite, a term that comes twice, metadata of another kind than before and more than 1000
    ///   fields. The index stays as it was.
    public func add(_ document: IndexedDocument) throws {
        func fail(_ reason: String) -> LacunaError { .invalidArgument("document '\(document.id)'", reason: reason) }
        if document.id.isEmpty { throw LacunaError.invalidArgument("document", reason: "the identifier is empty") }
        var seen: Set<ExactString> = []
        for (term, weight) in document.weights {
            guard weight >= 0 && weight.isFinite else {
                throw fail("the weight \(weight) of '\(term)' is negative or not finite")
            }
            guard seen.insert(ExactString(term)).inserted else { throw fail("term '\(term)' comes twice") }
        }
        var values: [(field: Int, value: MetadataValue)] = []
        var fields = manifest.fields
        for member in document.metadata.members {
            let failure = { (reason: String) in fail("metadata '\(member.key)': \(reason)") }
            guard let value = try MetadataValue(member.value, failure: failure) else { continue }
            let field = fields.firstIndex { $0.name == member.key } ?? fields.count
            if field == fields.count {
                guard field < MetadataColumn.maximumCount else {
                    throw failure("an index has \(MetadataColumn.maximumCount) fields at most")
                }
                fields.append((member.key, value.kind))
            }
            guard fields[field].kind == value.kind else {
                throw failure("is a \(value.kind.rawValue), other documents have a \(fields[field].kind.rawValue)")
            }
            values.append((field, value))
        }
        manifest.fields = fields
        var entries: [(term: UInt32, weight: Float)] = []
        for (term, weight) in document.weights where weight > 0 {
            let key = ExactString(term)
            let number = termNumbers[key] ?? UInt32(terms.count)
            if Int(number) == terms.count {
                terms.append(term)
                termNumbers[key] = number
            }
            entries.append((number, weight))
        }
        entries.sort { $0.term < $1.term }
        buffer.append(document, entries, values, sequence: manifest.nextSequence)
        manifest.nextSequence += 1
        if buffer.byteCount >= memoryBudget { try flush() }
    }

    /// Deletes a document.
    ///
    /// - Returns: Whether there was one.
    @discardableResult
    public func delete(_ id: String) -> Bool {
        // What waits in memory may replace a document that is written: both go.
        let wasWaiting = buffer.remove(id)
        return deleteWritten(id, before: segments.count) || wasWaiting
    }

    private func deleteWritten(_ id: String, before end: Int) -> Bool {
        for index in (0..<end).reversed() {
            guard let document = segments[index].segment.document(id) else { continue }
            var deletions = segments[index].deletions ?? Deletions(documents: segments[index].segment.documentCount)
            if deletions.insert(document) {
                segments[index].deletions = deletions
                segments[index].deletionsChanged = true
                return true
            }
        }
        return false
    }

    /// Makes everything since the last commit part of the index, at once.
    ///
    /// - Throws: `LacunaError`; then the index is as it was.
    public func commit() throws {
        try flush()
        segments.removeAll { $0.liveCount == 0 }
        if segments.count > maximumSegments {
            // The smallest together, as many as bring the number down to a half.
            let order = segments.indices.sorted { segments[$0].liveCount < segments[$1].liveCount }
            try merge(Set(order.prefix(segments.count - maximumSegments / 2 + 1)))
        }
        try publish()
    }

    /// Puts all segments into one, leaves out what was deleted, and commits.
    ///
    /// - Throws: As ``commit()``.
    public func merge() throws {
        try flush()
        segments.removeAll { $0.liveCount == 0 }
        if segments.count > 1 || segments.contains(where: { $0.deletions != nil }) {
            try merge(Set(segments.indices))
        }
        try publish()
    }

    // MARK: Writing

    private func newFile(_ kind: String) -> String {
        defer { manifest.nextFile += 1 }
        let number = String(manifest.nextFile)
        return "\(kind)-\(String(repeating: "0", count: max(0, 8 - number.count)))\(number).lacuna"
    }

    /// Writes the documents in memory to a segment of their own, which is not yet part of the index.
    private func flush() throws {
        if buffer.isEmpty { return }
        if case .bm25(let bm25, nil) = manifest.settings.weighting {
            manifest.settings.weighting = .bm25(bm25, averageLength: buffer.averageLength)
        }
        let content = try buffer.content(
            termCount: terms.count, fields: manifest.fields, weighting: manifest.settings.weighting)
        segments.append(try written(content))
        // The same identifiers in older segments are replaced.
        for id in content.ids where segments.count > 1 { _ = deleteWritten(id, before: segments.count - 1) }
        buffer = DocumentBuffer()
    }

    private func written(_ content: Segment.Content) throws -> WrittenSegment {
        let name = newFile("segment")
        let file = FileSystem.join(path, name)
        let checksum = try Segment.write(content, kind: manifest.settings.kind, to: file, progress: progress)
        return WrittenSegment(
            entry: .init(file: name, checksum: checksum),
            segment: try Segment(file, settings: manifest.settings, checked: false))
    }

    private func merge(_ chosen: Set<Int>) throws {
        let parts = chosen.sorted().map { segments[$0] }
        var order: [(sequence: UInt64, part: Int, document: Int)] = []
        for (number, part) in parts.enumerated() {
            for document in 0..<part.segment.documentCount where part.deletions?.contains(document) != true {
                order.append((part.segment.sequences[document], number, document))
            }
        }
        order.sort { $0.sequence < $1.sequence }
        let entries = order.reduce(0) {
            let starts = parts[$1.part].segment.vectors.starts
            return $0 + starts[$1.document + 1] - starts[$1.document]
        }
        let starts = Buffer<Int>(uninitialized: order.count + 1)
        let columns = Buffer<UInt32>(uninitialized: entries)
        let weights = Buffer<Float>(uninitialized: entries)
        var place = 0
        for (row, source) in order.enumerated() {
            starts.pointer[row] = place
            parts[source.part].segment.vectors.forEachEntry(of: source.document) { term, weight in
                columns.pointer[place] = UInt32(truncatingIfNeeded: term)
                weights.pointer[place] = weight
                place += 1
            }
        }
        starts.pointer[order.count] = place
        let isNarrow = terms.count <= DocumentVectors.narrowLimit
        var content = Segment.Content(
            vectors: DocumentVectors(
                termCount: terms.count, starts: MappedArray(starts),
                narrowTerms: isNarrow
                    ? MappedArray(Buffer(columns.elements.lazy.map { UInt16(truncatingIfNeeded: $0) })) : nil,
                wideTerms: isNarrow ? nil : MappedArray(columns), weights: MappedArray(weights)))
        for source in order {
            let segment = parts[source.part].segment
            content.ids.append(segment.ids[source.document])
            content.texts.append(segment.texts[source.document])
            content.sequences.append(source.sequence)
        }
        content.metadata = manifest.fields.map { field in
            (
                field.name, field.kind,
                order.map { parts[$0.part].segment.metadata[field.name]?.value($0.document) ?? nil }
            )
        }
        // Not before the new segment is there: if writing it fails, the old ones are still in place.
        let merged = order.isEmpty ? [] : [try written(content)]
        segments = segments.indices.filter { !chosen.contains($0) }.map { segments[$0] } + merged
    }

    private func publish() throws {
        if terms.count > writtenTerms {
            let table = try TermTable(terms)
            let name = newFile("terms")
            manifest.terms = (name, try SectionFile.write(table.sections, to: FileSystem.join(path, name)))
            writtenTerms = terms.count
        }
        for index in segments.indices where segments[index].deletionsChanged {
            let name = newFile("deletions")
            segments[index].entry.deletionsChecksum = try segments[index].deletions!.write(
                to: FileSystem.join(path, name))
            segments[index].entry.deletions = name
            segments[index].deletionsChanged = false
        }
        manifest.segments = segments.map(\.entry)
        manifest.generation = generation + 1
        try manifest.write(to: path)
        generation = manifest.generation
        // What is no part of the index any more, and what ended programs have left.
        let needed = manifest.files
        for name in (try? FileSystem.list(path)) ?? [] where Self.isOwnFile(name) && !needed.contains(name) {
            try? FileSystem.remove(FileSystem.join(path, name))
        }
    }
}

/// Documents in memory, not yet written.
private struct DocumentBuffer {
    private var ids: [String] = []
    private var texts: [String] = []
    private var sequences: [UInt64] = []
    private var entries: [[(term: UInt32, weight: Float)]] = []
    private var values: [[(field: Int, value: MetadataValue)]] = []
    private var places: [ExactString: Int] = [:]
    private var removed: Set<Int> = []
    private(set) var byteCount = 0

    var isEmpty: Bool { ids.count == removed.count }

    mutating func append(
        _ document: IndexedDocument, _ entries: [(term: UInt32, weight: Float)],
        _ values: [(field: Int, value: MetadataValue)], sequence: UInt64
    ) {
        if let old = places.updateValue(ids.count, forKey: ExactString(document.id)) { removed.insert(old) }
        ids.append(document.id)
        texts.append(document.text)
        sequences.append(sequence)
        self.entries.append(entries)
        self.values.append(values)
        byteCount += 256 + entries.count * 8 + document.text.utf8.count + document.id.utf8.count * 2
    }

    mutating func remove(_ id: String) -> Bool {
        guard let place = places.removeValue(forKey: ExactString(id)) else { return false }
        removed.insert(place)
        return true
    }

    private var kept: [Int] { ids.indices.filter { !removed.contains($0) } }

    /// The mean sum of weights of a document.
    var averageLength: Float {
        let kept = kept
        let total = kept.reduce(0.0) { $0 + entries[$1].reduce(0.0) { $0 + Double($1.weight) } }
        return kept.isEmpty ? 0 : Float(total / Double(kept.count))
    }

    func content(
        termCount: Int, fields: [(name: String, kind: MetadataValue.Kind)], weighting: IndexSettings.Weighting
    ) throws -> Segment.Content {
        let kept = kept
        let rows = kept.map { index -> [(column: Int, value: Float)] in
            guard case .bm25(let bm25, let average) = weighting else {
                return entries[index].map { (Int($0.term), $0.weight) }
            }
            let length = entries[index].reduce(Float(0)) { $0 + $1.weight }
            return entries[index].map {
                (Int($0.term), bm25.weight(count: $0.weight, length: length, averageLength: average ?? 0))
            }
        }
        var content = Segment.Content(vectors: try DocumentVectors(SparseMatrix(columns: termCount, rows: rows)))
        content.ids = kept.map { ids[$0] }
        content.texts = kept.map { texts[$0] }
        content.sequences = kept.map { sequences[$0] }
        content.metadata = fields.enumerated().map { number, field in
            (field.name, field.kind, kept.map { document in values[document].first { $0.field == number }?.value })
        }
        return content
    }
}
