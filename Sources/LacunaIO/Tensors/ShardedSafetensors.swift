import LacunaTensor

/// The tensors of a checkpoint that is cut into several safetensors files, joined by `model.safetensors.index.json`.
public final class ShardedSafetensors: TensorSource {
    /// The index file's name, as it was given.
    public let path: String
    /// The tensors of all files.
    public let tensors: [TensorInfo]
    private let shards: [SafetensorsFile]
    private let positions: [String: (tensor: Int, shard: Int)]

    /// - Parameter index: The path of the index file. The shards are looked for beside it.
    /// - Throws: What ``SafetensorsFile`` throws; ``LacunaError/missingTensor(file:name:)`` if a shard lacks a tensor that
    ///   the index promises; ``LacunaError/malformed(file:location:reason:)`` for a shard outside the directory.
    public init(index: String) throws {
        path = index
        let map = try JSONFields(contentsOf: index).fields("weight_map")
        var files: [String: SafetensorsFile] = [:]
        var order: [String] = []
        for member in map.object {
            let name = try map.string(member.key)
            guard !name.contains("/"), !name.contains("\\"), name.hasSuffix(".safetensors") else {
                throw map.failure(member.key, "'\(name)' is not the name of a safetensors file beside the index")
            }
            if files[name] == nil {
                files[name] = try SafetensorsFile(FileSystem.join(FileSystem.directory(of: index), name))
                order.append(name)
            }
            guard files[name]!.contains(member.key) else {
                throw LacunaError.missingTensor(file: files[name]!.path, name: member.key)
            }
        }
        shards = order.map { files[$0]! }
        var tensors: [TensorInfo] = []
        var positions: [String: (tensor: Int, shard: Int)] = [:]
        for (number, shard) in shards.enumerated() {
            for tensor in shard.tensors where map.object[tensor.name]?.stringValue == order[number] {
                positions[tensor.name] = (tensors.count, number)
                tensors.append(tensor)
            }
        }
        self.tensors = tensors
        self.positions = positions
    }

    public func find(_ name: String) -> TensorInfo? { positions[name].map { tensors[$0.tensor] } }

    public func bytes(of name: String) throws -> UnsafeRawBufferPointer {
        guard let position = positions[name] else { throw LacunaError.missingTensor(file: path, name: name) }
        return try shards[position.shard].bytes(of: name)
    }
}
