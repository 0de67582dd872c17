import Lacuna

/// Handwritten digits as tasks that come one after the other.
enum TaskSequences {
    /// Five tasks of two digits each; nil if the digits are not there.
    static func splitDigits(seed: UInt64) throws -> TaskStream? {
        guard let path = RealData.file("digits/digits.csv") else { return nil }
        let (train, test, _) = try TableFiles.classification(path, testFraction: 0.3, seed: seed)
        return try TaskStream(train: train, test: test, tasks: 5)
    }

    /// Five tasks of ten digits each, the pixels of each task in another order: 50 classes; nil if the digits are not there.
    static func permutedDigits(seed: UInt64) throws -> TaskStream? {
        guard let path = RealData.file("digits/digits.csv") else { return nil }
        let (train, test, _) = try TableFiles.classification(path, testFraction: 0.3, seed: seed)
        var generator = SeededGenerator(seed: seed, stream: 0x9E12)
        let orders = (0..<5).map { task -> [Int] in
            task == 0 ? Array(0..<64) : Array(0..<64).shuffled(using: &generator)
        }
        func permuted(_ examples: LabelledExamples) throws -> LabelledExamples {
            let rows = examples.rows
            return try LabelledExamples(
                inputs: Tensor(
                    orders.flatMap { order in (0..<rows.rows).flatMap { row in order.map { rows[row, $0] } } },
                    shape: [orders.count * rows.rows, 64]),
                labels: orders.indices.flatMap { task in examples.labels.map { $0 + Int32(10 * task) } }, classes: 50)
        }
        return try TaskStream(train: permuted(train), test: permuted(test), tasks: 5)
    }

    static let missing = RealData.isMissing("digits", "no network was trained")
}
