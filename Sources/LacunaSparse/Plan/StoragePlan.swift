import LacunaTensor

/// Which store is fastest for a matrix, and what each would cost: estimated from ``StorageCosts``, explained candidate by
/// candidate.
public struct StoragePlan: Sendable {
    /// One store that can hold the matrix.
    public struct Candidate: Sendable, Hashable {
        public var layout: StorageLayout
        /// Values stored, explicit zeros included.
        public var storedCount: Int
        public var byteCount: Int
        /// Of one product, on one thread.
        public var seconds: Double
        /// What bounds the product.
        public var bound: Bound
    }

    public enum Bound: String, Sendable, Hashable { case memory, arithmetic }

    /// Fastest first; of equals, the smaller one.
    public let candidates: [Candidate]
    public var best: Candidate { candidates[0] }

    /// - Parameters:
    ///   - mask: The entries that are kept.
    ///   - vectors: Vectors that the matrix is to be multiplied with at a time.
    ///   - values: Type of the stored values.
    ///   - costs: The table of costs.
    /// - Throws: `LacunaError.invalidArgument` for fewer than one vector.
    public init(
        mask: Mask, vectors: Int, values: ValueType = .f32, costs: StorageCosts = .current
    ) throws {
        guard vectors >= 1 else {
            throw LacunaError.invalidArgument("vectors", reason: "must be at least 1, but is \(vectors)")
        }
        let (rows, columns) = (mask.rows, mask.columns)
        let kept = mask.keptCount
        let words = rows * mask.wordsPerRow * 8
        let indexBytes = columns > 65_536 ? 4 : 2
        func bytes(_ stored: Int) -> Int {
            switch values {
            case .f32: stored * 4
            case .bf16: stored * 2
            case .int8: stored + rows * 4
            case .int4: (stored + 1) / 2 + rows * ((columns + 63) / 64) * 2
            }
        }
        var stores: [(StorageLayout, stored: Int, bytes: Int)] = [
            (.dense, rows * columns, bytes(rows * columns)),
            (.bitmask, kept, bytes(kept) + words + 4 * (rows + 1)),
            (.csr, kept, bytes(kept) + indexBytes * kept + 4 * (rows + 1)),
        ]
        for (n, m) in [(1, 4), (2, 4), (4, 8)] where mask.satisfies(.nm(n: n, m: m)) {
            let stored = rows * ((columns / m) * n + min(columns % m, n))
            stores.append((.nm(n: n, m: m), stored, bytes(stored) + words))
        }
        for side in [4, 16] {
            let (down, across) = ((rows + side - 1) / side, (columns + side - 1) / side)
            var held = Mask(rows: down, columns: across)
            for r in 0..<rows { mask.forEachKept(row: r) { held[r / side, $0 / side] = true } }
            let blocks = held.keptCount
            stores.append(
                (
                    .bsr(rows: side, columns: side), blocks * side * side,
                    bytes(blocks * side * side) + 4 * (blocks + down + 1)
                ))
        }
        candidates = stores.map { layout, stored, bytes in
            let (seconds, bound) = StoragePlan.estimate(
                costs.layout(layout), bandwidth: costs.bandwidth, entries: rows * columns, stored: stored, bytes: bytes,
                vectors: vectors)
            return Candidate(layout: layout, storedCount: stored, byteCount: bytes, seconds: seconds, bound: bound)
        }.sorted { ($0.seconds, $0.byteCount) < ($1.seconds, $1.byteCount) }
    }

    /// Up to this many vectors are multiplied one at a time.
    private static let fewVectors = 4

    private static func estimate(
        _ cost: StorageCosts.Layout, bandwidth: Double, entries: Int, stored: Int, bytes: Int, vectors: Int
    ) -> (Double, Bound) {
        let reading = Double(bytes) / bandwidth
        let arithmetic: Double
        if vectors <= fewVectors {
            let once = Double(entries) * cost.entryNanoseconds + Double(stored) * cost.valueNanoseconds
            arithmetic = Double(vectors) * once * 1e-9
        } else {
            // Between 16 and 128 vectors the rate rises about linearly; below 16 a panel of 16 is computed.
            let filled = Double(max(vectors, 16))
            let share = min((filled - 16) / 112, 1)
            arithmetic =
                2 * Double(stored) * filled / (cost.rate16 + share * (cost.rate128 - cost.rate16))
                + Double(entries) * filled / 64 * cost.panelNanoseconds * 1e-9
        }
        return reading > arithmetic ? (reading, .memory) : (arithmetic, .arithmetic)
    }
}
