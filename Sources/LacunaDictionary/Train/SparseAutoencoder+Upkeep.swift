import LacunaLearn
import LacunaSparse
import LacunaTensor

/// What training does to a dictionary besides following gradients.
extension SparseAutoencoder {
    func requireShapes(_ batch: ActivationBatch) throws {
        let (d, out) = (configuration.inputDimensions, configuration.outputDimensions)
        guard batch.inputs.rank == 2, batch.inputs.columns == d, batch.inputs.rows > 0 else {
            throw LacunaError.invalidArgument(
                "activations", reason: "batch \(batch.step) is of shape \(batch.inputs.shape), not [tokens, \(d)]")
        }
        let wanted = [batch.inputs.rows, out]
        for (name, tensor) in [("targets", batch.targets), ("gradients", batch.gradients)] {
            if let tensor, tensor.shape != wanted {
                throw LacunaError.invalidArgument(
                    name, reason: "batch \(batch.step) is of shape \(tensor.shape), not \(wanted)")
            }
        }
        if batch.targets == nil, d != out {
            throw LacunaError.invalidArgument("targets", reason: "batch \(batch.step) has none for a transcoder")
        }
    }

    /// Makes a dictionary that was trained on activations times a number one for activations as they are.
    ///
    /// Every rule keeps the same entries when inputs, biases and thresholds are divided by one number, so directions
    /// and the encoder stay; a transcoder's output scale goes to its directions.
    func rescale(input: Float, output: Float) {
        func multiply(_ parameter: Parameter<Float>?, _ factor: Float) {
            guard let parameter else { return }
            for i in 0..<parameter.count { parameter.buffer.pointer[i] *= factor }
            parameter.noteChange()
        }
        for parameter in [encoderBias, magnitudeBias, threshold] { multiply(parameter, 1 / input) }
        multiply(decoderBias, 1 / output)
        if let logThreshold {
            let shift = Float(logarithm(Double(input)))
            for i in 0..<logThreshold.count { logThreshold.buffer.pointer[i] -= shift }
            logThreshold.noteChange()
        }
        // f' = f / input has to become x̂' = x̂ / output.
        if input != output { multiply(decoderWeight, input / output) }
    }

    /// Moves the thresholds towards the smallest strengths that a batch has kept.
    ///
    /// - Parameters:
    ///   - decay: Share of the old value.
    ///   - collective: The processes that have the other tokens of the batch.
    func averageThresholds(
        _ pattern: SparsePattern, _ values: [Float], decay: Double, among collective: any Collective = SingleProcess()
    ) throws {
        guard let threshold else { return }
        var smallest = [Float](repeating: .infinity, count: threshold.count)
        pattern.withCompressedRows { _, columns in
            for i in columns.indices where values[i] != 0 {
                let j = threshold.count == 1 ? 0 : Int(columns[i])
                smallest[j] = min(smallest[j], abs(values[i]))
            }
        }
        for other in try collective.gather(smallest) {
            for j in smallest.indices { smallest[j] = min(smallest[j], other[j]) }
        }
        let p = threshold.buffer.pointer
        for j in smallest.indices where smallest[j] < .infinity {
            // Below the smallest that was kept, so that it would be kept again, also where its sum is added up in another order, as
            // for other competitions. A feature's first is no average yet.
            let goal = smallest[j] * (1 - 0x1p-20)
            p[j] = p[j] == 0 ? goal : Float(decay) * p[j] + (1 - Float(decay)) * goal
        }
        threshold.noteChange()
    }

    /// Gives features new directions. See ``Resampling``.
    ///
    /// - Parameters:
    ///   - dead: All features that are not active, whose encoder rows are no measure.
    ///   - slots: What the optimiser keeps; becomes 0.
    func restart(
        _ features: [(feature: Int, input: [Float])], encoderScale: Float, dead: Set<Int>, slots: [String]
    ) {
        let (d, out) = (configuration.inputDimensions, configuration.outputDimensions)
        let center = configuration.centersInputs ? decoderBias.buffer.array : [Float](repeating: 0, count: d)
        var norm: Float = 0
        if let encoderWeight {
            let norms = Directions.norms(encoderWeight.buffer.pointer, rows: width, columns: d)
            let live = norms.indices.filter { !dead.contains($0) }
            norm = Float(live.reduce(0.0) { $0 + Double(norms[$1]) } / Double(max(live.count, 1))) * encoderScale
        }
        func clear(_ parameter: Parameter<Float>?, _ feature: Int) {
            guard let parameter else { return }
            let n = parameter.count / width
            for slot in slots where parameter.slots[slot] != nil {
                (parameter.slot(slot) + feature * n).update(repeating: 0, count: n)
            }
            parameter.noteChange()
        }
        for (feature, input) in features {
            var direction = zip(input, center).map { $0 - $1 }
            let length = direction.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            if length == 0 { continue }
            for i in direction.indices { direction[i] = Float(Double(direction[i]) / length) }
            if d == out { (decoderWeight.buffer.pointer + feature * d).update(from: direction, count: d) }
            if let encoderWeight {
                (encoderWeight.buffer.pointer + feature * d).update(from: direction.map { $0 * norm }, count: d)
            }
            encoderBias?.buffer.pointer[feature] = 0
            for parameter in [decoderWeight, encoderWeight, encoderBias] { clear(parameter, feature) }
        }
    }
}

/// The point with the smallest sum of distances to some vectors, by Weiszfeld's iteration.
enum GeometricMedian {
    /// - Returns: [columns]. Stops once it moves by less than 1e-5 of its distance scale, or after 100 rounds.
    static func of(rows x: Tensor<Float>) -> Tensor<Float> {
        let (n, d) = (x.rows, x.columns)
        return x.withPointer { x in
            var guess = [Double](repeating: 0, count: d)
            for i in 0..<n { for j in 0..<d { guess[j] += Double(x[i * d + j]) } }
            for j in 0..<d { guess[j] /= Double(max(n, 1)) }
            for _ in 0..<100 {
                var (sum, weights) = ([Double](repeating: 0, count: d), 0.0)
                for i in 0..<n {
                    var square = 0.0
                    for j in 0..<d {
                        let difference = Double(x[i * d + j]) - guess[j]
                        square += difference * difference
                    }
                    let weight = 1 / max(square.squareRoot(), 1e-12)
                    weights += weight
                    for j in 0..<d { sum[j] += weight * Double(x[i * d + j]) }
                }
                var (moved, size) = (0.0, 0.0)
                for j in 0..<d {
                    let next = sum[j] / max(weights, 1e-300)
                    moved += (next - guess[j]) * (next - guess[j])
                    size += next * next
                    guess[j] = next
                }
                if moved <= 1e-10 * max(size, 1e-30) { break }
            }
            return Tensor(guess.map(Float.init))
        }
    }
}
