import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Encoding by matching pursuit: in every round the feature with the largest positive inner product with what is left
/// is added, with that product as its strength, and taken away. A round in which no product is positive changes
/// nothing.
extension SparseAutoencoder {
    /// - Returns: Codes [tokens, width]; a feature chosen again adds to its strength, so a row may have fewer than
    ///   `rounds`.
    func pursued(_ x: Tensor<Float>, rounds: Int) -> SparseMatrix<Float> {
        var entries: [(Int, Int, Float)] = []
        pursue(x, rounds: rounds) { _, places, strengths, _ in
            for t in places.indices where strengths[t] != 0 { entries.append((t, Int(places[t]), strengths[t])) }
        }
        entries.sort { ($0.0, $0.1) < ($1.0, $1.1) }
        var counts = [Int](repeating: 0, count: x.rows + 1)
        var (columns, values): ([UInt32], [Float]) = ([], [])
        var last = (-1, -1)
        for (t, j, value) in entries {
            if (t, j) == last {
                values[values.count - 1] += value
            } else {
                columns.append(UInt32(j))
                values.append(value)
                counts[t + 1] += 1
                last = (t, j)
            }
        }
        for t in 0..<x.rows { counts[t + 1] += counts[t] }
        return SparseMatrix(
            SparsePattern(
                rows: x.rows, columns: width, starts: Buffer(counts), columnIndices: Buffer(columns)),
            buffer: Buffer(values))
    }

    /// The rounds of matching pursuit with what is left of each token after them.
    ///
    /// - Parameter round: Receives a round's number, the feature [tokens] and strength [tokens] that it adds, and the
    ///   rest [tokens, outputs] before.
    func pursue(
        _ x: Tensor<Float>, rounds: Int,
        _ round: (_ number: Int, _ places: [Int32], _ strengths: [Float], _ rest: Tensor<Float>) -> Void
    ) {
        let (tokens, d) = (x.rows, configuration.outputDimensions)
        var rest = x
        let (bias, directions) = (decoderBias.buffer, decoderWeight.buffer)
        rest.withMutablePointer { r in
            for t in 0..<tokens { for i in 0..<d { r[t * d + i] -= bias.pointer[i] } }
        }
        for number in 0..<rounds {
            let scores = PreActivations(
                inputs: rest, weight: directions.pointer, bias: [Float](repeating: 0, count: width)
            ).selected(.token(1), signed: false)
            var (places, strengths) = ([Int32](repeating: 0, count: tokens), [Float](repeating: 0, count: tokens))
            scores.forEachEntry { t, j, value in (places[t], strengths[t]) = (Int32(j), value) }
            round(number, places, strengths, rest)
            rest.withMutablePointer { r in
                for t in 0..<tokens {
                    let (row, direction) = (r + t * d, directions.pointer + Int(places[t]) * d)
                    for i in 0..<d { row[i] -= strengths[t] * direction[i] }
                }
            }
        }
    }
}
