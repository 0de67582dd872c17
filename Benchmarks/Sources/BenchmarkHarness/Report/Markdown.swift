extension Section {
    /// The table and its explanation.
    public var markdown: String {
        let (head, cells) = table
        let rules = head.indices.map { (1...columns.count).contains($0) ? "---:" : "---" }
        let lines = ([head, rules] + cells).map { "| " + $0.joined(separator: " | ") + " |" }
        return "## \(title)\n\n\(explanation)\n\n" + lines.joined(separator: "\n")
    }
}

extension Report {
    /// A whole document.
    public func markdown(title: String, introduction: String) -> String {
        let (met, missed, open) = bars
        var parts = ["# \(title)", introduction]
        parts.append((["Measured \(date) on:"] + headLines.map { "- \($0)" }).joined(separator: "\n"))
        if !notes.isEmpty { parts.append(notes.map { "- \($0)" }.joined(separator: "\n")) }
        var summary = "**Bars:** \(met) met, \(missed.count) missed"
        summary += open == 0 ? "." : ", \(open) not measured."
        parts.append(summary)
        if !missed.isEmpty {
            let lines = missed.map { section, row, bar in
                // Where rows differ by threads alone, their name is not enough.
                var threads = ""
                if section.columns.contains(.threads), let count = row[.threads] { threads = ", threads \(Int(count))" }
                let found = row[bar.metric].map { bar.metric.text($0) } ?? ""
                return "- \(section.title): \(row.name)\(threads): \(found); \(bar.description)"
            }
            parts.append("Missed:\n" + lines.joined(separator: "\n"))
        }
        return (parts + sections.map(\.markdown)).joined(separator: "\n\n") + "\n"
    }
}
