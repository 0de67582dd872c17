import LacunaIO
import LacunaTensor

/// What pictures went through before they became inputs of a network. Kept with a model, it prepares later ones alike.
public struct ImageEncoding: Sendable, Hashable {
    /// 1 for grey, 3 for colours.
    public let channels: Int
    /// Pixels.
    public let height: Int
    /// Pixels.
    public let width: Int
    /// Of all brightnesses, 0...1, of the training pictures.
    public let mean: Float
    /// The inverse of their deviation.
    public let scale: Float

    /// The encoding of pictures of one size.
    public init(channels: Int, height: Int, width: Int, mean: Float, scale: Float) {
        (self.channels, self.height, self.width) = (channels, height, width)
        (self.mean, self.scale) = (mean, scale)
    }

    /// Pictures as inputs [n, channels, height, width].
    ///
    /// - Throws: `LacunaError.tensorMismatch` for a picture of another size or kind, and what reading throws.
    public func callAsFunction(_ paths: [String]) throws -> Tensor<Float> {
        let size = channels * height * width
        try MachineMemory.require(shape: [paths.count, size], of: Float.self, for: "\(paths.count) pictures")
        var result = Tensor<Float>(uninitialized: [paths.count, channels, height, width])
        try result.withMutablePointer { target in
            for (index, path) in paths.enumerated() {
                let image = try Picture(path)
                try require(image, path)
                for i in 0..<size { target[index * size + i] = (image.values[i] - mean) * scale }
            }
        }
        return result
    }

    private func require(_ image: Picture, _ path: String) throws {
        guard [image.channels, image.height, image.width] == [channels, height, width] else {
            throw LacunaError.tensorMismatch(
                file: path, name: "image", expected: "\(channels) x \(height) x \(width)",
                found: "\(image.channels) x \(image.height) x \(image.width)")
        }
    }

    /// The encoding as JSON, which ``init(_:)`` reads.
    public var json: JSONValue {
        [
            "channels": JSONValue(channels), "height": JSONValue(height), "width": JSONValue(width),
            "mean": .number(Double(mean)), "scale": .number(Double(scale)),
        ]
    }

    /// Takes back what ``json`` gave.
    ///
    /// - Throws: `LacunaError.malformed` for anything else.
    public init(_ fields: JSONFields) throws {
        func side(_ key: String) throws -> Int {
            let value = try fields.integer(key)
            guard value >= 1 && value <= 1 << 16 else { throw fields.failure(key, "\(value) is not in 1...65536") }
            return value
        }
        func finite(_ key: String) throws -> Float {
            let value = Float(try fields.number(key))
            guard value.isFinite else { throw fields.failure(key, "is not finite") }
            return value
        }
        self.init(
            channels: try side("channels"), height: try side("height"), width: try side("width"),
            mean: try finite("mean"), scale: try finite("scale"))
    }
}

/// A folder with a folder of pictures for each class.
public struct ImageFolder: Sendable {
    /// The names of the folders, in order: the classes.
    public let classes: [String]
    /// The pictures and their classes, by name.
    public let files: [(path: String, label: Int32)]

    private static let endings = [".pgm", ".ppm", ".pnm", ".png"]

    /// Whether a file's name is that of a picture that can be read.
    static func isImage(_ name: String) -> Bool { endings.contains { name.lowercased().hasSuffix($0) } }

    /// - Throws: `LacunaError.malformed` for a folder with fewer than two classes, a class without pictures, or a file in a
    ///   class that is none.
    public init(_ directory: String) throws {
        let names = try FileSystem.list(directory).sorted().filter {
            !$0.hasPrefix(".") && FileSystem.isDirectory(FileSystem.join(directory, $0))
        }
        guard names.count >= 2 else {
            throw LacunaError.malformed(
                file: directory, location: "folder", reason: "has \(names.count) folders; there is one for each class")
        }
        classes = names
        var files: [(String, Int32)] = []
        for (label, name) in names.enumerated() {
            let folder = FileSystem.join(directory, name)
            let images = try FileSystem.list(folder).sorted().filter { !$0.hasPrefix(".") }
            if let other = images.first(where: { !Self.isImage($0) }) {
                throw LacunaError.unsupported(
                    file: FileSystem.join(folder, other),
                    what: "a picture that is none of \(Self.endings.joined(separator: ", "))")
            }
            if images.isEmpty { throw LacunaError.malformed(file: folder, location: "folder", reason: "is empty") }
            files += images.map { (FileSystem.join(folder, $0), Int32(label)) }
        }
        self.files = files
    }

    /// The pictures as examples, split at random; brightnesses standardised by the training part's mean and deviation.
    ///
    /// - Throws: `LacunaError.tensorMismatch` unless all pictures have one size, and what reading throws.
    public func examples(
        testFraction: Double = 0.2, seed: UInt64 = 0
    ) throws -> (train: LabelledExamples, test: LabelledExamples, encoding: ImageEncoding) {
        var generator = SeededGenerator(seed: seed, stream: 0x1346)
        let order = Array(files.indices).shuffled(using: &generator)
        let testCount = max(1, min(files.count - 1, Int(testFraction * Double(files.count))))
        let (test, train) = (order[..<testCount], order[testCount...])
        let first = try Picture(files[0].path)
        let plain = ImageEncoding(
            channels: first.channels, height: first.height, width: first.width, mean: 0, scale: 1)
        let raw = try plain(train.map { files[$0].path })
        let all = Standardization(of: raw.reshaped([raw.count, 1]))
        let encoding = ImageEncoding(
            channels: first.channels, height: first.height, width: first.width, mean: all.means[0],
            scale: all.scales[0])
        func part(_ indices: ArraySlice<Int>) throws -> LabelledExamples {
            try LabelledExamples(
                inputs: encoding(indices.map { files[$0].path }), labels: indices.map { files[$0].label },
                classes: classes.count)
        }
        return (try part(train), try part(test), encoding)
    }
}
