/// Something that can be fetched: which package of which client holds it, and which of its files are kept.
public struct CatalogueEntry: Sendable {
    /// The program that fetches a package; the raw value is what it is called.
    public enum Client: String, Sendable {
        /// A Python wheel, through `python3 -m pip download`.
        case pip
        /// A Debian package, through `apt-get download`.
        case apt
    }

    /// A file of the package that is kept.
    public struct File: Sendable {
        /// Where it is inside the package.
        public let path: String
        /// Its size, to the byte.
        public let bytes: Int
        /// In lower-case hexadecimal digits.
        public let sha256: String

        /// A file of the package with this size and this checksum.
        public init(_ path: String, bytes: Int, sha256: String) {
            self.path = path
            self.bytes = bytes
            self.sha256 = sha256
        }

        /// What it is called in the cache.
        public var name: String { FileSystem.name(of: path) }
    }

    /// What users call it, as `smollm2`.
    public let name: String
    /// What it is, in a line.
    public let what: String
    /// The program that fetches it.
    public let client: Client
    /// What that program calls the package.
    public let package: String
    /// Exactly this version is asked for; nil takes what the distribution has, and the checksums decide.
    public let version: String?
    /// The licence of what is in it, by its SPDX name where it has one.
    public let licence: String
    /// Size of the download.
    public let downloadBytes: Int
    /// What is kept of the package.
    public let files: [File]

    /// Of all its files.
    public var bytes: Int { files.reduce(0) { $0 + $1.bytes } }

    /// As the client is asked for it.
    public var requirement: String { version.map { "\(package)==\($0)" } ?? package }

    /// Name of its directory in the cache: another version is another directory.
    public var folder: String { version.map { "\(name)-\($0)" } ?? name }

    /// An entry of these properties.
    public init(
        name: String, what: String, client: Client, package: String, version: String?, licence: String,
        downloadBytes: Int, files: [File]
    ) {
        (self.name, self.what, self.client, self.package, self.version) = (name, what, client, package, version)
        (self.licence, self.downloadBytes, self.files) = (licence, downloadBytes, files)
    }
}
