/// Everything that can go wrong with a user's input, with enough detail to find the culprit.
///
/// Programmer errors (an index out of range, a shape that the caller controls) are preconditions instead.
public enum LacunaError: Error, Equatable, Sendable {
    /// A file could not be opened, read, mapped, written or renamed.
    case file(path: String, reason: String)
    /// A file's content does not follow its format. `location` names the tensor, line, key or byte offset.
    case malformed(file: String, location: String, reason: String)
    /// A tensor that is needed is absent.
    case missingTensor(file: String, name: String)
    /// A tensor has another shape or element type than its use requires.
    case tensorMismatch(file: String, name: String, expected: String, found: String)
    /// The input is valid, but of a kind that is not supported.
    case unsupported(file: String?, what: String)
    /// An argument is outside its range. `argument` is the name that the user typed or would type.
    case invalidArgument(_ argument: String, reason: String)
    /// A computation failed on these numbers: not positive definite, no convergence, not finite.
    case numerical(operation: String, reason: String)
    /// The machine has too little of something: memory, or room on a disk. `what` says for what; both numbers are bytes.
    case resource(_ what: String, needed: Int, available: Int)
    /// The user cancelled the work.
    case cancelled
}

extension LacunaError: CustomStringConvertible {
    /// A sentence for people, which names the file, tensor, line or argument.
    public var description: String {
        switch self {
        case .file(let path, let reason): "\(path): \(reason)"
        case .malformed(let file, let location, let reason): "\(file): \(location): \(reason)"
        case .missingTensor(let file, let name): "\(file): there is no tensor '\(name)'"
        case .tensorMismatch(let file, let name, let expected, let found):
            "\(file): tensor '\(name)': expected \(expected), found \(found)"
        case .unsupported(let file?, let what): "\(file): not supported: \(what)"
        case .unsupported(nil, let what): "not supported: \(what)"
        case .invalidArgument(let argument, let reason): "\(argument): \(reason)"
        case .numerical(let operation, let reason): "\(operation): \(reason)"
        case .resource(let what, let needed, let available):
            "\(what): \(Self.amount(needed)) are needed, \(Self.amount(available)) are available"
        case .cancelled: "cancelled"
        }
    }

    /// Bytes in decimal units with one digit after the point, as disks and registries count.
    private static func amount(_ bytes: Int) -> String {
        let units = ["kB", "MB", "GB", "TB", "PB", "EB"]
        var (value, unit) = (Double(bytes), -1)
        while value >= 999.95 && unit + 1 < units.count { (value, unit) = (value / 1000, unit + 1) }
        return unit < 0 ? "\(bytes) bytes" : "\((value * 10).rounded() / 10) \(units[unit])"
    }
}
