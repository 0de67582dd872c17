import ArgumentParser
import LacunaTensor

/// What the exit code of `lacuna` means.
enum ExitStatus: Int32, Error, Sendable {
    case success = 0
    /// The work was done and the answer is no (a verdict, a quality bar), or it could not be done with valid input
    /// (a failed download, a computation that broke down, a full disk, too little memory).
    case failure = 1
    /// Bad usage, or a bad input file.
    case badInput = 2
    /// Ended by Ctrl-C: 128 + SIGINT, as shells expect. (Another signal has its own number; ``LacunaMain`` adds it.)
    case cancelled = 130

    init(for error: any Error) {
        switch error {
        case let failure as CommandFailure: self = failure.status
        case is FetchFailure: self = .failure
        case LacunaError.cancelled: self = .cancelled
        case LacunaError.numerical, LacunaError.resource: self = .failure
        default: self = .badInput
        }
    }
}

/// A failure of the command line itself, with the message for the user and the exit code.
struct CommandFailure: Error, CustomStringConvertible {
    let status: ExitStatus
    let description: String

    init(_ status: ExitStatus, _ description: String) {
        self.status = status
        self.description = description
    }
}
