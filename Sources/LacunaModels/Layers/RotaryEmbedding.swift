import LacunaTensor

/// Rotary position embedding (Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding",
/// arXiv:2104.09864): pairs of entries of each query and key are rotated by `position · frequency`, so that their dot
/// product depends on the distance of their positions.
public struct RotaryEmbedding: Sendable {
    /// Which entries of a head form a pair.
    public enum Layout: String, Sendable {
        /// Entry `i` with entry `i + headSize / 2`: Hugging Face checkpoints.
        case halves
        /// Entry `2 i` with entry `2 i + 1`: the original Llama weights and their GGUF files.
        case interleaved
    }

    /// How frequencies are changed for contexts longer than those of the first training.
    public enum Scaling: Sendable, Equatable {
        /// Frequencies as they are.
        case none
        /// All frequencies divided by `factor`.
        case linear(factor: Double)
        /// Llama 3.1: wavelengths beyond `originalContext / lowFactor` are stretched by `factor`, those below
        /// `originalContext / highFactor` kept, those between interpolated.
        case llama3(factor: Double, lowFactor: Double, highFactor: Double, originalContext: Int)
        /// Each of the `headSize / 2` frequencies divided by its own number, as GGUF files store any scaling.
        case perFrequency([Float])
    }

    /// What decides the frequencies, and which entries they turn.
    public struct Parameters: Sendable, Equatable {
        /// The base of the geometric sequence of frequencies.
        public var base: Double
        /// For longer contexts than those of the first training.
        public var scaling: Scaling
        /// Which entries of a head form a pair.
        public var layout: Layout

        /// By default the frequencies of the first Llama.
        public init(base: Double = 10_000, scaling: Scaling = .none, layout: Layout = .halves) {
            self.base = base
            self.scaling = scaling
            self.layout = layout
        }

        func validate(headSize: Int, file: String) throws {
            func require(_ condition: Bool, _ location: String, _ reason: String) throws {
                if !condition { throw LacunaError.malformed(file: file, location: location, reason: reason) }
            }
            try require(base > 1 && base.isFinite, "rope base", "\(base) is not above 1")
            switch scaling {
            case .none: break
            case .linear(let factor):
                try require(factor > 0 && factor.isFinite, "rope scaling", "factor \(factor) is not positive")
            case .llama3(let factor, let low, let high, let context):
                try require(
                    factor > 0 && factor.isFinite && low > 0 && high > low && high.isFinite && context > 0,
                    "rope scaling", "factors \(factor), \(low), \(high), original context \(context)")
            case .perFrequency(let factors):
                try require(
                    factors.count == headSize / 2, "rope scaling",
                    "\(factors.count) factors for \(headSize / 2) frequencies")
                try require(
                    factors.allSatisfy { $0 > 0 && $0.isFinite }, "rope scaling", "a factor is not positive")
            }
        }
    }

    /// What the frequencies were made of.
    public let parameters: Parameters
    /// Entries of a head, all of which are rotated. Even.
    public let headSize: Int
    /// Radians a position, one for each pair of entries.
    public let frequencies: [Double]

    /// - Precondition: `headSize` is even; `parameters` are valid.
    public init(_ parameters: Parameters, headSize: Int) {
        self.parameters = parameters
        self.headSize = headSize
        let half = headSize / 2
        frequencies = (0..<half).map { i in
            let frequency = power(parameters.base, -2 * Double(i) / Double(headSize))
            switch parameters.scaling {
            case .none: return frequency
            case .linear(let factor): return frequency / factor
            case .perFrequency(let factors): return frequency / Double(factors[i])
            case .llama3(let factor, let low, let high, let context):
                let turns = Double(context) * frequency / (2 * Double.pi)
                if turns < low { return frequency / factor }
                if turns > high { return frequency }
                let blend = (turns - low) / (high - low)
                return (1 - blend) * frequency / factor + blend * frequency
            }
        }
    }

    /// Writes the cosines, then the sines, of one position's angles: `headSize` floats.
    func angles(position: Int, into table: UnsafeMutablePointer<Float>) {
        let half = frequencies.count
        for i in 0..<half {
            let angle = Double(position) * frequencies[i]
            table[i] = Float(cosine(angle))
            table[half + i] = Float(sine(angle))
        }
    }

    /// Rotates one head's query or key [headSize] in place; by a negative position it turns back.
    public func rotate(_ x: UnsafeMutablePointer<Float>, position: Int) {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: headSize) { table in
            angles(position: position, into: table.baseAddress!)
            rotate(x, heads: 1, angles: table.baseAddress!)
        }
    }

    /// The angles of some positions, [positions.count, headSize].
    func angles(positions: [Int]) -> Buffer<Float> {
        let table = Buffer<Float>(uninitialized: max(positions.count, 1) * headSize)
        Parallel.forRanges(positions.count, grain: 32) { range in
            for i in range { angles(position: positions[i], into: table.pointer + i * headSize) }
        }
        return table
    }

    /// Rotates `heads` consecutive heads in place by one position's `angles`.
    func rotate(_ x: UnsafeMutablePointer<Float>, heads: Int, angles: UnsafePointer<Float>) {
        let pairs = headSize / 2
        for head in 0..<heads {
            let start = x + head * headSize
            switch parameters.layout {
            case .halves:
                VectorMath.rotateHalves(start, cosines: angles, sines: angles + pairs, pairs: pairs)
            case .interleaved:
                VectorMath.rotateInterleaved(start, cosines: angles, sines: angles + pairs, pairs: pairs)
            }
        }
    }
}
