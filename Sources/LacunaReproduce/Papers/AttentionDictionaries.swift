import Lacuna

/// Checks that features of attention outputs are attributed exactly to heads and positions, and to the right ones.
struct AttentionDictionariesReproduction: Reproduction {
    let shortName = "AttentionSAE"
    let paper = 92
    let title = "Interpreting Attention Layer Outputs with Sparse Autoencoders"
    let arXiv: String? = "2406.17759"
    let claim =
        "Sparse autoencoders of concatenated head outputs find features that can be attributed exactly to heads and to source "
        + "positions."

    private static let (tokens, size, context) = (12, 16, 16)

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 1200 : 3000
        var (identity, share, position, recovered, headError) = (Sample(), Sample(), Sample(), Sample(), Sample())
        for index in 0..<seeds {
            try context.progress.report("attention", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            let layer = Layer(seed: seed)
            var generator = SeededGenerator(seed: seed, stream: 0x92)
            let sequences = (0..<(context.quick ? 1500 : 3000)).map { _ in layer.sequence(using: &generator) }
            let z = layer.outputs(sequences)
            let dictionary = try SparseAutoencoder(
                .init(inputDimensions: 2 * Self.size, width: 8 * Self.size, rule: .relu), seed: seed)
            var settings = DictionaryBed.settings(batch: 512, seed: seed)
            settings.sparsity = SparsityPenalty(0.05, warmUp: 200)
            settings.beta1 = 0
            settings.beta2 = 0.9999
            settings.learningRate = 1.2e-3
            settings.auxiliary = nil
            settings.resampling = Resampling(every: steps / 5, times: 3, rise: steps / 20)
            settings.scalesInputs = true
            try dictionary.train(on: ActivationRows(z, batchSize: 512, seed: seed), steps: steps, settings)
            let attribution = try HeadAttribution(dictionary, heads: 2)
            let test = (0..<300).map { _ in layer.sequence(using: &generator) }
            let outputs = layer.outputs(test)
            let code = try dictionary.encode(outputs)
            recovered.values.append(
                1 - (try DictionaryQuality(of: dictionary, on: [ActivationBatch(step: 0, inputs: outputs)])).unexplained
            )
            // Features that say which token came before: the best of each by F1.
            let last = Self.context - 1
            let before = test.flatMap { s in (1...last).map { s[$0 - 1] } }
            let scores = AttributeProbe.scores(code, attribute: before, values: Self.tokens)
            var (worst, shares, places, splits) = (0.0, [Double](), [Double](), [Double]())
            for token in 0..<Self.tokens {
                let feature = scores.indices.max { scores[$0][token] < scores[$1][token] }!
                shares.append(attribution.shares(ofFeature: feature)[0])
                for (number, sequence) in test.prefix(60).enumerated() where sequence[last - 1] == token {
                    let row = outputs.rows(number * last + last - 1..<number * last + last).scalars
                    let bySource = attribution.bySource(
                        layer.pattern(last), values: layer.values(sequence), feature: feature)
                    let byHead = attribution.byHead(row, feature: feature)
                    let direct = Self.preActivation(dictionary, row, feature)
                    let sum = bySource.joined().reduce(attribution.offset(ofFeature: feature), +)
                    let scale = max(1, abs(direct))
                    worst = max(worst, abs(sum - direct) / scale)
                    for k in 0..<2 { splits.append(abs(bySource[k].reduce(0, +) - byHead[k]) / scale) }
                    let total = bySource.joined().reduce(0.0) { $0 + abs($1) }
                    if total > 0 {
                        let own = bySource.reduce(0.0) { $0 + abs($1[last - 1]) }
                        places.append(own / total)
                    }
                }
            }
            identity.values.append(worst)
            headError.values.append(splits.max() ?? 0)
            share.values.append(shares.reduce(0, +) / Double(shares.count))
            position.values.append(places.reduce(0, +) / Double(max(places.count, 1)))
        }
        return Outcome(
            setting:
                "an attention layer of two heads set by hand, one of which copies the token before and one of which averages; 12 "
                + "tokens; ReLU dictionaries of 128 with L1 and resampling, \(steps) steps of 512; \(seeds) seeds",
            measurements: [
                identity.measured("largest relative gap of attributions and pre-activations"),
                share.measured("share of the copying head in features of the token before"),
                position.measured("share of their attribution that falls on the position before"),
                recovered.measured("variance explained"),
            ],
            checks: [
                Check("attributions add up to pre-activations", identity.values.max()!, .less, 1e-4),
                Check("over positions they add up to those by head", headError.values.max()!, .less, 1e-4),
                Check("features of the token before are the copying head's", share.low, .greater, 0.9),
                Check("and are attributed to the position before", position.low, .greater, 0.9),
                Check("the dictionary explains most of the variance", recovered.low, .greater, 0.8),
            ],
            notes: ["The authors train on models of up to two billion parameters; there is no ground truth there."])
    }

    private static func preActivation(_ dictionary: SparseAutoencoder, _ z: [Float], _ feature: Int) -> Double {
        let (w, b, c) = (dictionary.encoderWeight!.value, dictionary.encoderBias!.value, dictionary.decoderBias.value)
        return z.indices.reduce(Double(b[feature])) { $0 + Double(z[$1] - c[$1]) * Double(w[feature, $1]) }
    }

    /// Two heads: the first looks at the position before alone, the second at all positions up to now alike.
    private struct Layer {
        let embedding: Tensor<Float>
        private let mix: Tensor<Float>

        init(seed: UInt64) {
            var generator = SeededGenerator(seed: seed, stream: 0xA77)
            embedding = Tensor(normal: [tokens, size], using: &generator)
            mix = Tensor(normal: [size, size], standardDeviation: 0.25, using: &generator)
        }

        func sequence(using generator: inout SeededGenerator) -> [Int] {
            (0..<AttentionDictionariesReproduction.context).map { _ in Int.random(in: 0..<tokens, using: &generator) }
        }

        /// [heads, positions] from a position.
        func pattern(_ position: Int) -> Tensor<Float> {
            var result = Tensor<Float>(zeros: [2, AttentionDictionariesReproduction.context])
            result[0, position - 1] = 1
            for s in 0...position { result[1, s] = 1 / Float(position + 1) }
            return result
        }

        /// [positions, two heads].
        func values(_ sequence: [Int]) -> Tensor<Float> {
            let first = embedding.selectingRows(sequence)
            return Crosscoder.beside(first, first.multiplied(by: mix))
        }

        /// z of positions 1 and on, of all sequences, [rows, two heads].
        func outputs(_ sequences: [[Int]]) -> Tensor<Float> {
            let last = AttentionDictionariesReproduction.context - 1
            var z = Tensor<Float>(zeros: [sequences.count * last, 2 * size])
            for (n, sequence) in sequences.enumerated() {
                let v = values(sequence)
                z.withMutablePointer { z in
                    v.withPointer { v in
                        var sums = [Float](repeating: 0, count: size)
                        for i in 0..<size { sums[i] = v[size + i] }
                        for position in 1...last {
                            let row = z + (n * last + position - 1) * 2 * size
                            for i in 0..<size {
                                sums[i] += v[position * 2 * size + size + i]
                                row[i] = v[(position - 1) * 2 * size + i]
                                row[size + i] = sums[i] / Float(position + 1)
                            }
                        }
                    }
                }
            }
            return z
        }
    }
}
