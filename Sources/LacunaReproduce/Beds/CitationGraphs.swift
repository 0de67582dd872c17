import Lacuna

/// Papers in the midst of those that they cite and are cited by: which field is the one in the middle of?
enum CitationGraphs {
    static let missing = RealData.isMissing("cora or Data/citeseer", "their part was not run")

    /// The papers of one of the public graphs, each as the first node of a graph of it and of up to `limit - 1` others around it,
    /// the nearest first and of equally near ones some drawn at random. nil if the data is not there.
    ///
    /// - Parameter trainCount: Papers to train on, of those of the public split's training and validation part; the 1000 of its
    ///   test part are tested.
    static func papers(
        _ name: String, limit: Int, trainCount: Int, testCount: Int = 1000, seed: UInt64
    ) throws -> (train: GraphExamples, test: GraphExamples)? {
        guard let folder = RealData.file(name) else { return nil }
        let nodes = try SvmlightFile(contentsOf: folder + "/nodes.svmlight")
        func lines(_ file: String) throws -> [Substring] {
            try FileSystem.readText(folder + "/" + file).split(separator: "\n")
        }
        let count = nodes.labels.count
        var next = [[Int]](repeating: [], count: count)
        for line in try lines("edges.tsv") {
            let ends = line.split(separator: "\t").compactMap { Int($0) }
            guard ends.count == 2, ends[0] != ends[1], ends.allSatisfy({ (0..<count).contains($0) }) else { continue }
            next[ends[0]].append(ends[1])
            next[ends[1]].append(ends[0])
        }
        var generator = SeededGenerator(seed: seed, stream: 0xC173)
        func surroundings(_ centre: Int) -> GraphExamples.Graph {
            var (found, seen, shell) = ([centre], Set([centre]), [centre])
            while found.count < limit, !shell.isEmpty {
                var outer: [Int] = []
                for node in shell { for other in next[node] where seen.insert(other).inserted { outer.append(other) } }
                shell = outer.sorted().shuffled(using: &generator)
                found += shell.prefix(limit - found.count)
            }
            let place = Dictionary(uniqueKeysWithValues: found.enumerated().map { ($1, $0) })
            let edges = found.enumerated().flatMap { index, node in
                next[node].compactMap { place[$0] }.filter { $0 > index }.map { WiringGraph.Edge(index, $0) }
            }
            return GraphExamples.Graph(nodes: found, edges: Set(edges).sorted())
        }
        let parts = try lines("split.txt")
        let classes = Int(nodes.labels.max() ?? 0) + 1
        var rows = [[(column: Int, value: Float)]](repeating: [], count: count)
        nodes.features.forEachEntry { rows[$0].append(($1, Float($2))) }
        // Words of a paper sum to 1, as is usual for these graphs.
        for row in rows.indices {
            let sum = rows[row].reduce(0) { $0 + $1.value }
            for entry in rows[row].indices { rows[row][entry].value /= sum }
        }
        let table = try SparseMatrix<Float>(columns: nodes.features.columns, rows: rows)
        func examples(_ wanted: Set<Substring>, _ limit: Int) throws -> GraphExamples {
            let all = (0..<min(count, parts.count)).filter { wanted.contains(parts[$0]) && nodes.labels[$0] >= 0 }
            let some = all.shuffled(using: &generator).prefix(limit)
            return try GraphExamples(
                table: table, graphs: some.map { surroundings($0) }, labels: some.map { Int32(nodes.labels[$0]) },
                classes: classes)
        }
        return (try examples(["train", "valid"], trainCount), try examples(["test"], testCount))
    }

    /// Rings of 20 to 40 nodes of two colours. Three nodes carry a mark; the class is the colour of most of them. It is read at the
    /// first node, which is not among them and has to find them by attention.
    static func marked(_ count: Int, seed: UInt64) throws -> GraphExamples {
        var generator = SeededGenerator(seed: seed, stream: 0x3A4C)
        var (rows, graphs, labels) = ([[(column: Int, value: Float)]](), [GraphExamples.Graph](), [Int32]())
        for _ in 0..<count {
            let n = Int.random(in: 20...40, using: &generator)
            let marks = Set(Array(1..<n).shuffled(using: &generator).prefix(3))
            let first = rows.count
            var colours = 0
            for node in 0..<n {
                let colour = Int.random(in: 0..<2, using: &generator)
                var row: [(column: Int, value: Float)] = [(colour, 1)]
                if marks.contains(node) {
                    row.append((2, 1))
                    colours += colour
                }
                row += (3..<8).map { ($0, Float(generator.normal())) }
                rows.append(row)
            }
            graphs.append(
                GraphExamples.Graph(
                    nodes: Array(first..<first + n), edges: (0..<n).map { WiringGraph.Edge($0, ($0 + 1) % n) }))
            labels.append(colours >= 2 ? 1 : 0)
        }
        return try GraphExamples(
            table: SparseMatrix<Float>(columns: 8, rows: rows), graphs: graphs, labels: labels, classes: 2)
    }
}
