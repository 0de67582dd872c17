import LacunaTensor

/// The folder `Data` of a checkout of Lacuna, with the small texts and tables that some commands take by default.
///
/// It is looked for in the working directory, and then in every folder that the program is in, from the inside out, so that a program
/// of a checkout's `.build` finds the checkout from wherever it is called.
public enum RepositoryData {
    /// Where a file or a folder of `Data` is.
    ///
    /// - Parameter name: Its path in `Data`, such as `wikitext-2/test.txt`.
    /// - Returns: Its path as seen from the working directory, or an absolute one; nil if it is nowhere.
    public static func path(_ name: String) -> String? { path(name, program: FileSystem.programPath) }

    /// As ``path(_:)``, for what cannot be done without.
    ///
    /// - Parameter advice: What to do where it is missing.
    /// - Throws: ``LacunaError/file(path:reason:)`` that names both places and gives the advice.
    public static func require(_ name: String, otherwise advice: String) throws -> String {
        try require(name, otherwise: advice, program: FileSystem.programPath)
    }

    static func path(_ name: String, program: String?) -> String? {
        let file = FileSystem.join("Data", name)
        return ([""] + folders(of: program)).lazy.map { FileSystem.join($0, file) }.first { FileSystem.exists($0) }
    }

    static func require(_ name: String, otherwise advice: String, program: String?) throws -> String {
        if let found = path(name, program: program) { return found }
        let here = SystemCall.realPath(".") ?? "."
        let folder = program.map { FileSystem.directory(of: $0) } ?? "an unknown place"
        throw LacunaError.file(
            path: FileSystem.join("Data", name),
            reason: "is neither in the working directory, \(here), nor beside or above the program, in \(folder): "
                + advice)
    }

    /// The folders that a program is in, the innermost one first, without the root.
    private static func folders(of program: String?) -> [String] {
        var folders: [String] = []
        var place = program.map { FileSystem.directory(of: $0) } ?? ""
        while !place.isEmpty && place != "/" {
            folders.append(place)
            place = FileSystem.directory(of: place)
        }
        return folders
    }
}
