import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Reads `[data]` and `[model]` of a run that trains a language model.
struct LanguageReader {
    let file: ConfigurationFile
    let environment: TrainingJob.Environment

    // MARK: Model

    /// A loaded model with its tokenizer.
    struct Loaded {
        let decoder: Transformer
        let tokenizer: Tokenizer
    }

    /// The model of `key`, a path or a name of the catalogue; nil if the configuration has none.
    func loaded(_ key: String, precision: String) throws -> Loaded? {
        guard let name = try file.optionalString(key) else { return nil }
        let choice = try file.choice(precision, of: WeightPrecision.allCases.map(\.rawValue), default: "stored")
        var path = FileSystem.exists(name) ? name : try environment.fetch(name)
        // A directory in which a run left its result.
        let inside = FileSystem.join(path, TrainingJob.modelFolder)
        if !FileSystem.exists(FileSystem.join(path, "config.json")), FileSystem.isDirectory(inside) { path = inside }
        let tokenizer = try FileSystem.isDirectory(path) ? Tokenizer(directory: path) : Tokenizer(gguf: GGUFFile(path))
        let weights = WeightPrecision(rawValue: choice) ?? .stored
        // Whether it fits, and whether its numbers are numbers, is said before anything is learned from it.
        let source = try TensorFiles.open(path)
        try MachineMemory.require(source.loadedBytes(as: weights.valueType), for: "the model \(name)")
        try source.requireFinite()
        return Loaded(decoder: try Transformer.load(path, weights: weights), tokenizer: tokenizer)
    }

    /// The network of a loaded model, its weights in the form that `[model]` says.
    func network(_ loaded: Loaded, using generator: inout SeededGenerator) throws -> TrainableTransformer {
        let update = try file.optionalString("model.update")
        let forms: [String: TrainableTransformer.WeightForm] = [
            "dense": TrainableTransformer.dense, "masked": TrainableTransformer.masked,
            "sparse": TrainableTransformer.sparse, "frozen": TrainableTransformer.frozen,
        ]
        let name = try file.choice(
            "model.weights", of: ["dense", "masked", "sparse", "frozen"], default: update == nil ? "masked" : "frozen")
        if name != "frozen" {
            guard update == nil else {
                throw file.failure("model.update", "goes with frozen weights, not with \(name) ones")
            }
            // Values, gradients and two moments.
            try MachineMemory.require(
                shape: [loaded.decoder.parameterCount, 4], of: Float.self, for: "training all weights (\(file.file))")
        }
        let network = try TrainableTransformer(loaded.decoder, weight: forms[name]!)
        network.recomputesBlocks = try file.optionalBool("model.recompute") ?? false
        network.dropout = try file.optionalNumber("model.dropout", in: 0...0.99) ?? 0
        guard update != nil else { return network }
        let choice = LayerChoice(try file.optionalString("model.update_layers") ?? "all-but-output")
        let kind = try file.choice("model.update", of: ["low-rank", "sparse"])
        let rank = kind == "low-rank" ? try file.optionalInteger("model.rank", in: 1...65_536) ?? 8 : 0
        let alpha = kind == "low-rank" ? try file.optionalNumber("model.alpha", in: 0...1e6) ?? 2 * Double(rank) : 0
        let density = kind == "sparse" ? try file.optionalNumber("model.density", in: 1e-6...1) ?? 0.01 : 0
        for (_, layer) in try located("model.update_layers", { try choice.layers(of: network) }) {
            if kind == "low-rank" {
                layer.weight = UpdatedWeight.lowRank(
                    of: layer.weight, rank: rank, alpha: Float(alpha), using: &generator)
            } else {
                let (rows, columns) = (layer.outputDimensions, layer.inputDimensions)
                let count = max(1, Int(density * Double(rows * columns)))
                layer.weight = UpdatedWeight.sparse(
                    of: layer.weight,
                    mask: try SparsePattern(rows: rows, columns: columns, keepingRandom: count, using: &generator))
            }
        }
        return network
    }

    private func located<T>(_ key: String, _ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let LacunaError.invalidArgument(_, reason) {
            throw file.failure(key, reason)
        }
    }

    /// `[teacher]`, if there is one.
    func teacher() throws -> Distillation? {
        guard let loaded = try loaded("teacher.from", precision: "teacher.precision") else {
            if file.containsSection("teacher") { throw file.failure("teacher.from", "is missing") }
            return nil
        }
        return try Distillation(
            from: loaded.decoder, weight: try file.optionalNumber("teacher.weight", in: 0...1) ?? 0.5,
            temperature: try file.optionalNumber("teacher.temperature", in: 1e-3...1e3) ?? 1,
            features: try file.optionalNumber("teacher.features", in: 0...1e6) ?? 0)
    }

    // MARK: Data

    /// - Parameter loaded: The model that is fine-tuned, whose tokenizer reads the text; nil for a new one.
    func data(_ loaded: Loaded?, seed: UInt64) throws -> LanguageData {
        guard let paths = try file.optionalStrings("data.path"), !paths.isEmpty else {
            throw file.failure("data.path", "is missing")
        }
        let validPaths = try file.optionalStrings("data.valid")
        var vocabulary: String?
        if loaded == nil { vocabulary = try file.optionalString("data.vocabulary") ?? "byte" }
        if try file.string("data.kind") == "text" {
            return try text(paths, validPaths, loaded?.tokenizer, vocabulary: vocabulary)
        }
        let form = try file.choice("data.form", of: LanguageLines.forms, default: LanguageLines.forms[0])
        if vocabulary == "byte", form == "text" { return try lines(paths, validPaths, seed: seed) }
        guard let tokenizer = try loaded?.tokenizer ?? (vocabulary == "byte" ? nil : Tokenizer(json: vocabulary!))
        else {
            throw file.failure(
                "data.vocabulary",
                "bytes have no token that ends an answer: give the path of a tokenizer.json, or model.from with a model that has one"
            )
        }
        let end = loaded?.decoder.configuration.endTokens.first ?? tokenizer.endTokens.first
        let reader = try LanguageLines(file: file, tokenizer: tokenizer, end: end, environment: environment)
        let (train, valid) = try split(
            try reader.examples(paths), validPaths.map { try reader.examples($0) }, of: paths[0], seed: seed)
        func part(_ examples: [TokenExamples.Example]) -> LanguageData.Part {
            reader.isStream ? .stream(examples.flatMap(\.tokens)) : .examples(examples)
        }
        return LanguageData(
            train: part(train), valid: part(valid), vocabulary: tokenizer.vocabularySize,
            coding: .tokenizer(tokenizer))
    }

    /// Lines to train on and lines to validate by: those of files of their own, or a share drawn at random.
    private func split<Line>(
        _ lines: [Line], _ own: [Line]?, of path: String, seed: UInt64
    ) throws -> (train: [Line], valid: [Line]) {
        let fraction = try file.optionalNumber("data.test_fraction", in: 0.001...0.99) ?? 0.1
        if own != nil && file.contains("data.test_fraction") {
            throw file.failure("data.test_fraction", "stands beside valid: give one")
        }
        if let own { return (lines, own) }
        var generator = SeededGenerator(seed: seed, stream: 0x7E57)
        let count = max(1, Int(fraction * Double(lines.count)))
        guard lines.count > count else {
            throw LacunaError.malformed(file: path, location: "lines", reason: "\(lines.count) are too few to split")
        }
        var train = lines
        train.shuffle(using: &generator)
        let valid = Array(train.suffix(count))
        train.removeLast(count)
        return (train, valid)
    }

    /// Texts of lines as bytes, one after the other. A line break ends each of them, since bytes have no token for that.
    private func lines(_ paths: [String], _ validPaths: [String]?, seed: UInt64) throws -> LanguageData {
        if try file.optionalBool("data.special_tokens") ?? false {
            throw file.failure("data.special_tokens", "a vocabulary of bytes has none")
        }
        let key = try file.optionalString("data.text") ?? "text"
        func read(_ paths: [String]) throws -> [[UInt8]] {
            try paths.flatMap { path in
                var result: [[UInt8]] = []
                let lines = try JSONLines(path)
                while let text = try lines.next({ try $0.string(key) }) { result.append(Array(text.utf8) + [10]) }
                guard !result.isEmpty else {
                    throw LacunaError.malformed(file: path, location: "lines", reason: "has none")
                }
                return result
            }
        }
        let (train, valid) = try split(try read(paths), validPaths.map(read), of: paths[0], seed: seed)
        let first = Array(train.joined())
        let bytes = ByteVocabulary(first)
        return LanguageData(
            train: .stream(bytes.encode(first)), valid: .stream(bytes.encode(Array(valid.joined()))),
            vocabulary: bytes.count, coding: .bytes(bytes))
    }

    private func text(
        _ paths: [String], _ validPaths: [String]?, _ own: Tokenizer?, vocabulary: String?
    ) throws -> LanguageData {
        func read(_ paths: [String]) throws -> [UInt8] { try paths.flatMap { try FileSystem.readBytes($0) } }
        let (text, valid) = (try read(paths), try validPaths.map(read))
        // Without a text of its own the last tenth validates.
        let cut = valid == nil ? text.count - text.count / 10 : text.count
        let (first, last) = (Array(text[..<cut]), valid ?? Array(text[cut...]))
        guard !first.isEmpty && !last.isEmpty else {
            throw LacunaError.malformed(
                file: paths[0], location: "text", reason: "\(first.count) bytes to train and \(last.count) to validate")
        }
        let specials = try file.optionalBool("data.special_tokens") ?? false
        if vocabulary == "byte" {
            if specials { throw file.failure("data.special_tokens", "a vocabulary of bytes has none") }
            let bytes = ByteVocabulary(first)
            return LanguageData(
                train: .stream(bytes.encode(first)), valid: .stream(bytes.encode(last)), vocabulary: bytes.count,
                coding: .bytes(bytes))
        }
        let tokenizer = try own ?? Tokenizer(json: vocabulary ?? "")
        func encode(_ bytes: [UInt8]) -> LanguageData.Part {
            .stream(
                tokenizer.encode(
                    String(decoding: bytes, as: UTF8.self), recognizesSpecials: specials, addsBeginning: false
                ).map { Int32($0) })
        }
        return LanguageData(
            train: encode(first), valid: encode(last), vocabulary: tokenizer.vocabularySize,
            coding: .tokenizer(tokenizer))
    }
}
