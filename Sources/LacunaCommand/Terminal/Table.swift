import LacunaTensor

/// Rows under titled columns, for a terminal, a Markdown document or a page.
struct Table: Sendable, Equatable {
    enum Alignment: Sendable { case left, right }

    struct Column: Sendable, Equatable {
        let title: String
        let alignment: Alignment

        static func left(_ title: String) -> Column { Column(title: title, alignment: .left) }
        static func right(_ title: String) -> Column { Column(title: title, alignment: .right) }
    }

    let columns: [Column]
    private(set) var rows: [[String]] = []

    init(_ columns: [Column], rows: [[String]] = []) {
        self.columns = columns
        for row in rows { append(row) }
    }

    /// Cells are names and numbers: what would command a terminal, line ends included, is spelt out.
    mutating func append(_ row: [String]) {
        require(row.count == columns.count, "a row needs a cell for every column")
        rows.append(row.map(Printable.name))
    }

    /// Aligned columns two spaces apart under a rule; no trailing blanks.
    func text(console: Console? = nil) -> String {
        let widths = columns.indices.map { index in
            rows.reduce(columns[index].title.count) { max($0, $1[index].count) }
        }
        func line(_ cells: [String]) -> String {
            let padded = zip(zip(cells, columns), widths).map { pair, width in
                Self.pad(pair.0, to: width, pair.1.alignment)
            }
            var line = padded.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line
        }
        let header = line(columns.map(\.title))
        let rule = widths.map { String(repeating: "─", count: $0) }.joined(separator: "  ")
        return ([console?.styled(header, .bold) ?? header, rule] + rows.map(line)).joined(separator: "\n")
    }

    /// A GitHub-flavoured Markdown table.
    func markdown() -> String {
        func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
        let rule = columns.map { $0.alignment == .left ? "---" : "---:" }
        let body = rows.map { row in
            line(row.map { $0.replacing("|", with: "\\|").replacing("\n", with: " ") })
        }
        return ([line(columns.map(\.title)), line(rule)] + body).joined(separator: "\n")
    }

    /// A `<table>` element.
    func html() -> String {
        func cells(_ tag: String, _ values: [String]) -> String {
            zip(values, columns).map { value, column in
                let attribute = column.alignment == .right ? " class=\"number\"" : ""
                return "<\(tag)\(attribute)>\(Markup.escaped(value))</\(tag)>"
            }.joined()
        }
        let body = rows.map { "<tr>\(cells("td", $0))</tr>" }.joined(separator: "\n")
        return """
            <div class="wide"><table>
            <thead><tr>\(cells("th", columns.map(\.title)))</tr></thead>
            <tbody>
            \(body)
            </tbody>
            </table></div>
            """
    }

    private static func pad(_ text: String, to width: Int, _ alignment: Alignment) -> String {
        let blanks = String(repeating: " ", count: max(0, width - text.count))
        return alignment == .left ? text + blanks : blanks + text
    }
}
