import LacunaRegress
import LacunaStructure
import LacunaTensor

/// An acyclic graph as Graphviz reads it, and drawn in layers: every variable below all of its causes. Edges whose direction is open
/// have no arrowhead.
struct GraphPicture {
    let graph: DirectedGraph
    let names: [String]
    /// Edges whose direction is one of two that are possible, as pairs of source and target.
    var open: Set<[Int]> = []

    func isOpen(_ source: Int, _ target: Int) -> Bool { open.contains([source, target]) }

    /// Strongest first.
    var edges: [(source: Int, target: Int, weight: Double)] {
        graph.edges.sorted { (abs($0.weight), $1.source, $1.target) > (abs($1.weight), $0.source, $0.target) }
    }

    var dot: String {
        func quoted(_ name: String) -> String {
            "\"" + name.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: " ") + "\""
        }
        let nodes = names.map { "  \(quoted($0));" }
        let lines = edges.map {
            "  \(quoted(names[$0.source])) -> \(quoted(names[$0.target])) "
                + "[label=\"\(Quantities.significant($0.weight, 3))\"\(isOpen($0.source, $0.target) ? ", dir=none" : "")];"
        }
        return (["digraph {"] + nodes + lines + ["}", ""]).joined(separator: "\n")
    }

    func svg(title: String) -> String {
        // Depth: the longest way down from a variable without causes.
        var depth = [Int](repeating: 0, count: graph.count)
        for i in graph.topologicalOrder ?? [] {
            for j in 0..<graph.count where graph[i, j] != 0 { depth[j] = max(depth[j], depth[i] + 1) }
        }
        let layers = (0...(depth.max() ?? 0)).map { level in (0..<graph.count).filter { depth[$0] == level } }
        let width = max(480, 110 * Double(layers.map(\.count).max() ?? 1))
        let height = 90 + 90 * Double(layers.count)
        var place = [(x: Double, y: Double)](repeating: (0, 0), count: graph.count)
        for (level, members) in layers.enumerated() {
            for (k, i) in members.enumerated() {
                // Every other layer is shifted a little, so that fewer edges pass through a name.
                let shift = level % 2 == 0 ? 0.0 : 0.25
                let share = (Double(k) + 0.5 + shift * (members.count > 1 ? 1 : 0)) / (Double(members.count) + shift)
                place[i] = (share * width, 80 + 90 * Double(level))
            }
        }
        let largest = edges.first.map { abs($0.weight) } ?? 1
        var body = """
            <defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" \
            orient="auto-start-reverse"><path d="M0 1 L10 5 L0 9 z" fill="currentColor"/></marker></defs>

            """
        for edge in edges {
            let (from, to) = (place[edge.source], place[edge.target])
            let length = max(1, ((to.x - from.x) * (to.x - from.x) + (to.y - from.y) * (to.y - from.y)).squareRoot())
            func along(_ t: Double) -> (String, String) {
                (SVG.number(from.x + t * (to.x - from.x)), SVG.number(from.y + t * (to.y - from.y)))
            }
            let (start, end) = (along(20 / length), along(1 - 20 / length))
            let tip = isOpen(edge.source, edge.target) ? "" : " marker-end=\"url(#tip)\""
            body += """
                <g class="\(SVG.colour(edge.weight > 0 ? 0 : 1))" style="color:var(--c)"><line class="line" \
                x1="\(start.0)" y1="\(start.1)" x2="\(end.0)" y2="\(end.1)"\(tip) \
                style="stroke-width:\(SVG.number(0.8 + 2.4 * abs(edge.weight) / largest))"/></g>

                """
        }
        for (i, name) in names.enumerated() {
            body += """
                <text class="halo" x="\(SVG.number(place[i].x))" y="\(SVG.number(place[i].y + 5))" \
                text-anchor="middle">\(Markup.escaped(name))</text>

                """
        }
        return SVG.document(title: title, titleLeft: 16, width: width, height: height, body: body)
    }
}
