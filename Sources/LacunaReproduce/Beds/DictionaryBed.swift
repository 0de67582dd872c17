import Lacuna

/// Dictionaries trained on sparse sums of known directions.
struct DictionaryBed {
    let atoms: SuperposedAtoms
    let train: Tensor<Float>
    let test: Tensor<Float>
    var batch = 512
    let seed: UInt64

    /// - Parameter count: Vectors to train on; 8192 more are held out.
    init(_ atoms: SuperposedAtoms, count: Int = 40_960, seed: UInt64) {
        var generator = SeededGenerator(seed: seed, stream: 0xBED)
        self.atoms = atoms
        self.seed = seed
        train = atoms.draw(count, using: &generator).x
        test = atoms.draw(8192, using: &generator).x
    }

    /// Settings for a few dozen dimensions: features are dead after 20 batches.
    static func settings(batch: Int, seed: UInt64) -> DictionaryTraining {
        var settings = DictionaryTraining()
        settings.learningRate = 3e-3
        settings.warmUp = 200
        settings.auxiliary = AuxiliaryLoss(.dead(afterTokens: 20 * batch))
        settings.scalesInputs = false
        settings.seed = seed
        return settings
    }

    /// A trained dictionary, and how it does on held-out vectors, each encoded by itself.
    func trained(
        _ rule: SelectionRule, width: Int, steps: Int, change: (inout DictionaryTraining) -> Void = { _ in }
    ) throws -> (dictionary: SparseAutoencoder, quality: DictionaryQuality) {
        let dictionary = try SparseAutoencoder(
            .init(inputDimensions: atoms.dimensions, width: width, rule: rule), seed: seed)
        var settings = Self.settings(batch: batch, seed: seed)
        change(&settings)
        try dictionary.train(on: ActivationRows(train, batchSize: batch, seed: seed), steps: steps, settings)
        return (dictionary, try DictionaryQuality(of: dictionary, on: [ActivationBatch(step: 0, inputs: test)]))
    }

    func recovery(_ dictionary: SparseAutoencoder, signed: Bool = false) -> DictionaryRecovery {
        DictionaryRecovery(of: atoms.directions, by: dictionary.decoderWeight.value, signed: signed)
    }
}

extension Sample {
    init() { self.init([]) }

    /// The mean less, or and, one standard error: what a claim about more, or less, has to stand by.
    var low: Double { mean - standardError }
    var high: Double { mean + standardError }

    func measured(_ quantity: String, against baseline: Sample? = nil, _ name: String = "") -> Measurement {
        Measurement(quantity, self, baseline: baseline, baselineName: name)
    }
}
