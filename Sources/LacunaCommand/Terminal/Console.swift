import LacunaTensor

/// One of the two output streams: results go to `output`, news and errors to `error`.
struct Console: Sendable {
    static let output = Console(descriptor: 1)
    static let error = Console(descriptor: 2)

    enum Style: String, Sendable {
        case bold = "1"
        case dim = "2"
        case red = "31"
        case green = "32"
        case yellow = "33"

        static let end = "\u{1B}[0m"
        var sequence: String { "\u{1B}[\(rawValue)m" }
        /// All that a style can put into text.
        static let sequences = [bold, dim, red, green, yellow].map(\.sequence) + [end]
    }

    /// The number of the first error of ``output``.
    private static let failure = Locked<Int32?>(nil)

    /// Why results did not arrive: a full disk, most likely. Where nobody wants them, or reads them to the end, nothing failed.
    static var outputFailure: String? {
        failure.withLock { $0 }.flatMap { [EPIPE, EBADF].contains($0) ? nil : String(cString: strerror($0)) }
    }

    let descriptor: Int32
    let isTerminal: Bool
    /// Colours are for terminals, and not for those who set `NO_COLOR` or use a dumb one.
    let usesColour: Bool

    init(
        descriptor: Int32, environment: [String: String] = ProcessInfo.processInfo.environment, isTerminal: Bool? = nil
    ) {
        self.descriptor = descriptor
        self.isTerminal = isTerminal ?? (isatty(descriptor) == 1)
        let refused = !(environment["NO_COLOR"] ?? "").isEmpty || environment["TERM"] == "dumb"
        usesColour = self.isTerminal && !refused
    }

    /// Columns of the terminal; 100 where there is none.
    var width: Int {
        var size = winsize()
        guard isTerminal, ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 100 }
        return Int(size.ws_col)
    }

    func styled(_ text: String, _ style: Style) -> String {
        usesColour ? style.sequence + text + Style.end : text
    }

    /// Writes at once, as it stands, without a buffer.
    func write(_ text: String) {
        var text = text
        text.withUTF8 { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = systemWrite(descriptor, rest.withUnsafeBytes(\.baseAddress)!, rest.count)
                if count < 0 {
                    if errno == EINTR || errno == EAGAIN { continue }
                    let reason = errno
                    if descriptor == Self.output.descriptor { Self.failure.withLock { $0 = $0 ?? reason } }
                    return
                }
                rest = rest.dropFirst(count)
            }
        }
    }

    /// Writes a line. Commands to the terminal that came in with names are shown, not obeyed.
    func print(_ text: String = "") { write(Printable.text(text) + "\n") }
}

// The member of the same name hides the C function inside `Console`.
private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
    write(descriptor, bytes, count)
}
