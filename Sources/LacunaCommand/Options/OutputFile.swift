import ArgumentParser
import LacunaIO
import LacunaTensor

/// A file that a command writes; `-` is standard output.
struct OutputFile: ExpressibleByArgument, Sendable, CustomStringConvertible {
    let path: String

    init(path: String) { self.path = path }

    init?(argument: String) {
        if argument.isEmpty { return nil }
        // The same thing by another name, under which it would be opened, and overwritten, a second time.
        path = argument == "/dev/stdout" ? "-" : argument
    }

    var isStandardOutput: Bool { path == "-" }
    var description: String { path }
    static var defaultCompletionKind: CompletionKind { .file() }

    /// Says no before the work rather than after it.
    ///
    /// - Throws: ``LacunaError`` if one of the files is there and may not be replaced, can never be written, or is named twice.
    static func check(_ files: [OutputFile?], overwriting: Bool) throws {
        var seen: Set<String> = []
        for file in files.compactMap({ $0 }) {
            guard seen.insert(file.path).inserted else {
                throw LacunaError.invalidArgument(file.path, reason: "two results cannot go to one file")
            }
            if file.isStandardOutput { continue }
            // A device or a pipe is written through; there is nothing to lose.
            if FileSystem.isPlainFile(file.path) && !overwriting {
                throw LacunaError.file(path: file.path, reason: "exists already; give --force to replace it")
            }
            try AtomicFile.check(file.path)
        }
    }

    /// Writes what `body` hands over piece by piece, each of whole characters.
    func write(pieces body: (([UInt8]) throws -> Void) throws -> Void) throws {
        if isStandardOutput { return try body { Console.output.write(String(decoding: $0, as: UTF8.self)) } }
        let file = try AtomicFile(path)
        try body { try file.write($0) }
        try file.commit()
    }

    func write(_ text: String) throws {
        if isStandardOutput { return Console.output.write(text) }
        try AtomicFile.write(text, to: path)
    }
}
