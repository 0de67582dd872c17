/// What all charts share: the frame, the colours for light and dark, the spelling of numbers.
enum SVG {
    /// Colours that are told apart also by the colour-blind (after Okabe and Ito), with a darker and a lighter form each.
    private static let palette: [(light: String, dark: String)] = [
        ("#0072b2", "#56b4e9"), ("#d55e00", "#ff8c42"), ("#008a64", "#2fd3a3"), ("#a8518a", "#e39ac4"),
        ("#8a6d00", "#f0e442"), ("#5b5b5b", "#b8b8b8"),
    ]

    /// The class that gives series `index` its colour.
    static func colour(_ index: Int) -> String { "c\(index % palette.count)" }

    static func number(_ value: Double) -> String { Quantities.fixed(value, value == value.rounded() ? 0 : 1) }

    /// A complete document, which is also valid inside a page.
    static func document(title: String, titleLeft: Double, width: Double, height: Double, body: String) -> String {
        let light = palette.indices.map { ".chart .c\($0){--c:\(palette[$0].light)}" }.joined()
        let dark = palette.indices.map { ".chart .c\($0){--c:\(palette[$0].dark)}" }.joined()
        return """
            <svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" viewBox="0 0 \(number(width)) \
            \(number(height))" width="\(number(width))" height="\(number(height))">
            <title>\(Markup.escaped(title))</title>
            <style>
            .chart{--ink:#1f2328;--soft:#656d76;--grid:#e3e6ea;--paper:#ffffff;font:13px system-ui,sans-serif;\
            max-width:100%;height:auto}
            \(light)
            @media (prefers-color-scheme:dark){.chart{--ink:#e6edf3;--soft:#9198a1;--grid:#30363d;--paper:#0d1117}\
            \(dark)}
            .chart text{fill:var(--ink)}.chart .soft{fill:var(--soft)}.chart .grid{stroke:var(--grid)}
            .chart .axis{stroke:var(--soft)}.chart .line{fill:none;stroke:var(--c);stroke-width:2.2;\
            stroke-linejoin:round}
            .chart .reference{stroke-dasharray:6 5}.chart .dot,.chart .bar{fill:var(--c)}
            .chart .mark{fill:none;stroke:var(--c);stroke-width:2.2}
            .chart .halo{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
            </style>
            <rect width="100%" height="100%" fill="var(--paper)"/>
            <text x="\(number(titleLeft))" y="24" font-size="15" font-weight="600">\(Markup.escaped(title))</text>
            \(body)</svg>
            """
    }
}
