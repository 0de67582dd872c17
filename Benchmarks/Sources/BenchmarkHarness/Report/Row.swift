/// One line of a table: something that was measured.
public struct Row: Sendable, Codable, Equatable {
    public var name: String
    /// What it is compared with, if it is.
    public var baseline: String?
    public private(set) var values: [String: Double] = [:]
    public var bars: [Bar] = []
    /// Why the number is what it is.
    public var remark: String?

    public init(_ name: String) { self.name = name }

    /// The time, rate and spread of a measurement.
    public init(_ measurement: Measurement, threads: Int) {
        self.init(measurement.name)
        self[.threads] = Double(threads)
        self[.seconds] = measurement.median
        self[.spread] = measurement.spread
        if measurement.work.bytes > 0 {
            self[.bytes] = measurement.work.bytes
            self[.bandwidth] = measurement.bytesPerSecond
        }
        if measurement.work.operations > 0 { self[.operations] = measurement.operationsPerSecond }
        if measurement.work.tokens > 0 { self[.tokensPerSecond] = measurement.tokensPerSecond }
    }

    public subscript(metric: Metric) -> Double? {
        get { values[metric.rawValue] }
        set { values[metric.rawValue] = newValue }
    }

    /// Compares with a baseline of the same rounds.
    ///
    /// - Parameter allowed: How many times faster than the baseline this could be at best; nil for the ratio of the
    ///   bytes, if they were counted.
    public mutating func compare(_ measurement: Measurement, with baseline: Measurement, allowed: Double? = nil) {
        let speed = measurement.speed(against: baseline)
        self.baseline = baseline.name
        self[.measured] = speed
        let expected = allowed ?? baseline.work.bytes / measurement.work.bytes
        guard expected.isFinite else { return }
        self[.expected] = expected
        self[.share] = speed / expected
    }

    /// Relates the bandwidth to that of the plain read loop in the same rounds, and says in the remark what bounds the
    /// row.
    public mutating func relate(_ measurement: Measurement, to readLoop: Measurement) {
        // Paired, like all ratios: both were slowed down by the same neighbours.
        let share =
            measurement.speed(against: readLoop) * measurement.work.bytes / readLoop.work.bytes
        self[.bandwidthShare] = share
        remark = share >= 0.85 ? "memory" : "computing: memory allows \(Format.fixed(1 / share, 1))× this speed"
    }
}
