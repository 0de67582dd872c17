/// One self-contained page: text, tables and charts, readable in light and dark, with nothing to load.
struct HTMLReport: Sendable {
    var title: String
    var lead: String
    private var sections: [String] = []

    init(title: String, lead: String) {
        self.title = title
        self.lead = lead
    }

    mutating func heading(_ text: String) { sections.append("<h2>\(Markup.escaped(text))</h2>") }
    mutating func paragraph(_ text: String) { sections.append("<p>\(Markup.escaped(text))</p>") }
    mutating func table(_ table: Table) { sections.append(table.html()) }
    mutating func chart(_ chart: LineChart) { sections.append("<figure>\(chart.svg())</figure>") }
    mutating func chart(_ chart: BarChart) { sections.append("<figure>\(chart.svg())</figure>") }

    /// What several models wrote after the same prompt.
    mutating func quotations(prompt: String, _ continuations: [(label: String, text: String)]) {
        let items = continuations.map { item in
            "<dt>\(Markup.escaped(item.label))</dt><dd>\(Markup.escaped(item.text))</dd>"
        }
        sections.append(
            """
            <blockquote><p class="prompt">\(Markup.escaped(prompt)) …</p>
            <dl>
            \(items.joined(separator: "\n"))
            </dl></blockquote>
            """)
    }

    /// Settings and facts: a name and a value each.
    mutating func facts(_ facts: [(name: String, value: String)]) {
        let items = facts.map { "<dt>\(Markup.escaped($0.name))</dt><dd>\(Markup.escaped($0.value))</dd>" }
        sections.append("<dl>\n\(items.joined(separator: "\n"))\n</dl>")
    }

    mutating func code(_ text: String) { sections.append("<pre>\(Markup.escaped(text))</pre>") }

    func html() -> String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>\(Markup.escaped(title))</title>
        <style>
        \(Self.style)
        </style>
        </head>
        <body>
        <main>
        <h1>\(Markup.escaped(title))</h1>
        <p class="lead">\(Markup.escaped(lead))</p>
        \(sections.joined(separator: "\n"))
        </main>
        </body>
        </html>

        """
    }

    private static let style = """
        :root{color-scheme:light dark;--ink:#1f2328;--soft:#656d76;--rule:#d8dee4;--paper:#ffffff;--tint:#f6f8fa}
        @media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--rule:#30363d;--paper:#0d1117;\
        --tint:#161b22}}
        *{box-sizing:border-box}
        body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",\
        Roboto,"Helvetica Neue",sans-serif}
        main{max-width:1140px;margin:0 auto;padding:40px 24px 80px}
        h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4em}
        h2{font-size:1.25rem;margin:2.2em 0 .7em;padding-bottom:.25em;border-bottom:1px solid var(--rule)}
        p{max-width:72ch;margin:.7em 0}
        .lead{color:var(--soft);font-size:1.08rem}
        .wide{overflow-x:auto}
        table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
        th,td{padding:.42em .65em;border-bottom:1px solid var(--rule);text-align:left;white-space:nowrap}
        th{color:var(--soft);font-weight:600;background:var(--tint)}
        .number{text-align:right}
        tbody tr:hover{background:var(--tint)}
        figure{margin:1em 0}
        dl{display:grid;grid-template-columns:max-content 1fr;gap:.25em 1.4em;margin:1em 0}
        dt{color:var(--soft)}
        dd{margin:0}
        blockquote{margin:1em 0;padding:.6em 1.1em;border-left:3px solid var(--rule);background:var(--tint)}
        .prompt{font-weight:600;margin:.3em 0}
        blockquote dl{margin:.4em 0}
        blockquote dd{max-width:76ch;overflow-wrap:anywhere}
        pre{background:var(--tint);padding:.9em 1.1em;overflow-x:auto;font-size:.88rem}
        """
}
