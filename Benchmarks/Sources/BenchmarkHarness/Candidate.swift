/// What one call of a candidate has to do at the least: what its time is judged by.
public struct Work: Sendable, Codable, Equatable {
    /// Bytes that must come from memory.
    public var bytes: Double
    /// Floating-point operations, a multiplication and an addition counted as two.
    public var operations: Double
    /// Tokens that come out.
    public var tokens: Double

    public init(bytes: Double = 0, operations: Double = 0, tokens: Double = 0) {
        self.bytes = bytes
        self.operations = operations
        self.tokens = tokens
    }
}

/// One of several ways to do the same thing, to be timed against the others.
public struct Candidate {
    public let name: String
    public let work: Work
    /// Does the work once. The argument counts the calls, for work that is not the same each time.
    let run: (Int) -> Void

    public init(_ name: String, work: Work, run: @escaping (Int) -> Void) {
        self.name = name
        self.work = work
        self.run = run
    }
}
