import ArgumentParser

/// A text or table that a command reads; `-` is standard input.
struct InputFile: ExpressibleByArgument, Sendable, CustomStringConvertible {
    /// What the file system calls it.
    let path: String

    init?(argument: String) {
        if argument.isEmpty { return nil }
        path = argument == "-" ? "/dev/stdin" : argument
    }

    var description: String { path }
    static var defaultCompletionKind: CompletionKind { .file() }
}
