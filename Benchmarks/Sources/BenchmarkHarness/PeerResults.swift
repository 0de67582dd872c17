import Foundation

/// What another program reached with the same model, as `Scripts/peers.sh` writes it.
public struct PeerResults: Sendable, Codable {
    public struct Result: Sendable, Codable {
        /// "f32", "bf16", "q4_1": as the model was stored.
        public var values: String
        /// "decode" or "prefill".
        public var phase: String
        public var threads: Int
        /// Median over the repetitions.
        public var tokensPerSecond: Double
        public var best: Double
        public var worst: Double
        /// Tokens that were generated or read.
        public var tokens: Int
        /// Bytes of the model.
        public var bytes: Double
    }

    public var peer: String
    public var version: String
    public var results: [Result]

    public init(contentsOf path: String) throws {
        self = try JSONDecoder().decode(PeerResults.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
    }

    public func result(values: String, phase: String, threads: Int) -> Result? {
        results.first { $0.values == values && $0.phase == phase && $0.threads == threads }
    }

    /// The faster of each two results: a peer is compared at its best.
    public func best(with other: PeerResults) -> PeerResults {
        var merged = self
        for result in other.results {
            let index = merged.results.firstIndex {
                $0.values == result.values && $0.phase == result.phase && $0.threads == result.threads
            }
            if let index {
                if merged.results[index].tokensPerSecond < result.tokensPerSecond { merged.results[index] = result }
            } else {
                merged.results.append(result)
            }
        }
        return merged
    }
}
