/// A number that a row of a table carries.
public enum Metric: String, Sendable, Codable, CaseIterable {
    case threads
    /// Bytes that one call, or one token, has to read.
    case bytes
    /// Seconds of one call: median over the rounds.
    case seconds
    /// Seconds that a table of costs gave for a call beforehand.
    case estimate
    /// Half the distance of the quartiles over the median.
    case spread
    /// Bytes a second.
    case bandwidth
    /// Bandwidth over that of the plain read loop in the same rounds.
    case bandwidthShare
    /// Operations a second, those on zeros that a sparse product skips counted as if they were done.
    case operations
    case tokensPerSecond
    /// How many times faster than its baseline the row could be at best.
    case expected
    /// How many times faster than its baseline the row was.
    case measured
    /// Measured over expected.
    case share
    /// Tokens a second over those of a peer for the same model.
    case peerRatio
    case perplexity
    /// Bytes of a file.
    case fileBytes
    /// Bytes of stored tensors over those of the dense ones.
    case fileRatio
    /// Largest resident memory in bytes.
    case peakBytes

    /// The head of a column.
    var title: String {
        switch self {
        case .threads: "threads"
        case .bytes: "MB"
        case .seconds: "time"
        case .estimate: "estimate"
        case .spread: "± "
        case .bandwidth: "GB/s"
        case .bandwidthShare: "of read loop"
        case .operations: "GFLOP/s"
        case .tokensPerSecond: "tokens/s"
        case .expected: "allowed"
        case .measured: "measured"
        case .share: "share"
        case .peerRatio: "× peer"
        case .perplexity: "perplexity"
        case .fileBytes: "file MB"
        case .fileRatio: "of dense"
        case .peakBytes: "peak GB"
        }
    }

    /// `value` with its unit, three or so digits.
    func text(_ value: Double) -> String {
        switch self {
        case .threads: Format.integer(value)
        case .bytes, .fileBytes: Format.significant(value / 1e6)
        case .seconds, .estimate: Format.time(value)
        case .spread, .bandwidthShare, .share: Format.percent(value)
        case .bandwidth, .operations, .peakBytes: Format.significant(value / 1e9)
        case .tokensPerSecond, .perplexity: Format.significant(value)
        case .expected, .measured, .peerRatio: Format.fixed(value, 2) + "×"
        case .fileRatio: Format.fixed(value, 3)
        }
    }
}
