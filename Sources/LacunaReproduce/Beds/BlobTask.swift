import Lacuna

/// A synthetic ten-class problem: noisy samples around 60 centres that live in a 12-dimensional subspace of 64
/// dimensions, six centres to a class, standardised with the statistics of the training part.
///
/// With centre `c ~ N(0, 1.5² I₁₂)` and a fixed projection `P` [12, 64] of entries `N(0, 1/12)`, a sample is
/// `x = (c + N(0, I₁₂)) P + 0.7 N(0, I₆₄)`, and its label is the centre's index modulo 10.
struct BlobTask {
    static let features = 64
    static let classes = 10

    let trainInputs: Tensor<Float>
    let trainLabels: [Int]
    let testInputs: Tensor<Float>
    let testLabels: [Int]

    init(seed: UInt64, trainCount: Int = 2000, testCount: Int = 3000) {
        let latent = 12
        let centreCount = 60
        var generator = SeededGenerator(seed: seed, stream: 0xB10B)
        let centres = Tensor<Float>(normal: [centreCount, latent], standardDeviation: 1.5, using: &generator)
        let projection = Tensor<Float>(
            normal: [latent, Self.features], standardDeviation: 1 / Float(latent).squareRoot(), using: &generator)

        func sample(_ count: Int) -> (Tensor<Float>, [Int]) {
            var points = Tensor<Float>(normal: [count, latent], using: &generator)
            var labels: [Int] = []
            points.withMutablePointer { p in
                centres.withPointer { c in
                    for i in 0..<count {
                        let centre = Int.random(in: 0..<centreCount, using: &generator)
                        labels.append(centre % Self.classes)
                        for j in 0..<latent { p[i * latent + j] += c[centre * latent + j] }
                    }
                }
            }
            var inputs = points.multiplied(by: projection)
            let noise = Tensor<Float>(normal: inputs.shape, standardDeviation: 0.7, using: &generator)
            noise.withPointer { n in
                inputs.withMutablePointer { x in for i in 0..<count * Self.features { x[i] += n[i] } }
            }
            return (inputs, labels)
        }
        var (train, trainLabels) = sample(trainCount)
        var (test, testLabels) = sample(testCount)
        Self.standardise(&train, &test)
        (self.trainInputs, self.trainLabels) = (train, trainLabels)
        (self.testInputs, self.testLabels) = (test, testLabels)
    }

    private static func standardise(_ train: inout Tensor<Float>, _ test: inout Tensor<Float>) {
        let (n, m) = (train.rows, test.rows)
        train.withMutablePointer { a in
            test.withMutablePointer { b in
                for j in 0..<features {
                    var sum = 0.0
                    var squares = 0.0
                    for i in 0..<n {
                        let x = Double(a[i * features + j])
                        sum += x
                        squares += x * x
                    }
                    let mean = sum / Double(n)
                    let deviation = max(squares / Double(n) - mean * mean, 1e-12).squareRoot()
                    for i in 0..<n { a[i * features + j] = Float((Double(a[i * features + j]) - mean) / deviation) }
                    for i in 0..<m { b[i * features + j] = Float((Double(b[i * features + j]) - mean) / deviation) }
                }
            }
        }
    }
}
