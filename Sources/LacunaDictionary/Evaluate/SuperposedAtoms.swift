import LacunaTensor

/// Vectors that are sparse sums of known directions, for checking what a dictionary finds.
///
/// `x = Σ_{j in S} a_j d_j + noise`: unit directions drawn at random, supports `S` by the atoms' frequencies, without
/// replacement, and amplitudes uniform in a range.
public struct SuperposedAtoms: Sendable {
    /// How many atoms are active in a vector.
    public enum Activity: Sendable, Hashable {
        /// So many in every vector.
        case exactly(Int)
        /// 1 and a geometric number of mean `mean - 1` more, at most `limit`.
        case geometric(mean: Double, limit: Int)
    }

    /// Numbers of a vector.
    public var dimensions: Int
    /// How many atoms are active in a vector.
    public var activity: Activity
    /// Relative frequency of each atom.
    public var frequencies: [Double]
    /// Range of each atom's amplitude.
    public var amplitudes: [ClosedRange<Double>]
    /// Whether every amplitude has a random sign.
    public var isSigned = false
    /// Standard deviation of each entry's noise.
    public var noise = 0.0
    /// [atoms, dimensions], rows of norm 1.
    public let directions: Tensor<Float>

    /// Number of atoms.
    public var atoms: Int { frequencies.count }

    /// Atoms of equal frequency and amplitudes in 0.5...1.5.
    ///
    /// - Throws: `LacunaError.invalidArgument` for sizes that are not positive, or more active atoms than there are.
    public init(dimensions: Int, atoms: Int, activity: Activity, seed: UInt64) throws {
        let most =
            switch activity {
            case .exactly(let n): n
            case .geometric(_, let limit): limit
            }
        guard dimensions >= 1, atoms >= 1, (1...atoms).contains(most) else {
            throw LacunaError.invalidArgument(
                "atoms", reason: "\(most) active of \(atoms) in \(dimensions) dimensions")
        }
        if case .geometric(let mean, _) = activity, !(mean >= 1) {
            throw LacunaError.invalidArgument("mean", reason: "\(mean) active atoms on average, not at least 1")
        }
        (self.dimensions, self.activity) = (dimensions, activity)
        frequencies = [Double](repeating: 1, count: atoms)
        amplitudes = [ClosedRange<Double>](repeating: 0.5...1.5, count: atoms)
        var generator = SeededGenerator(seed: seed, stream: 0xA705)
        var directions = Tensor<Float>(normal: [atoms, dimensions], using: &generator)
        directions.withMutablePointer { Directions.normalize($0, rows: atoms, columns: dimensions) }
        self.directions = directions
    }

    /// Vectors, and the strengths of the atoms in each.
    ///
    /// - Returns: `x` [count, dimensions] and `strengths` [count, atoms].
    public func draw(_ count: Int, using generator: inout SeededGenerator) -> (
        x: Tensor<Float>, strengths: Tensor<Float>
    ) {
        var x = Tensor<Float>(zeros: [count, dimensions])
        var strengths = Tensor<Float>(zeros: [count, atoms])
        x.withMutablePointer { x in
            strengths.withMutablePointer { strengths in
                directions.withPointer { directions in
                    for row in 0..<count {
                        for j in support(using: &generator) {
                            let range = amplitudes[j]
                            var a = range.lowerBound + (range.upperBound - range.lowerBound) * generator.uniform()
                            if isSigned && generator.uniform() < 0.5 { a = -a }
                            strengths[row * atoms + j] = Float(a)
                            for i in 0..<dimensions {
                                x[row * dimensions + i] += Float(a) * directions[j * dimensions + i]
                            }
                        }
                        if noise > 0 {
                            for i in 0..<dimensions { x[row * dimensions + i] += Float(noise * generator.normal()) }
                        }
                    }
                }
            }
        }
        return (x, strengths)
    }

    /// Batches without end, the batch of a step a function of seed and step.
    public func batches(of size: Int, seed: UInt64) -> GeneratedBatches {
        GeneratedBatches { step in
            var generator = SeededGenerator(seed: seed, stream: 0xBA7C &+ UInt64(step))
            return ActivationBatch(step: step, inputs: draw(size, using: &generator).x)
        }
    }

    /// The active atoms of one vector.
    private func support(using generator: inout SeededGenerator) -> [Int] {
        var wanted: Int
        switch activity {
        case .exactly(let n): wanted = n
        case .geometric(let mean, let limit):
            let stop = 1 / mean
            wanted = 1
            while wanted < limit && generator.uniform() >= stop { wanted += 1 }
        }
        // The largest u^(1/w), which draws without replacement in proportion to w.
        let keys = frequencies.map { $0 > 0 ? logarithm(max(generator.uniform(), 1e-300)) / $0 : -.infinity }
        return Array(keys.indices.sorted { keys[$0] > keys[$1] }.prefix(wanted).filter { keys[$0] > -.infinity })
    }
}

/// How well learned directions match known ones.
public struct DictionaryRecovery: Sendable, Hashable {
    /// For every known direction, the largest cosine with a learned one (its magnitude, if signs do not matter).
    public let cosines: [Double]

    /// The mean of the largest cosines.
    public var mean: Double { cosines.reduce(0, +) / Double(max(cosines.count, 1)) }
    /// Share of the known directions with a cosine above a bound.
    public func share(above bound: Double) -> Double {
        Double(cosines.count { $0 > bound }) / Double(max(cosines.count, 1))
    }

    /// - Parameters:
    ///   - truth: [atoms, dimensions].
    ///   - learned: [features, dimensions].
    ///   - signed: Whether a direction and its opposite are the same feature.
    public init(of truth: Tensor<Float>, by learned: Tensor<Float>, signed: Bool) {
        let products = truth.multiplied(by: learned, otherTransposed: true)
        let norms = { (t: Tensor<Float>) in t.withPointer { Directions.norms($0, rows: t.rows, columns: t.columns) } }
        let (a, b) = (norms(truth), norms(learned))
        cosines = products.withPointer { p in
            (0..<truth.rows).map { i in
                (0..<learned.rows).reduce(-1.0) { best, j in
                    let scale = a[i] * b[j]
                    let cosine = scale > 0 ? Double(p[i * learned.rows + j] / scale) : 0
                    return max(best, signed ? abs(cosine) : cosine)
                }
            }
        }
    }
}
