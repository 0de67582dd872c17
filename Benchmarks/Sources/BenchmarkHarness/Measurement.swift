/// The times of one candidate, one for each round.
public struct Measurement: Sendable {
    public let name: String
    public let work: Work
    /// Seconds a call, in the order of the rounds.
    public let seconds: [Double]

    public init(name: String, work: Work, seconds: [Double]) {
        precondition(!seconds.isEmpty)
        self.name = name
        self.work = work
        self.seconds = seconds
    }

    public var median: Double { Statistics.median(seconds) }
    public var minimum: Double { seconds.min() ?? 0 }
    public var spread: Double { Statistics.spread(seconds) }

    public var bytesPerSecond: Double { work.bytes / median }
    public var operationsPerSecond: Double { work.operations / median }
    public var tokensPerSecond: Double { work.tokens / median }

    /// How many times faster than `baseline` this is: the median, over the rounds, of the ratio within a round. What
    /// slows a whole round down, such as another program, cancels out.
    public func speed(against baseline: Measurement) -> Double {
        precondition(seconds.count == baseline.seconds.count, "measured in different rounds")
        return Statistics.median(zip(baseline.seconds, seconds).map { $0 / $1 })
    }
}
