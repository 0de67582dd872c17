import LacunaIO
import LacunaSparse
import LacunaTensor

/// Networks as safetensors files.
///
/// A parameter has its path as name (`layers.0.weight`). Beside it may stand `NAME#mask`, `NAME#int.WHAT` for the
/// positions of a sparse weight, and in checkpoints `NAME#slot.WHAT` for optimiser state. The file's metadata say which
/// layers are stored sparse or as factors, so that a model takes their storage when it is read.
public enum ModelFile {
    /// Writes all parameters, masks and positions of a model; with `slots` also what optimisers keep.
    ///
    /// - Throws: `LacunaError.file` if the file cannot be written. It appears whole or not at all.
    public static func save(
        _ model: any Module, to path: String, slots: Bool = false, metadata: [String: String] = [:]
    ) throws {
        var metadata = metadata
        var storages = JSONObject()
        for (name, layer) in model.linears {
            if let record = StorageRecord.record(of: layer.weight) { storages[name] = record }
        }
        if storages != JSONObject() { metadata[storageKey] = JSONValue.object(storages).serialized() }
        let writer = try SafetensorsWriter(path, metadata: metadata)
        func write(_ name: String, _ buffer: Buffer<Float>, _ shape: [Int]) throws {
            try writer.write(name, type: .f32, shape: shape, bytes: UnsafeRawBufferPointer(buffer.elements))
        }
        try forEachState(model) { name, values in
            try writer.write(name, type: .i32, shape: [values.count], values: values)
        }
        for (name, parameter) in model.namedParameters {
            try write(name, parameter.buffer, parameter.shape)
            if let mask = parameter.mask {
                try writer.write(
                    name + "#mask", type: .u8, shape: parameter.shape,
                    values: mask.elements.map { $0 != 0 ? 1 : 0 as UInt8 })
            }
            if slots {
                for slot in parameter.slots.keys.sorted() {
                    try write("\(name)#slot.\(slot)", parameter.slots[slot]!, parameter.shape)
                }
            }
        }
        try writer.finish()
    }

    private static let storageKey = "lacuna.storage"

    /// Gives dense layers the storage that the file has for them.
    private static func adoptStorage(_ model: any Module, _ file: SafetensorsFile) throws {
        let text = file.metadata[storageKey] ?? "{}"
        let fields = try JSONFields(JSONValue(parsing: text, file: file.path), file: file.path, location: storageKey)
        // What the model itself gives a layer, such as another method's storage, gives way to what the file has. A weight that comes
        // can have layers inside, whose turn it is then.
        var layers = model.linears
        var next = 0
        while next < layers.count {
            let (name, layer) = layers[next]
            next += 1
            guard let record = fields.object[name], record != StorageRecord.record(of: layer.weight) else { continue }
            layer.weight = try StorageRecord.weight(
                record, outputs: layer.outputDimensions, inputs: layer.inputDimensions, layer: name, file: file.path)
            layers += layer.weight.linears.map { ("\(name).weight.\($0.name)", $0.layer) }
        }
        // A layer that the file has dense becomes dense: a network may have been densified.
        for (name, layer) in model.linears
        where layer.dense == nil && StorageRecord.record(of: layer.weight) != nil && fields.object[name] == nil {
            layer.weight = DenseWeight(Tensor(zeros: [layer.outputDimensions, layer.inputDimensions]))
        }
    }

    /// Replaces the parameters, masks, positions and slots of a model by those of a file. Layers take the
    /// storage that the file has for them.
    ///
    /// - Throws: `LacunaError.missingTensor` and `.tensorMismatch` if the file is another model's, `.malformed` if it has
    ///   tensors that are not the model's, and what reading throws. The model may then be changed in part.
    public static func load(_ model: any Module, from path: String) throws {
        try load(model, from: SafetensorsFile(path))
    }

    /// As ``load(_:from:)`` of a path, from a file that is open.
    ///
    /// - Throws: As for a path.
    public static func load(_ model: any Module, from file: SafetensorsFile) throws {
        try adoptStorage(model, file)
        var known = Set(model.namedParameters.map(\.name))
        try model.forEachModule { path, module in
            guard let stateful = module as? any StatefulModule else { return }
            known.insert(path)
            var state: [String: [Int32]] = [:]
            for (name, _) in stateful.integerState {
                state[name] = try file.integers("\(path)#int.\(name)").map {
                    guard let value = Int32(exactly: $0) else {
                        throw LacunaError.malformed(
                            file: file.path, location: "\(path)#int.\(name)", reason: "\($0) is not a 32-bit number")
                    }
                    return value
                }
            }
            try stateful.restore(integerState: state, file: file.path)
        }
        if let unknown = file.names.first(where: { !known.contains(String($0.prefix { $0 != "#" })) }) {
            throw LacunaError.malformed(
                file: file.path, location: "tensor '\(unknown)'", reason: "is not one of the model's")
        }
        for (name, parameter) in model.namedParameters {
            let value = try file.float(name, shape: parameter.shape)
            var slots: [String: Buffer<Float>] = [:]
            let prefix = name + "#slot."
            for other in file.names where other.hasPrefix(prefix) {
                slots[String(other.dropFirst(prefix.count))] = buffer(try file.float(other, shape: parameter.shape))
            }
            var mask: Buffer<Float>?
            if file.contains(name + "#mask") {
                let flags = try file.integers(name + "#mask")
                guard flags.count == parameter.count else {
                    throw LacunaError.tensorMismatch(
                        file: file.path, name: name + "#mask", expected: "\(parameter.count) entries",
                        found: "\(flags.count)")
                }
                mask = Buffer(flags.map { $0 != 0 ? 1 : 0 })
            }
            parameter.restore(buffer(value), shape: parameter.shape, slots: slots, mask: mask)
        }
    }

    private static func buffer(_ tensor: Tensor<Float>) -> Buffer<Float> {
        tensor.withPointer { Buffer(copying: $0, count: tensor.count) }
    }

    private static func forEachState(_ model: any Module, _ body: (String, [Int32]) throws -> Void) throws {
        try model.forEachModule { path, module in
            guard let stateful = module as? any StatefulModule else { return }
            for (name, values) in stateful.integerState { try body("\(path)#int.\(name)", values) }
        }
    }
}
