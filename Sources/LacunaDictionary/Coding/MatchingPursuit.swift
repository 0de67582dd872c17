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
        var entries: [PursuitEntry] = []
        pursue(x, rounds: rounds) { _, places, strengths, _ in entries += Self.entries(places, strengths) }
        return code(entries, tokens: x.rows)
    }

    /// A token, the feature that a round adds to it, and its strength.
    typealias PursuitEntry = (token: Int, feature: Int, strength: Float)

    /// What a round adds, without the tokens that it leaves as they are.
    static func entries(_ places: [Int32], _ strengths: [Float]) -> [PursuitEntry] {
        places.indices.filter { strengths[$0] != 0 }.map { ($0, Int(places[$0]), strengths[$0]) }
    }

    /// The code [tokens, width] that the entries of all rounds make up.
    func code(_ entries: [PursuitEntry], tokens: Int) -> SparseMatrix<Float> {
        let entries = entries.sorted { ($0.token, $0.feature) < ($1.token, $1.feature) }
        var counts = [Int](repeating: 0, count: tokens + 1)
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
        for t in 0..<tokens { counts[t + 1] += counts[t] }
        return SparseMatrix(
            SparsePattern(
                rows: tokens, columns: width, starts: Buffer(counts), columnIndices: Buffer(columns)),
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
