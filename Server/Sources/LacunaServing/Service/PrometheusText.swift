/// Counts in the text format of Prometheus, version 0.0.4.
struct PrometheusText {
    private var lines: [String] = []

    var text: String { lines.joined(separator: "\n") + "\n" }

    mutating func metric(_ name: String, _ type: String, _ help: String, _ values: [(labels: String, value: String)]) {
        lines += ["# HELP lacuna_\(name) \(help)", "# TYPE lacuna_\(name) \(type)"]
        lines += values.map { "lacuna_\(name)\($0.labels) \($0.value)" }
    }

    mutating func counter(_ name: String, _ help: String, _ value: Int) {
        metric(name, "counter", help, [("", "\(value)")])
    }

    mutating func gauge(_ name: String, _ help: String, _ value: Int) {
        metric(name, "gauge", help, [("", "\(value)")])
    }

    mutating func histogram(_ name: String, _ help: String, _ histogram: Histogram) {
        var sum = 0
        var values: [(String, String)] = []
        for (bound, count) in zip(histogram.bounds.map { "\($0)" } + ["+Inf"], histogram.counts) {
            sum += count
            values.append(("_bucket{le=\"\(bound)\"}", "\(sum)"))
        }
        values += [("_sum", "\(histogram.sum)"), ("_count", "\(sum)")]
        metric(name, "histogram", help, values)
    }
}

/// How often a number was within which bounds.
struct Histogram: Sendable {
    /// Upper bounds, ascending.
    let bounds: [Double]
    private(set) var counts: [Int]
    private(set) var sum = 0.0

    init(_ bounds: [Double]) {
        self.bounds = bounds
        counts = [Int](repeating: 0, count: bounds.count + 1)
    }

    mutating func note(_ value: Double) {
        counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
        sum += value
    }
}

/// Responses by path and status.
struct ResponseCounts: Sendable {
    private var counts: [String: Int] = [:]

    mutating func note(path: String, status: Int) { counts["path=\"\(path)\",status=\"\(status)\"", default: 0] += 1 }

    func write(to text: inout PrometheusText) {
        text.metric(
            "responses_total", "counter", "Responses by path and status.",
            counts.sorted { $0.key < $1.key }.map { ("{\($0.key)}", "\($0.value)") })
    }
}
