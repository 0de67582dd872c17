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

    /// Where `lacuna data fashion-mnist` keeps its files.
    private static var fashionFolder: String? {
        if let cache = variable("LACUNA_CACHE") { return cache + "/fashion-mnist" }
        if let cache = variable("XDG_CACHE_HOME") { return cache + "/lacuna/fashion-mnist" }
        return variable("HOME").map { $0 + "/.cache/lacuna/fashion-mnist" }
    }

    static let fashionIsMissing =
        "Fashion-MNIST is not in the cache, so its part was not run: `lacuna data fashion-mnist` fetches it."

    /// Fashion-MNIST as vectors of 784, standardised as a whole.
    static func fashionMNIST(trainCount: Int = 60_000) throws -> (train: LabelledExamples, test: LabelledExamples)? {
        guard let folder = fashionFolder, FileSystem.exists(folder) else { return nil }
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

    /// A file of the checkout's `Data` directory, looked for from the working directory.
    static func file(_ name: String) -> String? {
        let path = "Data/" + name
        return FileSystem.exists(path) ? path : nil
    }

    static let austenIsMissing =
        "Data/austen was not found from the working directory, so the language models were not trained."
}
