import LacunaTensor

/// How scores that are not negative are distributed, from any number of them in one pass: what thresholds are calibrated by.
///
/// Bins follow the numbers' own floating-point form, 512 to an octave, so that none is too large or too small to be counted and a
/// quantile is off by at most 0.2 % of its value.
public struct ScoreHistogram: Sendable {
    private static let shift: UInt32 = 14
    private var counts = [UInt32](repeating: 0, count: 1 << (31 - Int(shift)))
    /// Scores counted.
    public private(set) var count = 0
    /// Scores that were infinite or not a number; they are not counted.
    public private(set) var undefined = 0

    /// A histogram of no scores.
    public init() {}

    /// Counts `|x[i]| · weights[i]`, or `|x[i]|` without weights.
    public mutating func add(_ x: UnsafePointer<Float>, count n: Int, weights: UnsafePointer<Float>? = nil) {
        var (counted, others) = (0, 0)
        counts.withUnsafeMutableBufferPointer { counts in
            for i in 0..<n {
                let score = abs(x[i]) * (weights?[i] ?? 1)
                if score.isFinite {
                    counts[Int(score.bitPattern >> Self.shift)] &+= 1
                    counted += 1
                } else {
                    others += 1
                }
            }
        }
        (count, undefined) = (count + counted, undefined + others)
    }

    /// Counts what another histogram has.
    public mutating func merge(_ other: ScoreHistogram) {
        for i in counts.indices { counts[i] &+= other.counts[i] }
        (count, undefined) = (count + other.count, undefined + other.undefined)
    }

    /// The threshold that about a fraction of the scores does not exceed; nil for a fraction of 0 or without scores.
    ///
    /// - Parameter fraction: 0...1.
    public func threshold(leavingOut fraction: Double) -> Float? {
        guard fraction > 0, count > 0 else { return nil }
        let wanted = fraction * Double(count)
        var below = 0
        for (bin, n) in counts.enumerated() where n > 0 {
            let through = below + Int(n)
            if Double(through) >= wanted {
                // The end of the bin, or of the one before it if that is nearer.
                let isNearer = Double(through) - wanted <= wanted - Double(below) || below == 0
                return isNearer ? Self.end(bin) : Self.end(bin - 1)
            }
            below = through
        }
        return Self.end(counts.lastIndex { $0 > 0 } ?? 0)
    }

    /// The share of scores that do not exceed a threshold, to the width of a bin.
    public func share(atMost threshold: Float) -> Double {
        if count == 0 || threshold < 0 { return 0 }
        let last = min(Int(threshold.bitPattern >> Self.shift), counts.count - 1)
        return Double(counts[...last].reduce(0) { $0 + Int($1) }) / Double(count)
    }

    /// The largest number of a bin.
    private static func end(_ bin: Int) -> Float { Float(bitPattern: (UInt32(bin + 1) << shift) - 1) }
}
