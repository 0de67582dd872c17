import Lacuna

/// Checks that selecting by activation times gradient keeps what matters downstream.
struct GradientDictionariesReproduction: Reproduction {
    let shortName = "g-SAE"
    let paper = 34
    let title = "Features that Make a Difference: Leveraging Gradients for Improved Dictionary Learning"
    let arXiv: String? = "2411.10397"
    let claim =
        "Choosing the k features by activation and downstream gradient gives reconstructions that change a model's loss less, "
        + "at the same number of active features."

    private static let strengths = [0.0, 0.5, 2, 8]

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 1500 : 4000
        let n = Self.strengths.count
        var unexplained = [Sample](repeating: Sample(), count: n)
        var (loss, divergence, plain) = (unexplained, unexplained, unexplained)
        for index in 0..<seeds {
            try context.progress.report("dictionaries", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            var atoms = try SuperposedAtoms(dimensions: 32, atoms: 64, activity: .exactly(6), seed: seed)
            atoms.amplitudes = (0..<64).map {
                let a = $0 < 16 ? 0.25 : 1.0
                return 0.5 * a...1.5 * a
            }
            atoms.noise = 0.01
            var generator = SeededGenerator(seed: seed, stream: 0x6ead)
            // A softmax head that reads the weak atoms alone.
            let mixing = Tensor<Float>(normal: [10, 16], standardDeviation: 4, using: &generator)
            let head = mixing.multiplied(by: atoms.directions.rows(0..<16))
            let train = atoms.draw(context.quick ? 15_360 : 40_960, using: &generator).x
            let test = atoms.draw(8192, using: &generator).x
            let gradients = Self.gradients(train, head)
            for (i, strength) in Self.strengths.enumerated() {
                let dictionary = try SparseAutoencoder(
                    .init(inputDimensions: 32, width: 96, rule: .gradientAware(4, strength: strength)), seed: seed)
                try dictionary.train(
                    on: ActivationRows(train, gradients: gradients, batchSize: 512, seed: seed), steps: steps,
                    DictionaryBed.settings(batch: 512, seed: seed))
                let quality = try DictionaryQuality(
                    of: dictionary, on: [ActivationBatch(step: 0, inputs: test, gradients: Self.gradients(test, head))])
                unexplained[i].values.append(quality.unexplained)
                let aware = dictionary.decode(try dictionary.encode(test, gradients: Self.gradients(test, head)))
                let scores = Self.compare(test, aware, head)
                loss[i].values.append(scores.loss)
                divergence[i].values.append(scores.divergence)
                plain[i].values.append(Self.compare(test, try dictionary.reconstruct(test), head).divergence)
            }
        }
        var rows: [Measurement] = []
        for i in 1..<n {
            let name = "β = \(Self.strengths[i])"
            rows.append(loss[i].measured("cross-entropy of the head, \(name)", against: loss[0], "TopK"))
            rows.append(unexplained[i].measured("variance not explained, \(name)", against: unexplained[0], "TopK"))
            rows.append(divergence[i].measured("divergence of the head, \(name)", against: divergence[0], "TopK"))
            rows.append(
                plain[i].measured(
                    "the same where codes are chosen without gradients, \(name)", against: plain[0], "TopK"))
        }
        return Outcome(
            setting:
                "64 atoms in 32 dimensions, 6 active, 16 of them of a quarter of the strength, and a softmax head that reads "
                + "those alone; dictionaries of 96, k = 4, \(steps) steps of 512; \(seeds) seeds",
            measurements: rows,
            checks: [
                Check("β = 0.5 lowers the head's loss", (loss[1] - loss[0]).high, .less, 0),
                Check("β = 2 lowers it further", (loss[2] - loss[1]).high, .less, 0),
                Check("β = 8 further still", (loss[3] - loss[2]).high, .less, 0),
                Check(
                    "up to β = 0.5 at most 15 % more variance is left", (unexplained[1] / unexplained[0]).high, .less,
                    1.15),
            ],
            notes: [
                "Gradients hold the label, here the head's own best class, so that some of the gain is that selection has seen "
                    + "the answer. The divergence from the head's whole distribution is not open to that, and is reported "
                    + "beside it.",
                "β counts in units of the root mean square of all directional derivatives.",
            ])
    }

    private static func probabilities(_ x: Tensor<Float>, _ head: Tensor<Float>) -> Tensor<Float> {
        let tape = Tape<Float>()
        return tape.withoutRecording { tape.constant(x.multiplied(by: head, otherTransposed: true)).softmax().value }
    }

    private static func best(_ p: Tensor<Float>, _ row: Int) -> Int { (0..<p.columns).max { p[row, $0] < p[row, $1] }! }

    /// The gradient of the cross-entropy against the head's own best class: (p - onehot) H.
    private static func gradients(_ x: Tensor<Float>, _ head: Tensor<Float>) -> Tensor<Float> {
        var p = probabilities(x, head)
        for t in 0..<x.rows {
            let j = best(p, t)
            p[t, j] -= 1
        }
        return p.multiplied(by: head)
    }

    private static func compare(
        _ x: Tensor<Float>, _ y: Tensor<Float>, _ head: Tensor<Float>
    ) -> (loss: Double, divergence: Double) {
        let (p, q) = (probabilities(x, head), probabilities(y, head))
        var (loss, divergence) = (0.0, 0.0)
        for t in 0..<x.rows {
            loss -= logarithm(max(Double(q[t, best(p, t)]), 1e-30))
            for j in 0..<p.columns where p[t, j] > 0 {
                divergence += Double(p[t, j]) * (logarithm(Double(p[t, j])) - logarithm(max(Double(q[t, j]), 1e-30)))
            }
        }
        return (loss / Double(x.rows), divergence / Double(x.rows))
    }
}
