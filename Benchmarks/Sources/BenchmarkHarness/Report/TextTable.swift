extension Section {
    /// The table with aligned columns, for a terminal.
    public var text: String {
        let (head, cells) = table
        let plain = ([head] + cells).map { $0.map { $0.replacing("**", with: "") } }
        let widths = head.indices.map { column in plain.map { $0[column].count }.max() ?? 0 }
        let numbers = 1...columns.count
        let lines = plain.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                line += (column == 0 ? "" : "  ") + (numbers.contains(column) ? padding + cell : cell + padding)
            }
            return line.trimmingSpaces
        }
        return ([title] + lines).joined(separator: "\n")
    }
}

extension Report {
    /// Everything, for a terminal.
    public var text: String {
        let (met, missed, open) = bars
        let summary = "\(met) bars met, \(missed.count) missed, \(open) open"
        return ([headLines.joined(separator: "\n")] + sections.map(\.text) + [summary]).joined(separator: "\n\n")
    }
}
