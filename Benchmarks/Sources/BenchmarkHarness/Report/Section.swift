/// A table and what it says.
public struct Section: Sendable, Codable {
    public var title: String
    /// What was measured, how, and how to read the columns. Markdown.
    public var explanation: String
    /// The columns after the first, which has the rows' names.
    public var columns: [Metric]
    /// Head of the column of remarks; nil for none.
    public var remarkTitle: String?
    public var rows: [Row]

    public init(
        _ title: String, explanation: String, columns: [Metric], remarkTitle: String? = nil, rows: [Row] = []
    ) {
        self.title = title
        self.explanation = explanation
        self.columns = columns
        self.remarkTitle = remarkTitle
        self.rows = rows
    }

    /// Heads and cells of the table. The column of bars is left out if no row has one.
    var table: (head: [String], cells: [[String]]) {
        let hasBars = rows.contains { !$0.bars.isEmpty }
        let head =
            [""] + columns.map(\.title.trimmingSpaces) + (hasBars ? ["bar"] : []) + (remarkTitle.map { [$0] } ?? [])
        let cells = rows.map { row in
            [row.name] + columns.map { column in row[column].map(column.text) ?? "" }
                + (hasBars ? [row.bars.map { verdict($0, of: row) }.joined(separator: "; ")] : [])
                + (remarkTitle == nil ? [] : [row.remark ?? ""])
        }
        return (head, cells)
    }

    private func verdict(_ bar: Bar, of row: Row) -> String {
        let mark =
            switch bar.isMet(by: row) {
            case true?: "met"
            case false?: "**missed**"
            case nil: "not measured"
            }
        return "\(bar.description): \(mark)"
    }
}
