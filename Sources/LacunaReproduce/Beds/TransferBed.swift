import Lacuna

/// Two tasks of one world: noisy samples around centres of a 12-dimensional subspace of 64 dimensions, as in ``BlobTask``, beside 32 inputs that are
/// noise in the first task and free in the second: small noise, as the frame of a picture says little, or as large as the others.
///
/// The first has 60 centres in ten classes, the second 20 fresh ones in five. Both are standardised by the first's training examples.
struct TransferBed {
    static let own = 64
    static let free = 32

    /// [n, 96].
    let train: LabelledExamples
    let test: LabelledExamples
    /// [n, 64].
    let targetTrain: LabelledExamples
    let targetTest: LabelledExamples
    /// The second task's test examples with noise in the free inputs, [n, 96]: what a probe reads.
    let probeTrain: LabelledExamples
    let probeTest: LabelledExamples

    /// - Parameter noise: Deviation of the free inputs in the first task, and where a probe reads the second.
    init(seed: UInt64, noise deviation: Float) throws {
        var generator = SeededGenerator(seed: seed, stream: 0x25)
        let latent = 12
        let projection = Tensor<Float>(
            normal: [latent, Self.own], standardDeviation: 1 / Float(latent).squareRoot(), using: &generator)
        func sample(_ count: Int, _ centres: Tensor<Float>, classes: Int) -> (Tensor<Float>, [Int32]) {
            var points = Tensor<Float>(normal: [count, latent], using: &generator)
            var labels: [Int32] = []
            for i in 0..<count {
                let centre = Int.random(in: 0..<centres.rows, using: &generator)
                labels.append(Int32(centre % classes))
                for j in 0..<latent { points[i, j] += centres[centre, j] }
            }
            let noise = Tensor<Float>(normal: [count, Self.own], standardDeviation: 0.7, using: &generator)
            return (points.multiplied(by: projection) + noise, labels)
        }
        func centres(_ count: Int) -> Tensor<Float> {
            Tensor(normal: [count, latent], standardDeviation: 1.5, using: &generator)
        }
        func widened(_ x: Tensor<Float>) -> Tensor<Float> {
            let noise = Tensor<Float>(
                normal: [x.rows, Self.free], standardDeviation: deviation, using: &generator)
            return Tensor((0..<x.rows).flatMap { x.row($0) + noise.row($0) }, shape: [x.rows, Self.own + Self.free])
        }
        let (first, second) = (centres(60), centres(20))
        let (x, labels) = sample(2000, first, classes: 10)
        let (y, testLabels) = sample(3000, first, classes: 10)
        let standard = Standardization(of: x)
        train = try LabelledExamples(inputs: widened(standard(x)), labels: labels, classes: 10)
        test = try LabelledExamples(inputs: widened(standard(y)), labels: testLabels, classes: 10)
        let (u, targets) = sample(1000, second, classes: 5)
        let (v, testTargets) = sample(3000, second, classes: 5)
        targetTrain = try LabelledExamples(inputs: standard(u), labels: targets, classes: 5)
        targetTest = try LabelledExamples(inputs: standard(v), labels: testTargets, classes: 5)
        probeTrain = try LabelledExamples(inputs: widened(standard(u)), labels: targets, classes: 5)
        probeTest = try LabelledExamples(inputs: widened(standard(v)), labels: testTargets, classes: 5)
    }
}
