import LacunaLearn
import LacunaSparse
import LacunaTensor

/// What a dictionary computes for a batch in training.
struct DictionaryPass {
    /// The code, [tokens, width]; of JumpReLU with the entries just below the threshold, whose values are 0.
    var pattern: SparsePattern
    /// [pattern.count]
    var values: Variable<Float>
    /// What the penalty is taken of, if not the values: the gate's pre-activations.
    var gate: Variable<Float>?
    /// Pre-activations at the pattern, of JumpReLU.
    var raw: Variable<Float>?
    /// What strengths count times in penalties and thresholds, at the pattern; of a dictionary of several parts.
    var norms: Variable<Float>?
    /// Reconstructions [tokens, outputs] by each nested dictionary, that of the whole last.
    var reconstructions: [Variable<Float>]
    /// The reconstruction by the gate's pre-activations, through directions that it does not move.
    var gateReconstruction: Variable<Float>?
}

/// Encoding and decoding on the tape. What is selected is a constant of the backward pass: gradients flow through kept
/// entries alone.
extension SparseAutoencoder {
    /// - Parameters:
    ///   - ranking: Features from the most to the least active, for rules that share out by rank.
    ///   - prefixes: Widths of nested dictionaries.
    ///   - collective: The processes that have the other tokens of the batch, which compete with these.
    func pass(
        _ batch: ActivationBatch, ranking: [Int]?, prefixes: [Int], on tape: Tape<Float>,
        among collective: any Collective = SingleProcess()
    ) throws -> DictionaryPass {
        let x = tape.constant(batch.inputs)
        let (decoder, bias) = (decoderWeight.on(tape), decoderBias.on(tape))
        if case .matchingPursuit(let k) = rule { return pursuit(x, batch.inputs, rounds: k, decoder, bias) }
        let weight = encoderWeight!.on(tape)
        let center = configuration.centersInputs ? bias : nil
        let code = try selection(batch, ranking: ranking, among: collective)
        let pattern = code.pattern
        let known = code.values
        func raw(_ bias: Variable<Float>?) -> Variable<Float> {
            x.sampledLinear(center: center, weight, bias: bias, at: pattern, known: known)
        }
        var pass: DictionaryPass
        switch rule {
        case .gated:
            // The gate's pre-activation is raw + b; magnitudes share its product.
            let gate = raw(encoderBias!.on(tape))
            let product = gate - encoderBias!.on(tape).atColumns(of: pattern)
            let scale = magnitudeScale!.on(tape).map(.exponential).atColumns(of: pattern)
            let values = (product * scale + magnitudeBias!.on(tape).atColumns(of: pattern)).relu()
            pass = DictionaryPass(pattern: pattern, values: values, gate: gate, reconstructions: [])
            pass.gateReconstruction = gate.decoded(decoder.detached(), bias: bias.detached(), at: pattern)
        case .jumpReLU(_, let bandwidth):
            let pre = raw(encoderBias!.on(tape))
            let values = pre.jumped(above: logThreshold!.on(tape), at: pattern, bandwidth: bandwidth)
            pass = DictionaryPass(pattern: pattern, values: values, raw: pre, reconstructions: [])
        default:
            pass = DictionaryPass(pattern: pattern, values: raw(encoderBias!.on(tape)), reconstructions: [])
        }
        if !configuration.parts.isEmpty {
            let squares = decoder * decoder
            // Gradients of a root at 0 are infinite: a direction that has vanished stays where it is.
            let norms = partRanges.map { (squares.sliced(columns: $0).rowSums() + 1e-20).raised(to: 0.5) }
            pass.norms = norms.dropFirst().reduce(norms[0]) { $0 + $1 }.atColumns(of: pattern)
        }
        if prefixes.isEmpty || prefixes == [width] {
            pass.reconstructions = [pass.values.decoded(decoder, bias: bias, at: pattern)]
        } else {
            pass.reconstructions = nested(pass, prefixes: prefixes, decoder, bias)
        }
        return pass
    }

    /// The entries that take part in a step, with their pre-activations.
    private func selection(
        _ batch: ActivationBatch, ranking: [Int]?, among collective: any Collective
    ) throws -> SparseMatrix<Float> {
        let pre = try preActivations(batch.inputs, gradients: batch.gradients, among: collective)
        var competition = competition(tokens: try collective.sum(batch.inputs.rows), scope: .batch)
        switch (rule, competition) {
        case (.jumpReLU(_, let bandwidth), .above(let thresholds)):
            competition = .above(thresholds.map { $0 - Float(bandwidth) / 2 })
        case (_, .feature(let byRank)):
            if let ranking {
                var counts = byRank
                for (rank, j) in ranking.enumerated() { counts[j] = byRank[rank] }
                competition = .feature(counts)
            }
        default: break
        }
        return try pre.selected(competition, signed: rule.isSigned, rank: collective.rank) {
            try collective.gather($0)
        }
    }

    /// Reconstructions by the first features up to each width: each adds to the one before, so that all together take
    /// no more work than the last.
    private func nested(
        _ pass: DictionaryPass, prefixes: [Int], _ decoder: Variable<Float>, _ bias: Variable<Float>
    ) -> [Variable<Float>] {
        var result: [Variable<Float>] = []
        var from = 0
        for to in prefixes.last == width ? prefixes : prefixes + [width] {
            let (part, places) = pass.pattern.entries(inColumns: from..<to)
            let step = pass.values.entries(places).decoded(decoder, bias: result.isEmpty ? bias : nil, at: part)
            result.append(result.last.map { $0 + step } ?? step)
            from = to
        }
        return result
    }

    /// Matching pursuit, unrolled: gradients flow through every round's strengths and directions.
    private func pursuit(
        _ x: Variable<Float>, _ inputs: Tensor<Float>, rounds: Int, _ decoder: Variable<Float>, _ bias: Variable<Float>
    ) -> DictionaryPass {
        let tape = x.tape
        let tokens = inputs.rows
        var rest = x.addingRow(bias.affine(-1))
        var entries: [PursuitEntry] = []
        pursue(inputs, rounds: rounds) { _, places, found, _ in
            entries += Self.entries(places, found)
            let directions = decoder.gathered(places)
            let strengths = (rest * directions).rowSums().relu()
            rest = rest - directions.multipliedByColumn(strengths)
        }
        let code = code(entries, tokens: tokens)
        // What is left is what the loss looks at: the reconstruction is the rest of it.
        return DictionaryPass(
            pattern: code.pattern, values: tape.constant(Tensor(code.values, shape: [code.count])),
            reconstructions: [tokens == 0 ? rest : x - rest])
    }
}

extension SparsePattern {
    /// The entries in a range of columns, with the same columns, and their places.
    func entries(inColumns range: Range<Int>) -> (pattern: SparsePattern, places: [Int32]) {
        var places: [Int32] = []
        var columns: [UInt32] = []
        let starts = Buffer<Int>(repeating: 0, count: rows + 1)
        withCompressedRows { all, indices in
            for r in 0..<rows {
                for i in all[r]..<all[r + 1] where range.contains(Int(indices[i])) {
                    places.append(Int32(i))
                    columns.append(indices[i])
                }
                starts.pointer[r + 1] = places.count
            }
        }
        return (
            SparsePattern(rows: rows, columns: self.columns, starts: starts, columnIndices: Buffer(columns)), places
        )
    }
}

/// The step function of JumpReLU, whose derivative by the threshold is estimated by rectangles: Senthooran
/// Rajamanoharan and others, arXiv 2407.14435.
extension Variable {
    /// `u` where it is above `θ = e^t` of its column, else 0.
    ///
    /// - Parameters:
    ///   - logThreshold: `t` [columns].
    ///   - pattern: Of `self`, [pattern.count].
    ///   - bandwidth: Width of the rectangle. The derivative by `θ` is `-θ / bandwidth` within half of it from `θ`,
    ///     else 0.
    func jumped(above logThreshold: Variable, at pattern: SparsePattern, bandwidth: Double) -> Variable {
        let width = Scalar(bandwidth)
        return tape.operation(inputs: [self, logThreshold], shape: [count]) { read, output in
            let thresholds = read[1].map { Scalar(exponential(Double($0))) }
            pattern.withCompressedRows { _, columns in
                for i in output.indices { output[i] = read[0][i] > thresholds[Int(columns[i])] ? read[0][i] : 0 }
            }
        } backward: { pass in
            let thresholds = pass.inputs[1].map { Scalar(exponential(Double($0))) }
            pattern.withCompressedRows { _, columns in
                pass.accumulate(0) { du in
                    for i in du.indices where pass.inputs[0][i] > thresholds[Int(columns[i])] {
                        du[i] += pass.gradient[i]
                    }
                }
                pass.accumulate(1) { dt in
                    for i in pass.gradient.indices {
                        let j = Int(columns[i])
                        let theta = thresholds[j]
                        if Swift.abs(pass.inputs[0][i] - theta) < width / 2 {
                            dt[j] -= theta * theta / width * pass.gradient[i]
                        }
                    }
                }
            }
        }
    }

    /// How many entries are above their column's threshold, a single number; its derivative by `θ` is `-1 /
    /// bandwidth` within half of it from `θ`, else 0.
    func countAbove(_ logThreshold: Variable, at pattern: SparsePattern, bandwidth: Double) -> Variable {
        let width = Scalar(bandwidth)
        return tape.operation(inputs: [self, logThreshold], shape: [1]) { read, output in
            let thresholds = read[1].map { Scalar(exponential(Double($0))) }
            var total: Scalar = 0
            pattern.withCompressedRows { _, columns in
                for i in columns.indices where read[0][i] > thresholds[Int(columns[i])] { total += 1 }
            }
            output[0] = total
        } backward: { pass in
            let thresholds = pass.inputs[1].map { Scalar(exponential(Double($0))) }
            pass.accumulate(1) { dt in
                pattern.withCompressedRows { _, columns in
                    for i in columns.indices {
                        let theta = thresholds[Int(columns[i])]
                        if Swift.abs(pass.inputs[0][i] - theta) < width / 2 {
                            dt[Int(columns[i])] -= theta / width * pass.gradient[0]
                        }
                    }
                }
            }
        }
    }
}
