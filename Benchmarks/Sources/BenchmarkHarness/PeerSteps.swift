import Foundation

/// How long another program takes for the same things, as `Scripts/peers_training.py` writes it of steps of training and
/// `Scripts/peers_algebra.py` of operations with sparse matrices.
public struct PeerSteps: Sendable, Codable {
    public struct Result: Sendable, Codable {
        /// The network's or the operation's name, as the table has it.
        public var name: String
        public var threads: Int
        /// Of one call: median over the repetitions.
        public var seconds: Double
        public var best: Double
    }

    public var version: String
    public var results: [Result]

    public init(contentsOf path: String) throws {
        self = try JSONDecoder().decode(PeerSteps.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
    }

    /// Seconds of a call; nil if the peer did not measure this with so many threads.
    public func seconds(_ name: String, threads: Int) -> Double? {
        results.first { $0.name == name && $0.threads == threads }?.seconds
    }
}
