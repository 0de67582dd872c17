import Lacuna

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Real data for reproductions, as far as it is on this machine. Nil means that a part of a check cannot be run, which
/// its notes must say.
enum RealData {
    private static func variable(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// Where `lacuna data NAME` keeps its files.
    private static func folder(_ name: String) -> String? {
        if let cache = variable("LACUNA_CACHE") { return cache + "/" + name }
        if let cache = variable("XDG_CACHE_HOME") { return cache + "/lacuna/" + name }
        return variable("HOME").map { $0 + "/.cache/lacuna/" + name }
    }

    static let fashionIsMissing =
        "Fashion-MNIST is not in the cache, so its part was not run: `lacuna data fashion-mnist` fetches it."

    /// Fashion-MNIST as vectors of 784, standardised as a whole.
    static func fashionMNIST(trainCount: Int = 60_000) throws -> (train: LabelledExamples, test: LabelledExamples)? {
        guard let folder = folder("fashion-mnist"), FileSystem.exists(folder) else { return nil }
        let data = try ImageFiles.fashionMNIST(folder)
        func flat(_ examples: LabelledExamples) throws -> LabelledExamples {
            let count = min(trainCount, examples.count)
            let part = examples.prefix(count)
            return try LabelledExamples(
                inputs: part.inputs.reshaped([count, part.inputs.count / count]), labels: part.labels,
                classes: part.classes)
        }
        return (try flat(data.train), try flat(data.test))
    }

    /// Flow cytometry of 11 proteins in 7466 cells, and the edges that biologists agree on (Karen Sachs and others, "Causal
    /// Protein-Signaling Networks Derived from Multiparameter Single-Cell Data", Science 308, 2005).
    static func sachs() throws -> (data: Tensor<Double>, graph: DirectedGraph)? {
        guard let folder = folder("causal-pairs-0.6.0"), FileSystem.exists(folder) else { return nil }
        let table = try CSVTable(contentsOf: folder + "/cyto_full_data.csv")
        let edges = try CSVTable(contentsOf: folder + "/cyto_full_target.csv")
        var data = Tensor<Double>(uninitialized: [table.rows, table.columns.count])
        for (j, column) in table.columns.enumerated() {
            guard case .numbers(let values) = column.values else {
                throw LacunaError.malformed(file: folder, location: column.name, reason: "is not a column of numbers")
            }
            data.withMutablePointer { for i in 0..<table.rows { $0[i * table.columns.count + j] = values[i] } }
        }
        guard case .text(let causes)? = edges["Cause"]?.values, case .text(let effects)? = edges["Effect"]?.values
        else {
            throw LacunaError.malformed(file: folder, location: "cyto_full_target.csv", reason: "holds no edges")
        }
        var graph = DirectedGraph(count: table.columns.count)
        let names = table.columns.map(\.name)
        for (cause, effect) in zip(causes, effects) {
            if let i = names.firstIndex(of: cause), let j = names.firstIndex(of: effect) { graph[i, j] = 1 }
        }
        return (data, graph)
    }

    /// A column of a table of `Data/series`, in its order: `co2` (`ppm`, monthly), `sunspots` (`number`, yearly) and `unemployment`
    /// (`percent`, quarterly).
    static func series(_ name: String, _ column: String) throws -> [Double]? {
        guard let path = file("series/\(name).csv") else { return nil }
        guard case .numbers(let values)? = try CSVTable(contentsOf: path)[column]?.values else {
            throw LacunaError.malformed(file: path, location: column, reason: "is not a column of numbers")
        }
        return values
    }

    /// A model or a folder of the catalogue, if it is in the cache: nothing is fetched.
    static func cached(_ name: String) throws -> String? {
        let (entry, cache) = (try Catalogue.entry(named: name), try DataCache())
        return cache.contains(entry) ? cache.path(of: entry) : nil
    }

    /// A file or a folder of the checkout's `Data`.
    static func file(_ name: String) -> String? { RepositoryData.path(name) }

    static let austenIsMissing = isMissing("austen", "the language models were not trained")

    static func isMissing(_ name: String, _ consequence: String) -> String {
        "Data/\(name), of a checkout of Lacuna, was found neither in the working directory nor from the program upwards, "
            + "so \(consequence)."
    }
}
