import Foundation
import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRetrieve

/// A directory for one test's files, removed with the object.
final class Scratch: Sendable {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/lacuna-retrieve-\(UUID().uuidString)"
        try FileSystem.createDirectory(path)
    }

    deinit { try? FileSystem.remove(path) }

    func file(_ name: String) -> String { FileSystem.join(path, name) }

    func write(_ text: String, to name: String) throws -> String {
        try FileSystem.createDirectory(FileSystem.directory(of: file(name)))
        try Data(text.utf8).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }
}

func fixture(_ name: String) throws -> String {
    let path = try #require(Bundle.module.path(forResource: "Fixtures", ofType: nil))
    return path + "/" + name
}

/// Calls `body` and returns the error it throws, which has to be a `LacunaError`.
func failure<T>(
    _ body: () throws -> T, sourceLocation: SourceLocation = #_sourceLocation
) -> LacunaError? {
    do {
        _ = try body()
        Issue.record("no error was thrown", sourceLocation: sourceLocation)
    } catch let error as LacunaError {
        return error
    } catch {
        Issue.record("an untyped error: \(error)", sourceLocation: sourceLocation)
    }
    return nil
}

/// Vectors as learned encoders make them: frequent and rare terms, topics, uneven weights. Multiples of 1/8 tie often.
func collection(
    documents: Int, terms: Int, entries: Int, topics: Int = 8, eighths: Bool = false, seed: UInt64 = 1
) throws -> SparseMatrix<Float> {
    var generator = SeededGenerator(seed: seed, stream: 77)
    let rows = (0..<documents).map { _ -> [(column: Int, value: Float)] in
        var row: [Int: Float] = [:]
        let topic = Int.random(in: 0..<topics, using: &generator)
        while row.count < entries {
            let u = generator.uniform()
            // Half of the terms from a topic of its own, half from everywhere, the low ones more often.
            let spread = Int(u * u * u * Double(terms))
            let term =
                generator.uniform() < 0.5
                ? spread : (topic * terms / topics + Int(u * u * Double(terms / topics))) % terms
            let weight = Float(exponential(generator.normal() * 0.6))
            row[term] = eighths ? max(1, (weight * 2).rounded()) / 8 : weight
        }
        return row.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }
    return try SparseMatrix(columns: terms, rows: rows)
}

/// The best documents by definition: a dense product in double precision, sorted.
func reference(_ documents: SparseMatrix<Float>, _ query: SparseVector<Float>, count: Int) -> [(
    document: Int, score: Double
)] {
    let dense = query.densified().map(Double.init)
    var scores = [Double](repeating: 0, count: documents.rows)
    documents.forEachEntry { scores[$0] += Double($2) * dense[$1] }
    return scores.indices.filter { scores[$0] > 0 }
        .sorted { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }.prefix(count)
        .map { ($0, scores[$0]) }
}

/// A sparse vector from places and values.
func sparse(_ count: Int, _ entries: [(Int, Float)]) throws -> SparseVector<Float> {
    try SparseVector(count: count, entries: entries.map { (index: $0.0, value: $0.1) })
}
