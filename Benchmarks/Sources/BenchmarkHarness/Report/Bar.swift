/// What a row has to reach.
public struct Bar: Sendable, Codable, Equatable {
    public enum Direction: String, Sendable, Codable { case atLeast, atMost, below }

    public var metric: Metric
    public var direction: Direction
    public var limit: Double

    public static func atLeast(_ metric: Metric, _ limit: Double) -> Bar {
        Bar(metric: metric, direction: .atLeast, limit: limit)
    }
    public static func atMost(_ metric: Metric, _ limit: Double) -> Bar {
        Bar(metric: metric, direction: .atMost, limit: limit)
    }
    public static func below(_ metric: Metric, _ limit: Double) -> Bar {
        Bar(metric: metric, direction: .below, limit: limit)
    }

    /// Whether `row` reaches the bar; nil if the row lacks the number.
    public func isMet(by row: Row) -> Bool? {
        guard let value = row[metric], value.isFinite else { return nil }
        switch direction {
        case .atLeast: return value >= limit
        case .atMost: return value <= limit
        case .below: return value < limit
        }
    }

    public var description: String {
        let sign =
            switch direction {
            case .atLeast: "≥"
            case .atMost: "≤"
            case .below: "<"
            }
        return "\(metric.title.trimmingSpaces) \(sign) \(metric.text(limit))"
    }
}

extension String {
    var trimmingSpaces: String {
        var text = Substring(self)
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
