import LacunaModels

/// How much of a decoder is stored, and how much of that one token touches.
struct ModelSize {
    /// Fraction of the linear layers' weights that are not stored.
    let sparsity: Double
    /// Bytes of the blocks' linear layers.
    let linearBytes: Int
    /// Bytes of the output head, which every token reads whole.
    let headBytes: Int
    /// Bytes that decoding one token reads.
    let bytesPerToken: Int

    init(_ decoder: Transformer) {
        let matrices = decoder.linearNames.map { decoder[linear: $0] }
        let total = matrices.reduce(0) { $0 + $1.rows * $1.columns }
        let stored = matrices.reduce(0) { $0 + $1.storedCount }
        sparsity = total == 0 ? 0 : 1 - Double(stored) / Double(total)
        linearBytes = decoder.linearBytes
        headBytes = decoder.headBytes
        bytesPerToken = decoder.bytesTouchedPerToken()
    }
}
