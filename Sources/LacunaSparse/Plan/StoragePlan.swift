import LacunaTensor

/// Which store is fastest for a matrix, and what each would cost: estimated from ``StorageCosts``, explained candidate by
/// candidate.
public struct StoragePlan: Sendable {
    /// One store that can hold the matrix.
    public struct Candidate: Sendable, Hashable {
        /// The layout.
        public var layout: StorageLayout
        /// Values stored, explicit zeros included.
        public var storedCount: Int
        /// Bytes that a store in it takes.
        public var byteCount: Int
        /// Of one product, on one thread.
        public var seconds: Double
        /// What bounds the product.
        public var bound: Bound
    }

    /// What limits a product: reading the store, or computing with it.
    public enum Bound: String, Sendable, Hashable {
        /// Bytes at the bandwidth.
        case memory
        /// Operations at the layout's rate.
        case arithmetic
    }

    /// Fastest first; of equals, the smaller one.
    public let candidates: [Candidate]
    /// The fastest candidate.
    public var best: Candidate { candidates[0] }

    /// - Parameters:
    ///   - mask: The entries that are kept.
    ///   - vectors: Vectors that the matrix is to be multiplied with at a time.
    ///   - values: Type of the stored values.
    ///   - costs: The table of costs.
    /// - Throws: `LacunaError.invalidArgument` for fewer than one vector.
    public init(
        mask: SparsePattern, vectors: Int, values: ValueType = .f32, costs: StorageCosts = .current
    ) throws {
        guard vectors >= 1 else {
            throw LacunaError.invalidArgument("vectors", reason: "must be at least 1, but is \(vectors)")
        }
        let entries = mask.rows * mask.columns
        candidates = StoreLayouts.candidates(for: mask).map { layout in
            let size = layout.base.size(of: mask, values: values)
            let (seconds, bound) = StoragePlan.estimate(
                costs[layout], bandwidth: costs.bandwidth, entries: entries, stored: size.storedCount,
                bytes: size.byteCount, vectors: vectors)
            return Candidate(
                layout: layout, storedCount: size.storedCount, byteCount: size.byteCount, seconds: seconds,
                bound: bound)
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
