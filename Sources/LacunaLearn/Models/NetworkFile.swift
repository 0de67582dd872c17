import LacunaIO
import LacunaTensor

/// What a trained network reads.
public enum NetworkInputs: Sendable, Hashable {
    /// Rows of a table.
    case table(TableEncoding)
    /// Pictures of one size.
    case images(ImageEncoding)
}

/// What a trained network's outputs mean.
public enum NetworkOutputs: Sendable, Hashable {
    /// Logits, one a class.
    case classes([String])
    /// One number, standardised by a scaler of one column.
    case number(name: String, Standardization)
}

/// The networks that a file can describe.
public enum NetworkArchitecture: Sendable, Hashable {
    /// ``MLP``, by the widths of input, hidden layers and output.
    case mlp(widths: [Int], activation: Activation)
    /// ``ConvNet``, by the channels of its stages.
    case cnn(inputChannels: Int, channels: [Int], outputs: Int)

    /// The architecture of a network; nil for one of another kind.
    public init?(of model: any Module) {
        switch model {
        case let mlp as MLP:
            self = .mlp(
                widths: mlp.layers.map(\.inputDimensions) + [mlp.layers.last!.outputDimensions],
                activation: mlp.activation)
        case let cnn as ConvNet:
            self = .cnn(
                inputChannels: cnn.convolutions.first?.inputChannels ?? cnn.classifier.inputDimensions,
                channels: cnn.convolutions.map(\.product.outputDimensions),
                outputs: cnn.classifier.outputDimensions)
        default: return nil
        }
    }

    /// A network of this architecture; its values are to be read.
    public func network() -> any UnaryLayer {
        var generator = SeededGenerator(seed: 0)
        switch self {
        case .mlp(let widths, let activation): return MLP(widths: widths, activation: activation, using: &generator)
        case .cnn(let inputs, let channels, let outputs):
            return ConvNet(inputChannels: inputs, channels: channels, classes: outputs, using: &generator)
        }
    }

    var outputs: Int {
        switch self {
        case .mlp(let widths, _): widths.last!
        case .cnn(_, _, let outputs): outputs
        }
    }

    var json: JSONValue {
        switch self {
        case .mlp(let widths, let activation):
            [
                "kind": "mlp", "widths": .array(widths.map { JSONValue($0) }),
                "activation": .string(activation.rawValue),
            ]
        case .cnn(let inputs, let channels, let outputs):
            [
                "kind": "cnn", "input_channels": JSONValue(inputs), "channels": .array(channels.map { JSONValue($0) }),
                "outputs": JSONValue(outputs),
            ]
        }
    }

    init(_ fields: JSONFields) throws {
        func sizes(_ key: String, atLeast count: Int) throws -> [Int] {
            let sizes = try fields.integers(key)
            guard sizes.count >= count, sizes.allSatisfy({ 1...(1 << 24) ~= $0 }) else {
                throw fields.failure(key, "are no sizes of layers")
            }
            return sizes
        }
        let kind = try fields.string("kind")
        let pairs: [(Int, Int)]
        switch kind {
        case "mlp":
            let name = try fields.string("activation")
            guard let activation = Activation(rawValue: name) else {
                throw fields.failure("activation", "'\(name)' is none")
            }
            let widths = try sizes("widths", atLeast: 2)
            pairs = Array(zip(widths, widths.dropFirst()))
            self = .mlp(widths: widths, activation: activation)
        case "cnn":
            let (inputs, outputs) = (try fields.integer("input_channels"), try fields.integer("outputs"))
            guard 1...(1 << 16) ~= inputs, 1...(1 << 24) ~= outputs else {
                throw fields.failure("outputs", "are out of range")
            }
            let channels = try sizes("channels", atLeast: 1)
            pairs = zip([inputs] + channels, channels).map { (9 * $0, $1) } + [(channels.last!, outputs)]
            self = .cnn(inputChannels: inputs, channels: channels, outputs: outputs)
        default: throw LacunaError.unsupported(file: fields.file, what: "a network of the kind '\(kind)'")
        }
        var count = 0
        for (a, b) in pairs {
            let (product, overflow) = a.multipliedReportingOverflow(by: b)
            guard !overflow, product < 1 << 40 else { throw fields.failure("kind", "is a network of impossible size") }
            count += product
        }
        try MachineMemory.require(shape: [count], of: Float.self, for: "the network of \(fields.file)")
    }
}

/// A network with what its inputs went through and what its outputs mean, in a directory: `network.json` and
/// `model.safetensors`.
///
/// ```swift
/// let network = try TrainedNetwork.load("runs/first")
/// for row in try network.predictions(CSVTable(contentsOf: "new.csv"), file: "new.csv") { print(row.text) }
/// ```
public struct TrainedNetwork {
    /// The network, whose layers may be stored sparse.
    public let model: any UnaryLayer
    /// What the file says of the network's shape.
    public let architecture: NetworkArchitecture
    /// What inputs went through.
    public let inputs: NetworkInputs
    /// What outputs mean.
    public let outputs: NetworkOutputs

    /// - Throws: `LacunaError.unsupported` for a network that no file can describe, `.invalidArgument` if its outputs are
    ///   not as many as it has.
    public init(_ model: any UnaryLayer, inputs: NetworkInputs, outputs: NetworkOutputs) throws {
        guard let architecture = NetworkArchitecture(of: model) else {
            throw LacunaError.unsupported(file: nil, what: "a description of a network of one's own")
        }
        let count = if case .classes(let names) = outputs { names.count } else { 1 }
        guard architecture.outputs == count else {
            throw LacunaError.invalidArgument(
                "outputs", reason: "\(count) names for \(architecture.outputs) outputs")
        }
        (self.model, self.architecture, self.inputs, self.outputs) = (model, architecture, inputs, outputs)
    }

    private static let descriptionName = "network.json"
    private static let modelName = "model.safetensors"

    /// Whether a directory holds such a network.
    public static func isIn(_ directory: String) -> Bool {
        FileSystem.exists(FileSystem.join(directory, descriptionName))
    }

    /// Writes the network.
    ///
    /// - Throws: `LacunaError.file` if it cannot be written.
    public func save(to directory: String) throws {
        try ModelFile.save(model, to: FileSystem.join(directory, Self.modelName))
        try saveDescription(to: directory)
    }

    /// Writes what is beside the network's values, which are in the directory already.
    ///
    /// - Throws: `LacunaError.file` if it cannot be written.
    public func saveDescription(to directory: String) throws {
        var object = JSONObject()
        object["format"] = "lacuna.network"
        object["version"] = 1
        object["architecture"] = architecture.json
        switch inputs {
        case .table(let encoding): object["table"] = encoding.json
        case .images(let encoding): object["images"] = encoding.json
        }
        switch outputs {
        case .classes(let names): object["classes"] = .array(names.map { .string($0) })
        case .number(let name, let scaler):
            object["target"] = .string(name)
            object["target_scaler"] = scaler.json
        }
        try AtomicFile.write(
            JSONValue.object(object).serialized() + "\n", to: FileSystem.join(directory, Self.descriptionName))
    }

    /// Writes the network's numbers for other programs, as PyTorch names and shapes those of the same layers: whole matrices, with
    /// zeros where nothing is stored, kernels of convolutions [outputs, channels, height, width], and the statistics of norms as
    /// `running_mean` and `running_var`.
    ///
    /// - Throws: `LacunaError.unsupported` for layers that are not those of matrices, `.file` if it cannot be written.
    public func export(to path: String) throws {
        var kernels: [ObjectIdentifier: [Int]] = [:]
        var inner = Set<ObjectIdentifier>()
        var norms: [(name: String, norm: BatchNorm)] = []
        model.forEachModule { name, module in
            if let layer = module as? SparseConv2d {
                kernels[ObjectIdentifier(layer.product)] = [
                    layer.product.outputDimensions, layer.inputChannels, layer.kernelSize, layer.kernelSize,
                ]
            }
            if let layer = module as? Linear {
                for part in layer.weight.linears { inner.insert(ObjectIdentifier(part.layer)) }
            }
            if let norm = module as? BatchNorm { norms.append((name, norm)) }
        }
        let layers = model.linears.filter { !inner.contains(ObjectIdentifier($0.layer)) }
        for (name, layer) in layers where !layer.weight.isLinear {
            throw LacunaError.unsupported(
                file: path, what: "a matrix of '\(name)', which has a norm or a nonlinearity inside")
        }
        let writer = try SafetensorsWriter(path, metadata: ["format": "pt"])
        func write(_ name: String, _ tensor: Tensor<Float>, _ shape: [Int]? = nil) throws {
            try tensor.withPointer {
                try writer.write(
                    name, type: .f32, shape: shape ?? tensor.shape,
                    bytes: UnsafeRawBufferPointer(start: $0, count: 4 * tensor.count))
            }
        }
        for (name, layer) in layers {
            try write("\(name).weight", layer.weight.densified(), kernels[ObjectIdentifier(layer)])
            if let bias = layer.bias { try write("\(name).bias", bias.value) }
        }
        for (name, norm) in norms {
            try write("\(name).weight", norm.weight.value)
            try write("\(name).bias", norm.bias.value)
            try write("\(name).running_mean", norm.runningMean.value)
            try write("\(name).running_var", norm.runningVariance.value)
        }
        try writer.finish()
    }

    /// Reads what ``save(to:)`` wrote.
    ///
    /// - Throws: `LacunaError.file`, `.malformed` and what ``ModelFile/load(_:from:)-(_,String)`` throws.
    public static func load(_ directory: String) throws -> TrainedNetwork {
        let fields = try JSONFields(contentsOf: FileSystem.join(directory, descriptionName))
        guard try fields.string("format") == "lacuna.network", try fields.integer("version") == 1 else {
            throw fields.failure("format", "is no description of a network, version 1")
        }
        let architecture = try NetworkArchitecture(fields.fields("architecture"))
        let inputs: NetworkInputs =
            fields.contains("images")
            ? .images(try ImageEncoding(fields.fields("images"))) : .table(try TableEncoding(fields.fields("table")))
        let outputs: NetworkOutputs
        if let names = try fields.optionalArray("classes") {
            outputs = .classes(
                try names.map {
                    guard let name = $0.stringValue else { throw fields.failure("classes", "expected strings") }
                    return name
                })
        } else {
            let scaler = try Standardization(fields.fields("target_scaler"))
            guard scaler.means.count == 1 else { throw fields.failure("target_scaler", "is not of one column") }
            outputs = .number(name: try fields.string("target"), scaler)
        }
        let width: Int
        switch (architecture, inputs) {
        case (.mlp(let widths, _), .table(let encoding)): width = encoding.width - widths[0]
        case (.mlp(let widths, _), .images(let e)): width = e.channels * e.height * e.width - widths[0]
        case (.cnn(let channels, _, _), .images(let e)): width = e.channels - channels
        case (.cnn, .table): throw fields.failure("architecture", "reads images, not tables")
        }
        guard width == 0 else { throw fields.failure("architecture", "has another number of inputs") }
        let model = architecture.network()
        let file = FileSystem.join(directory, modelName)
        try TensorFiles.open(file).requireFinite()
        try ModelFile.load(model, from: file)
        do {
            return try TrainedNetwork(model, inputs: inputs, outputs: outputs)
        } catch let LacunaError.invalidArgument(_, reason) {
            throw fields.failure("classes", reason)
        }
    }

    /// What the network says about an input.
    public enum Prediction: Sendable, Hashable {
        /// The likeliest class, and the probability that the network gives it.
        case label(String, probability: Double)
        /// The predicted number, in the target's own unit.
        case number(Double)

        /// The class, or the number.
        public var text: String {
            switch self {
            case .label(let name, _): name
            case .number(let value): "\(value)"
            }
        }
    }

    /// A prediction for every row of a table.
    ///
    /// - Parameter file: Named in errors.
    /// - Throws: `LacunaError.unsupported` for a network of images, and as ``TableEncoding``.
    public func predictions(_ table: CSVTable, file: String) throws -> [Prediction] {
        guard case .table(let encoding) = inputs else {
            throw LacunaError.unsupported(file: file, what: "a table, for a network that reads images")
        }
        return predictions(try encoding(table, rows: Array(0..<table.rows), file: file))
    }

    /// A prediction for every picture.
    ///
    /// - Throws: `LacunaError.unsupported` for a network of tables, and as ``ImageEncoding``.
    public func predictions(images paths: [String]) throws -> [Prediction] {
        guard case .images(let encoding) = inputs else {
            throw LacunaError.unsupported(file: paths.first, what: "pictures, for a network that reads tables")
        }
        return predictions(try encoding(paths))
    }

    /// Predictions of a file: of the rows of a table, `row 1` and so on, or of a picture, or of a folder's pictures.
    ///
    /// - Throws: As ``predictions(_:file:)`` and ``predictions(images:)``.
    public func predictions(contentsOf path: String) throws -> [(input: String, prediction: Prediction)] {
        guard case .images = inputs else {
            let found = try predictions(CSVTable(contentsOf: path), file: path)
            return found.enumerated().map { ("row \($0 + 1)", $1) }
        }
        var paths = [path]
        if FileSystem.isDirectory(path) {
            paths = try FileSystem.list(path).sorted().filter(ImageFolder.isImage).map { FileSystem.join(path, $0) }
            if paths.isEmpty {
                throw LacunaError.file(
                    path: path, reason: "has no pictures of the names \(ImageFolder.endings.joined(separator: ", "))")
            }
        }
        return Array(zip(paths.map { FileSystem.name(of: $0) }, try predictions(images: paths)))
    }

    /// A prediction for every input, standardised as the network was trained.
    public func predictions(_ inputs: Tensor<Float>) -> [Prediction] {
        let tape = Tape<Float>()
        var result: [Prediction] = []
        let rows = inputs.shape[0]
        for start in stride(from: 0, to: rows, by: 250) {
            let part = tape.constant(inputs.examples(start..<min(start + 250, rows)))
            let outputs = tape.evaluating { model(part) }
            switch self.outputs {
            case .number(_, let scaler):
                let (mean, scale) = (Double(scaler.means[0]), Double(scaler.scales[0]))
                for value in outputs.value.scalars {
                    result.append(.number(mean + (scale > 0 ? Double(value) / scale : 0)))
                }
            case .classes(let names):
                let probabilities = tape.evaluating { outputs.softmax() }.value
                for row in 0..<probabilities.rows {
                    let best = names.indices.max { probabilities[row, $0] < probabilities[row, $1] } ?? 0
                    result.append(.label(names[best], probability: Double(probabilities[row, best])))
                }
            }
        }
        return result
    }
}
