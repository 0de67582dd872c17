import LacunaIO
import LacunaTensor

/// Data sets in the files in which they are distributed.
public enum ImageFiles {
    /// Fashion-MNIST from the directory of its four IDX files, plain or gzipped: images [n, 1, 28, 28] of mean 0 and
    /// deviation 1 (by the training images' statistics).
    ///
    /// - Throws: `LacunaError.file`, `.malformed` and `.tensorMismatch` for files that are absent or something else.
    public static func fashionMNIST(_ directory: String) throws -> (train: LabelledExamples, test: LabelledExamples) {
        func file(_ name: String) throws -> IDXFile {
            let plain = FileSystem.join(directory, name)
            return try IDXFile(FileSystem.exists(plain) ? plain : plain + ".gz")
        }
        func part(_ prefix: String) throws -> (images: IDXFile, labels: [Int32]) {
            let images = try file("\(prefix)-images-idx3-ubyte")
            let labels = try file("\(prefix)-labels-idx1-ubyte")
            guard images.shape.count == 3, labels.shape == [images.shape[0]] else {
                throw LacunaError.tensorMismatch(
                    file: directory, name: prefix, expected: "[n, height, width] and [n]",
                    found: "\(images.shape) and \(labels.shape)")
            }
            return (images, labels.bytes.map { Int32($0) })
        }
        let train = try part("train")
        let test = try part("t10k")
        let sum = train.images.bytes.reduce(0) { $0 + Int($1) }
        let squares = train.images.bytes.reduce(0) { $0 + Int($1) * Int($1) }
        let count = Double(max(train.images.bytes.count, 1))
        let mean = Double(sum) / count
        let deviation = max(Double(squares) / count - mean * mean, 1e-12).squareRoot()
        func examples(_ part: (images: IDXFile, labels: [Int32])) throws -> LabelledExamples {
            let table = (0..<256).map { Float((Double($0) - mean) / deviation) }
            let shape = part.images.shape
            var inputs = Tensor<Float>(uninitialized: [shape[0], 1, shape[1], shape[2]])
            inputs.withMutablePointer { x in
                part.images.bytes.withUnsafeBufferPointer { bytes in
                    for i in bytes.indices { x[i] = table[Int(bytes[i])] }
                }
            }
            return try LabelledExamples(inputs: inputs, labels: part.labels, classes: 10)
        }
        return (try examples(train), try examples(test))
    }

    /// A table of numbers with the class in its last column, split into training and test examples at random; inputs
    /// are standardised by the training part's statistics.
    ///
    /// - Throws: `LacunaError.malformed` for classes that are not whole numbers from 0 on.
    public static func table(
        _ path: String, testFraction: Double = 0.2, seed: UInt64 = 0
    ) throws -> (train: LabelledExamples, test: LabelledExamples) {
        let table = try NumberTable(path)
        let (rows, width) = (table.rows, table.columns - 1)
        guard rows >= 2, width >= 1 else {
            throw LacunaError.malformed(
                file: path, location: "table", reason: "\(rows) rows of \(table.columns) columns")
        }
        let labels = try (0..<rows).map { row in
            let value = table.values[row * table.columns + width]
            guard let label = Int32(exactly: value), label >= 0, label < 1 << 20 else {
                throw LacunaError.malformed(
                    file: path, location: "row \(row + 1)", reason: "the class \(value) is no whole number from 0 on")
            }
            return label
        }
        var generator = SeededGenerator(seed: seed, stream: 0x7AB1)
        let order = Array(0..<rows).shuffled(using: &generator)
        let testCount = max(1, min(rows - 1, Int(testFraction * Double(rows))))
        let (test, train) = (order[..<testCount], order[testCount...])
        let statistics = (0..<width).map { column -> (mean: Double, deviation: Double) in
            let values = train.map { table.values[$0 * table.columns + column] }
            let mean = values.reduce(0, +) / Double(values.count)
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
            // A column that never changes says nothing: it stays 0.
            return (mean, variance > 0 ? variance.squareRoot() : 1)
        }
        func examples(_ indices: ArraySlice<Int>) throws -> LabelledExamples {
            var inputs = Tensor<Float>(uninitialized: [indices.count, width])
            inputs.withMutablePointer { x in
                for (i, row) in indices.enumerated() {
                    for c in 0..<width {
                        let value = table.values[row * table.columns + c]
                        x[i * width + c] = Float((value - statistics[c].mean) / statistics[c].deviation)
                    }
                }
            }
            return try LabelledExamples(
                inputs: inputs, labels: indices.map { labels[$0] }, classes: Int(labels.max()!) + 1)
        }
        return (try examples(train), try examples(test))
    }
}

/// Text as numbers: one for each different byte of a training text, in ascending order; bytes it lacks share the last.
public struct ByteVocabulary: Sendable, Hashable {
    public let bytes: [UInt8]
    private let ids: [Int32]

    public init(_ text: [UInt8]) {
        bytes = Set(text).sorted()
        var ids = [Int32](repeating: Int32(bytes.count), count: 256)
        for (id, byte) in bytes.enumerated() { ids[Int(byte)] = Int32(id) }
        self.ids = ids
    }

    /// Different ids, that of unknown bytes included.
    public var count: Int { bytes.count + 1 }
    public func encode(_ text: [UInt8]) -> [Int32] { text.map { ids[Int($0)] } }
    /// The text of some ids; unknown bytes become question marks.
    public func decode(_ ids: [Int32]) -> String {
        String(decoding: ids.map { $0 >= 0 && Int($0) < bytes.count ? bytes[Int($0)] : 63 }, as: UTF8.self)
    }
}
