/// Lines over two axes, drawn as SVG by hand: nothing to load, sharp at any size, light and dark.
struct LineChart: Sendable {
    struct Point: Sendable, Equatable {
        let x: Double
        let y: Double
        init(_ x: Double, _ y: Double) {
            self.x = x
            self.y = y
        }
    }

    struct Series: Sendable {
        var name: String
        var points: [Point]
        /// The point to point out, such as a knee, with its label.
        var mark: (point: Point, label: String)?
        /// A horizontal reference, such as the dense model, is drawn dashed and without dots.
        var isReference = false
    }

    struct Axis: Sendable {
        var title: String
        var scale: AxisTicks.Scale = .linear
    }

    var title: String
    var x: Axis
    var y: Axis
    var series: [Series]
    var width = 760.0
    var height = 420.0

    /// A complete SVG document, which is also valid inside a page.
    func svg() -> String {
        // What an axis cannot show (not finite, not positive on a logarithmic one) is left out.
        let drawable = series.map { series in series.points.filter(isDrawable) }
        let points = drawable.flatMap { $0 }
        let xs = points.map(\.x)
        let ys = points.map(\.y)
        guard let left = xs.min(), let right = xs.max(), let low = ys.min(), let high = ys.max() else {
            return document(body: text("no data", x: width / 2, y: height / 2, anchor: "middle"))
        }
        let xTicks = AxisTicks(covering: left...right, scale: x.scale, count: 8)
        let yTicks = AxisTicks(covering: low...high, scale: y.scale)
        let area = plotArea
        func place(_ point: Point) -> (x: Double, y: Double) {
            (
                area.left + xTicks.position(of: point.x, scale: x.scale) * (area.right - area.left),
                area.bottom - yTicks.position(of: point.y, scale: y.scale) * (area.bottom - area.top)
            )
        }
        var body = grid(xTicks, yTicks)
        for (index, points) in drawable.enumerated() where !points.isEmpty {
            body += draw(series[index], index: index, at: points.map(place))
            if let mark = series[index].mark, isDrawable(mark.point) {
                body += draw(mark: mark.label, index: index, at: place(mark.point))
            }
        }
        return document(body: body + legend())
    }

    // MARK: - Layout

    private var plotArea: (left: Double, right: Double, top: Double, bottom: Double) {
        (72, width - 20, 44, height - 58 - legendHeight)
    }

    private var legendRows: Int { (series.count + legendColumns - 1) / legendColumns }
    private var legendHeight: Double { series.count > 1 ? Double(legendRows) * 20 : 0 }
    private var legendColumns: Int {
        let longest = series.map(\.name.count).max() ?? 0
        return max(1, Int((width - 92) / (Double(longest) * 7.2 + 50)))
    }

    private func isDrawable(_ point: Point) -> Bool {
        point.x.isFinite && point.y.isFinite && (x.scale == .linear || point.x > 0)
            && (y.scale == .linear || point.y > 0)
    }

    // MARK: - Parts

    private func document(body: String) -> String {
        SVG.document(title: title, titleLeft: plotArea.left, width: width, height: height, body: body)
    }

    private func grid(_ xTicks: AxisTicks, _ yTicks: AxisTicks) -> String {
        let area = plotArea
        var body = ""
        for value in yTicks.values {
            let at = area.bottom - yTicks.position(of: value, scale: y.scale) * (area.bottom - area.top)
            body += line("grid", area.left, at, area.right, at)
            body += text(AxisTicks.label(value), x: area.left - 8, y: at + 4, anchor: "end", style: "soft")
        }
        for value in xTicks.values {
            let at = area.left + xTicks.position(of: value, scale: x.scale) * (area.right - area.left)
            body += line("grid", at, area.top, at, area.bottom)
            body += text(AxisTicks.label(value), x: at, y: area.bottom + 18, anchor: "middle", style: "soft")
        }
        body += line("axis", area.left, area.bottom, area.right, area.bottom)
        body += line("axis", area.left, area.top, area.left, area.bottom)
        body += text(x.title, x: (area.left + area.right) / 2, y: area.bottom + 40, anchor: "middle")
        let middle = (area.top + area.bottom) / 2
        body += """
            <text transform="translate(18 \(number(middle))) rotate(-90)" text-anchor="middle">\
            \(Markup.escaped(y.title))</text>

            """
        return body
    }

    private func draw(_ series: Series, index: Int, at points: [(x: Double, y: Double)]) -> String {
        let path = points.map { "\(number($0.x)),\(number($0.y))" }.joined(separator: " ")
        let style = series.isReference ? "line reference" : "line"
        var body = "<g class=\"\(colour(index))\"><polyline class=\"\(style)\" points=\"\(path)\"/>"
        if !series.isReference {
            for point in points {
                body += "<circle class=\"dot\" cx=\"\(number(point.x))\" cy=\"\(number(point.y))\" r=\"3.4\"/>"
            }
        }
        return body + "</g>\n"
    }

    private func draw(mark label: String, index: Int, at point: (x: Double, y: Double)) -> String {
        // Curves rise to the right: upper left of a point there is room.
        let flips = point.x > width * 0.25
        return """
            <g class="\(colour(index))"><circle class="mark" cx="\(number(point.x))" cy="\(number(point.y))" r="8"/>\
            <text class="halo" x="\(number(point.x + (flips ? -12 : 12)))" y="\(number(point.y - 10))" \
            text-anchor="\(flips ? "end" : "start")">\(Markup.escaped(label))</text></g>

            """
    }

    private func legend() -> String {
        guard series.count > 1 else { return "" }
        let cell = (width - 92) / Double(legendColumns)
        var body = ""
        for (index, series) in series.enumerated() {
            let left = plotArea.left + Double(index % legendColumns) * cell
            let top = height - legendHeight + Double(index / legendColumns) * 20
            let style = series.isReference ? "line reference" : "line"
            body += "<g class=\"\(colour(index))\">" + line(style, left, top, left + 26, top) + "</g>"
            body += text(series.name, x: left + 33, y: top + 4.5, anchor: "start")
        }
        return body
    }

    private func colour(_ index: Int) -> String { SVG.colour(index) }

    private func line(_ style: String, _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double) -> String {
        "<line class=\"\(style)\" x1=\"\(number(x1))\" y1=\"\(number(y1))\" x2=\"\(number(x2))\" y2=\"\(number(y2))\"/>\n"
    }

    private func text(_ content: String, x: Double, y: Double, anchor: String, style: String = "") -> String {
        let attribute = style.isEmpty ? "" : " class=\"\(style)\""
        return "<text\(attribute) x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\">"
            + "\(Markup.escaped(content))</text>\n"
    }

    private func number(_ value: Double) -> String { SVG.number(value) }
}
