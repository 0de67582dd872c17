/// Horizontal bars with their values, drawn as SVG by hand: a handful of things compared by one number.
struct BarChart: Sendable {
    struct Bar: Sendable {
        var name: String
        var value: Double
        /// What is written behind the bar.
        var label: String
        /// Bars of one group share a colour.
        var group = 0
    }

    var title: String
    var bars: [Bar]
    var width = 760.0

    private static let rowHeight = 30.0

    func svg() -> String {
        let height = 44 + Double(bars.count) * Self.rowHeight + 10
        let left = min(width * 0.45, 20 + 7.4 * Double(bars.map(\.name.count).max() ?? 0))
        let right = width - 110
        let largest = bars.map(\.value).filter(\.isFinite).max() ?? 0
        var body = ""
        for (index, bar) in bars.enumerated() {
            let top = 44 + Double(index) * Self.rowHeight
            let share = largest > 0 && bar.value.isFinite ? max(0, bar.value / largest) : 0
            let length = share * (right - left)
            let middle = top + Self.rowHeight / 2 + 1
            body += """
                <text x="\(SVG.number(left - 8))" y="\(SVG.number(middle))" text-anchor="end">\
                \(Markup.escaped(bar.name))</text>
                <rect class="bar \(SVG.colour(bar.group))" x="\(SVG.number(left))" y="\(SVG.number(top + 4))" \
                width="\(SVG.number(length))" height="\(SVG.number(Self.rowHeight - 10))" rx="2"/>
                <text class="soft" x="\(SVG.number(left + length + 8))" y="\(SVG.number(middle))">\
                \(Markup.escaped(bar.label))</text>

                """
        }
        return SVG.document(title: title, titleLeft: 12, width: width, height: height, body: body)
    }
}
