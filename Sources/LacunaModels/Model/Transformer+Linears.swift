import LacunaSparse
import LacunaTensor

// Linear layers by their names in Hugging Face checkpoints.
extension Transformer {
    /// The names of the blocks' linear weights, such as "model.layers.0.self_attn.q_proj.weight", in the order in which
    /// a token passes them. Embedding and head are not among them, nor are the matrices of experts.
    public var linearNames: [String] {
        blocks.enumerated().flatMap { layer, block in
            block.roles.map { configuration.weightName($0, layer: layer) }
        }
    }

    /// The layer and role of a linear weight's name; nil for a name that no layer of this decoder has.
    public func location(ofLinear name: String) -> (layer: Int, role: LinearRole)? {
        let names = configuration.names
        let prefix = names.layers + "."
        let suffix = ".weight"
        guard name.hasPrefix(prefix), name.hasSuffix(suffix) else { return nil }
        let middle = name.dropFirst(prefix.count).dropLast(suffix.count)
        guard let dot = middle.firstIndex(of: "."), let layer = Int(middle[..<dot]), blocks.indices.contains(layer),
            let role = names.block.role(of: middle[middle.index(after: dot)...]),
            blocks[layer].roles.contains(role)
        else { return nil }
        return (layer, role)
    }

    /// The storage of a linear weight, by a name from outside.
    ///
    /// - Throws: ``LacunaError/missingTensor(file:name:)`` for a name that is none of ``linearNames``.
    public func linear(named name: String) throws -> any StoredMatrix {
        guard location(ofLinear: name) != nil else { throw LacunaError.missingTensor(file: "decoder", name: name) }
        return self[linear: name]
    }

    /// Replaces the storage of a linear weight, by a name from outside.
    ///
    /// - Throws: ``LacunaError/missingTensor(file:name:)`` for a name that is none of ``linearNames``, and
    ///   ``LacunaError/tensorMismatch(file:name:expected:found:)`` for a matrix of another shape.
    public mutating func replaceLinear(named name: String, with matrix: any StoredMatrix) throws {
        let old = try linear(named: name)
        guard [matrix.rows, matrix.columns] == [old.rows, old.columns] else {
            throw LacunaError.tensorMismatch(
                file: "decoder", name: name, expected: "shape [\(old.rows), \(old.columns)]",
                found: "shape [\(matrix.rows), \(matrix.columns)]")
        }
        self[linear: name] = matrix
    }

    /// The storage of a linear weight.
    ///
    /// - Precondition: The name is one of ``linearNames``, and a new matrix has the shape of the old one:
    ///   ``linear(named:)`` and ``replaceLinear(named:with:)`` are for names that may be none. Use
    ///   ``replaceFeedForward(layer:with:)`` to change a layer's width.
    public subscript(linear name: String) -> any StoredMatrix {
        get {
            let place = location(ofLinear: name)
            require(place != nil, "there is no linear layer '\(name)'")
            return blocks[place!.layer][place!.role].weight
        }
        set {
            let place = location(ofLinear: name)
            require(place != nil, "there is no linear layer '\(name)'")
            let (layer, role) = place!
            let linear = blocks[layer][role]
            require(
                newValue.rows == linear.outputs && newValue.columns == linear.inputs,
                "\(name) is [\(linear.outputs), \(linear.inputs)], not [\(newValue.rows), \(newValue.columns)]")
            blocks[layer][role].weight = newValue
        }
    }

    /// Replaces the storage of linear weights, in place.
    ///
    /// - Parameter replacement: Called with each name and its matrix; returns another one of the same shape, or nil to
    ///   leave the layer as it is.
    public mutating func sparsify(
        _ replacement: (_ name: String, _ matrix: any StoredMatrix) throws -> (any StoredMatrix)?
    ) rethrows {
        for name in linearNames {
            if let matrix = try replacement(name, self[linear: name]) { self[linear: name] = matrix }
        }
    }

    /// A copy in which the storage of linear weights is replaced. It shares the layers that are left as they are.
    public func sparsified(
        _ replacement: (_ name: String, _ matrix: any StoredMatrix) throws -> (any StoredMatrix)?
    ) rethrows -> Transformer {
        var result = self
        try result.sparsify(replacement)
        return result
    }

    /// Gives a layer a feed-forward part of another width: what structured pruning leaves.
    ///
    /// - Throws: ``LacunaError/tensorMismatch(file:name:expected:found:)`` if the matrices do not fit each other or the
    ///   decoder.
    public mutating func replaceFeedForward(layer: Int, with feedForward: FeedForward) throws {
        let width = configuration.hiddenSize
        let size = feedForward.intermediateSize
        guard (feedForward.gate != nil) == configuration.hasGates else {
            throw LacunaError.tensorMismatch(
                file: "decoder", name: configuration.weightName(.gate, layer: layer),
                expected: configuration.hasGates ? "a gate" : "no gate",
                found: configuration.hasGates ? "none" : "one")
        }
        for (role, linear, shape) in [
            (LinearRole.gate, feedForward.gate, [size, width]), (.up, feedForward.up, [size, width]),
            (.down, feedForward.down, [width, size]),
        ] {
            guard let linear, [linear.outputs, linear.inputs] != shape || size == 0 else { continue }
            throw LacunaError.tensorMismatch(
                file: "decoder", name: configuration.weightName(role, layer: layer), expected: "shape \(shape)",
                found: "shape [\(linear.outputs), \(linear.inputs)]")
        }
        blocks[layer].feedForward = feedForward
        adoptIntermediateSizes()
    }

    /// Puts experts in the place of a layer's feed-forward part. Each vector is then read by those that the router chooses.
    /// A decoder with experts runs and learns; there is no format yet in which it is saved.
    ///
    /// - Throws: ``LacunaError/tensorMismatch(file:name:expected:found:)`` if the experts' inputs or outputs are not of the
    ///   decoder's width.
    public mutating func replaceFeedForward(layer: Int, with experts: ExpertFeedForward) throws {
        let width = configuration.hiddenSize
        guard experts.router.inputs == width, experts.outputs == width else {
            throw LacunaError.tensorMismatch(
                file: "decoder", name: "\(configuration.names.layers).\(layer).mlp",
                expected: "inputs and outputs of \(width)", found: "\(experts.router.inputs) and \(experts.outputs)")
        }
        blocks[layer].mixer = .experts(experts)
    }

    /// Whether some layer has experts, or another part in the place of its feed-forward part.
    public var hasExperts: Bool {
        blocks.contains { block in if case .dense = block.mixer { false } else { true } }
    }
}
