import ArgumentParser
import LacunaIO
import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Becomes `lacuna-server`, which is built from a package of its own so that nothing here needs an HTTP server.
struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Serves a model to clients of OpenAI's interface, with log-probabilities of prompts.",
        discussion: """
            Examples:
              lacuna serve smollm2
              lacuna serve sparse-model --port 9000 --slots 16
              lacuna serve --help

            Runs lacuna-server, which has to be beside this program or in PATH; 'make server' builds it. docs/Serving.md \
            says what clients may ask.
            """)

    @Argument(
        parsing: .captureForPassthrough, help: "What lacuna-server is to be given.", completion: NameCompletion.models)
    var arguments: [String] = []

    func run() throws { try Self.become(arguments) }

    /// Runs lacuna-server in place of this program.
    static func become(_ arguments: [String]) throws -> Never {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        guard let server = server(beside: FileSystem.programPath, path: path)
        else {
            throw CommandFailure(
                .failure,
                "there is no lacuna-server beside this program or in PATH; 'make server' in Lacuna's directory builds it"
            )
        }
        var words = ([server] + arguments).map { strdup($0) } + [nil]
        execv(server, &words)
        throw CommandFailure(.failure, "\(server): \(String(cString: strerror(errno)))")
    }

    /// The program `lacuna-server`, in the directory of a program or else the first in a search path; nil if it is in none.
    static func server(beside program: String?, path: String) -> String? {
        let own = program.map { String($0[..<($0.lastIndex(of: "/") ?? $0.startIndex)]) }
        let directories = (own.map { [$0] } ?? []) + path.split(separator: ":").map(String.init)
        return directories.lazy.map { FileSystem.join($0, "lacuna-server") }.first {
            FileSystem.isPlainFile($0) && access($0, X_OK) == 0
        }
    }
}
