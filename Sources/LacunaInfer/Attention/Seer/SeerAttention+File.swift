import LacunaIO
import LacunaModels
import LacunaTensor

extension SeerAttention {
    private static let kind = "lacuna attention gate"

    /// Writes the gate and what is to be read by it: a safetensors file whose metadata has the sizes, the share or threshold, and by what
    /// the model is recognised again.
    ///
    /// - Parameter decoder: The model that the gate was learned from.
    /// - Throws: ``LacunaError/file(path:reason:)`` if the file cannot be written.
    public func save(to path: String, for decoder: Transformer) throws {
        let (name, number): (String, Double) =
            switch choice {
            case .share(let share): ("share", share)
            case .threshold(let threshold): ("threshold", threshold)
            }
        let settings: JSONValue = [
            "kind": .string(Self.kind), "version": 1, "block": JSONValue(gate.block), "width": JSONValue(gate.width),
            "choice": .string(name), "number": .number(number), "model": ModelFingerprint(decoder).json,
        ]
        let writer = try SafetensorsWriter(path, metadata: ["lacuna": settings.serialized()])
        for (layer, maps) in gate.layers.enumerated() {
            for (head, map) in maps.queries.enumerated() { try writer.write(Self.name(layer, "queries", head), map) }
            for (head, map) in maps.keys.enumerated() { try writer.write(Self.name(layer, "keys", head), map) }
        }
        try writer.finish()
    }

    /// Reads what ``save(to:for:)`` wrote.
    ///
    /// - Parameter decoder: The model that it was learned from.
    /// - Throws: ``LacunaError`` for a file that is none, one of another model, or one whose numbers or tensors are out of shape.
    public init(contentsOf path: String, for decoder: Transformer, promptRows: Int = 4096) throws {
        let file = try SafetensorsFile(path)
        guard let words = file.metadata["lacuna"] else {
            throw LacunaError.malformed(file: path, location: "metadata", reason: "is no \(Self.kind)")
        }
        let fields = try JSONFields(JSONValue(parsing: words, file: path), file: path, location: "metadata")
        guard try fields.string("kind") == Self.kind, try fields.integer("version") == 1 else {
            throw fields.failure("kind", "is no \(Self.kind) of version 1")
        }
        try ModelFingerprint(fields.fields("model")).check(decoder, file: path)
        let (block, width) = (try fields.integer("block"), try fields.integer("width"))
        guard block >= 1, width >= 2, width % 2 == 0 else { throw fields.failure("width", "or block is out of range") }
        let number = try fields.number("number")
        let choice: Choice
        switch try fields.string("choice") {
        case "share": choice = .share(number)
        case "threshold": choice = .threshold(number)
        default: throw fields.failure("choice", "is neither share nor threshold")
        }
        let (configuration, size) = (decoder.configuration, decoder.configuration.headSize)
        let layers = try (0..<configuration.layerCount).map { layer in
            SeerGate.Layer(
                queries: try (0..<configuration.headCount).map {
                    try file.float(Self.name(layer, "queries", $0), shape: [width, size])
                },
                keys: try (0..<configuration.keyValueHeadCount).map {
                    try file.float(Self.name(layer, "keys", $0), shape: [width, 3 * size])
                })
        }
        let gate = SeerGate(
            block: block, width: width, layers: layers, rotations: decoder.blocks.map(\.attention.geometry.rotary))
        try self.init(gate, choice, promptRows: promptRows)
    }

    private static func name(_ layer: Int, _ part: String, _ head: Int) -> String { "layers.\(layer).\(part).\(head)" }
}
