import LacunaModels
import LacunaSparse

/// How much of a decoder is stored, and how much of that one token touches.
struct ModelSize {
    /// Numbers that the blocks' linear layers would hold if they were dense.
    let linearCount: Int
    /// Numbers that they do hold.
    let storedCount: Int
    /// Bytes of the blocks' linear layers.
    let linearBytes: Int
    /// Bytes of the output head, which every token reads whole.
    let headBytes: Int

    init(_ decoder: Decoder) {
        let matrices = decoder.linearNames.map { decoder[linear: $0] }
        linearCount = matrices.reduce(0) { $0 + $1.rows * $1.columns }
        storedCount = matrices.reduce(0) { $0 + $1.storedCount }
        linearBytes = matrices.reduce(0) { $0 + $1.byteCount }
        headBytes = decoder.head.byteCount
    }

    /// Fraction of the linear layers' numbers that are not stored.
    var sparsity: Double { linearCount == 0 ? 0 : 1 - Double(storedCount) / Double(linearCount) }

    /// Bytes of weights that decoding one token reads. (The norms, some kilobytes, are left out.)
    var bytesPerToken: Int { linearBytes + headBytes }
}
