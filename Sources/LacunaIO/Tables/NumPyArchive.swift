import LacunaTensor

/// Several arrays in one `.npz` file, as `numpy.savez` writes it, or `numpy.savez_compressed`: a ZIP archive of
/// `.npy` files. Opening it reads the directory; an array is decoded when it is asked for.
public struct NumPyArchive: Sendable {
    private let archive: ZipArchive
    /// The names of entries by those of arrays.
    private let entries: [String: String]

    /// The names of the arrays, without `.npy`, in alphabetical order.
    public var names: [String] { entries.keys.sorted() }

    /// An array by name, without `.npy`; nil if there is none.
    ///
    /// - Throws: As ``NumPyArray/init(contentsOf:)``, and ``LacunaError/malformed(file:location:reason:)`` if its bytes are
    ///   damaged.
    public func array(_ name: String) throws -> NumPyArray? {
        try withBytes(of: name) { try NumPyArray($0, file: $1) }
    }

    /// Calls `body` with the bytes of an array's file and its name for messages; nil if there is no such array.
    func withBytes<Result>(of name: String, _ body: (UnsafeRawBufferPointer, String) throws -> Result) throws -> Result?
    {
        guard let entry = entries[name] else { return nil }
        return try archive.withBytes(of: entry, body)
    }

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if the archive is damaged;
    ///   ``LacunaError/unsupported(file:what:)`` for entries that are neither stored nor deflated.
    public init(contentsOf path: String) throws {
        archive = try ZipArchive(try MappedFile(path), kind: ".npz archive")
        var entries: [String: String] = [:]
        for name in archive.names {
            let key = name.hasSuffix(".npy") ? String(name.dropLast(4)) : name
            guard entries.updateValue(name, forKey: key) == nil else {
                throw LacunaError.malformed(file: path, location: "directory", reason: "'\(key)' comes twice")
            }
        }
        self.entries = entries
    }
}
