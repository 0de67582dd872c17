import Foundation

/// Makes sure that the dense library, which every ratio is measured against, runs as fast as it can.
public enum CleanEnvironment {
    /// Variables that pin OpenBLAS to the kernels or cache sizes of some other processor.
    static let pins = ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"]

    /// Starts this program anew without those variables if one is set: OpenBLAS read them when it was loaded.
    ///
    /// Returns if there was nothing to do.
    public static func restartIfPinned() {
        let found = pins.filter { getenv($0) != nil }
        guard !found.isEmpty else { return }
        for name in found { unsetenv(name) }
        let note = "\(found.joined(separator: ", ")) would slow OpenBLAS down: starting again without.\n"
        FileHandle.standardError.write(Data(note.utf8))
        var arguments: [UnsafeMutablePointer<CChar>?] = CommandLine.arguments.map { strdup($0) }
        arguments.append(nil)
        let program = Bundle.main.executablePath ?? CommandLine.arguments[0]
        execv(program, arguments)
        // Only reached if the program could not be started again.
        let reason = String(cString: strerror(errno))
        FileHandle.standardError.write(Data("\(program): \(reason)\n".utf8))
        exit(1)
    }
}
