import LacunaTensor

/// Objects of a file with one JSON object a line. Empty lines are passed over.
public final class JSONLines {
    private let lines: TextLines
    private let skipsBad: Bool
    /// Lines that were left out because something was wrong with them.
    public private(set) var skipped = 0
    /// What was wrong with the first of them.
    public private(set) var firstSkipped: LacunaError?

    /// As it was given; `/dev/stdin` for `-`.
    public var path: String { lines.path }
    /// The number of the line read last.
    public var line: Int { lines.line }

    /// - Parameter skipsBad: Leave out lines with something wrong, and count them, instead of throwing.
    /// - Throws: As ``TextLines/init(_:)``.
    public init(_ path: String, skipsBad: Bool = false) throws {
        lines = try TextLines(path)
        self.skipsBad = skipsBad
    }

    /// The next object, as `body` makes something of it; nil after the last.
    ///
    /// - Throws: `LacunaError.malformed` with the line for what is no JSON object, and what `body` throws, unless such
    ///   lines are left out; `LacunaError.file` where reading fails.
    public func next<Result>(_ body: (JSONFields) throws -> Result) throws -> Result? {
        while let bytes = try lines.next() {
            if bytes.allSatisfy({ $0 == 0x20 || $0 == 0x09 }) { continue }
            do {
                let value: JSONValue
                do {
                    value = try bytes.withUnsafeBytes { try JSONValue(parsing: $0, file: lines.path) }
                } catch LacunaError.malformed(_, _, let reason) {
                    throw lines.failure(reason)
                }
                return try body(JSONFields(value, file: lines.path, location: "line \(lines.line)"))
            } catch let error as LacunaError where skipsBad {
                if error == .cancelled { throw error }
                skipped += 1
                if firstSkipped == nil { firstSkipped = error }
            }
        }
        return nil
    }

    /// The error for a file that should have had lines.
    ///
    /// - Parameter what: What they should have been.
    public func isEmpty(_ what: String) -> LacunaError {
        .malformed(file: path, location: "line 1", reason: "there are no \(what)")
    }
}
