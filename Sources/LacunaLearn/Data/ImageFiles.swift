import LacunaIO
import LacunaTensor

/// Data sets of images in the files in which they are distributed.
public enum ImageFiles {
    /// The classes of Fashion-MNIST, in the order of their labels.
    public static let fashionClasses = [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]

    /// Fashion-MNIST from the directory of its four IDX files, plain or gzipped: images [n, 1, 28, 28] of mean 0 and
    /// deviation 1 (by the training images' statistics). The scaler, of one column, is what every pixel went through.
    ///
    /// - Throws: `LacunaError.file`, `.malformed` and `.tensorMismatch` for files that are absent or something else.
    public static func fashionMNIST(
        _ directory: String
    ) throws -> (train: LabelledExamples, test: LabelledExamples, scaler: Standardization) {
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
        let scaler = Standardization(means: [Float(mean)], scales: [Float(1 / deviation)])
        return (try examples(train), try examples(test), scaler)
    }
}
