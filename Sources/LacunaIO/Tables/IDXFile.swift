import LacunaTensor

/// Arrays of bytes in the IDX format of the MNIST family, plain or gzipped.
public struct IDXFile: Sendable {
    /// Length of each dimension, outermost first.
    public let shape: [Int]
    /// Row-major.
    public let bytes: [UInt8]

    /// - Throws: `LacunaError.file`, and `.malformed` unless the file is an array of unsigned bytes.
    public init(_ path: String) throws {
        let content = try Gzip.decompressed(FileSystem.readBytes(path), file: path)
        func bad(_ reason: String) -> LacunaError { .malformed(file: path, location: "header", reason: reason) }
        guard content.count >= 4, content[0] == 0, content[1] == 0 else { throw bad("not an IDX file") }
        guard content[2] == 8 else { throw bad("elements of type \(content[2]), expected unsigned bytes (8)") }
        let rank = Int(content[3])
        guard content.count >= 4 + 4 * rank else { throw bad("the file ends inside its header") }
        var shape: [Int] = []
        var count = 1
        for d in 0..<rank {
            let length = (0..<4).reduce(0) { $0 << 8 | Int(content[4 + 4 * d + $1]) }
            shape.append(length)
            let (product, overflow) = count.multipliedReportingOverflow(by: length)
            guard !overflow else { throw bad("a shape of \(shape)…") }
            count = product
        }
        guard content.count == 4 + 4 * rank + count else {
            throw bad("\(content.count - 4 - 4 * rank) bytes for shape \(shape)")
        }
        self.shape = shape
        bytes = Array(content[(4 + 4 * rank)...])
    }
}
