import LacunaLearn
import LacunaTensor

/// A layer that lets only a few codes through: its output is the mean of the `k` codes that are nearest to its input
/// by angle, and nothing else.
///
/// The input is layer-normalised to `a`; scores are `a·e_c / ‖e_c‖`; the output is the mean of the raw `e_c` of the
/// `k` largest. Gradients reach the input as if the layer were the identity, and the codes as they are, together with
/// those of ``Output/reconstructionLoss``. Alex Tamkin, Mohammad Taufeeque, Noah Goodman, "Codebook Features: Sparse
/// and Discrete Interpretability for Neural Networks", arXiv 2310.17230.
public final class Codebook: Module {
    /// [codes, dimensions].
    public let codes: Parameter<Float>
    /// Gains and biases of the normalisation before the search.
    public let gain, bias: Parameter<Float>
    /// Codes that make up an output.
    public let k: Int
    /// Codes that may not be chosen: the next best takes over. Where fewer than ``k`` are left they are chosen after all.
    public var blocked: Set<Int> = []

    /// - Throws: `LacunaError.invalidArgument` for sizes that are not positive, or more codes at once than there are.
    public init(dimensions: Int, codes: Int, k: Int, seed: UInt64) throws {
        guard dimensions >= 1, codes >= 1, (1...codes).contains(k) else {
            throw LacunaError.invalidArgument("k", reason: "\(k) of \(codes) codes of \(dimensions) dimensions")
        }
        var generator = SeededGenerator(seed: seed, stream: 0xC0DE)
        self.codes = Parameter(Tensor(normal: [codes, dimensions], using: &generator))
        gain = Parameter(Tensor(repeating: 1, shape: [dimensions]), decays: false)
        bias = Parameter(Tensor(zeros: [dimensions]), decays: false)
        self.k = k
    }

    public var parts: [(name: String, part: Any)] { [("codes", codes), ("norm.gain", gain), ("norm.bias", bias)] }

    /// What the layer gives.
    public struct Output {
        /// [rows, dimensions].
        public let values: Variable<Float>
        /// The chosen codes of every row, the best first, [rows, k].
        public let ids: [Int32]
        /// `mean ‖out - a‖²` over entries, with a gradient for the codes alone: add it to the loss.
        public let reconstructionLoss: Variable<Float>
    }

    /// - Parameter forced: Codes to use whatever the input, [rows, k]; nil for the nearest.
    public func callAsFunction(_ x: Variable<Float>, forced: [Int32]? = nil) -> Output {
        let tape = x.tape
        let a = x.layerNormalized(gain: gain.on(tape), bias: bias.on(tape))
        let table = codes.on(tape)
        let ids = forced ?? nearest(a.value)
        require(ids.count == a.rows * k, "\(ids.count) codes for \(a.rows) rows of \(k)")
        // Rows of each token's codes one after the other: their mean is the output.
        let chosen = table.gathered(ids).reshaped([a.rows, k, a.columns]).permuted([0, 2, 1])
        let mean = chosen.reshaped([a.rows * a.columns, k]).rowMeans().reshaped([a.rows, a.columns])
        let error = mean - a.detached()
        return Output(
            values: a.passing(mean), ids: ids,
            reconstructionLoss: (error * error).mean())
    }

    /// The codes that are nearest to rows [rows, dimensions] by angle.
    public func nearest(_ a: Tensor<Float>) -> [Int32] {
        let (n, c) = (codes.shape[0], codes.shape[1])
        let norms = Directions.norms(codes.buffer.pointer, rows: n, columns: c)
        let tape = Tape<Float>()
        return tape.withoutRecording {
            var scores = tape.constant(a).multiplied(by: codes.on(tape), otherTransposed: true).value
            let rows = a.rows
            scores.withMutablePointer { p in
                for t in 0..<rows {
                    for j in 0..<n { p[t * n + j] = norms[j] > 0 ? p[t * n + j] / norms[j] : 0 }
                    for j in blocked where (0..<n).contains(j) { p[t * n + j] = -.infinity }
                }
            }
            return tape.constant(scores).topIndices(k)
        }
    }
}

extension Variable {
    /// The numbers of `other` with gradients for both: to `other` as they are, to `self` as if it had been passed
    /// through.
    func passing(_ other: Variable) -> Variable {
        require(shape == other.shape, "\(shape) and \(other.shape)")
        return tape.operation(inputs: [self, other], shape: shape) { read, output in
            for i in output.indices { output[i] = read[1][i] }
        } backward: { pass in
            for input in 0..<2 {
                pass.accumulate(input) { gradient in
                    for i in gradient.indices { gradient[i] += pass.gradient[i] }
                }
            }
        }
    }
}
