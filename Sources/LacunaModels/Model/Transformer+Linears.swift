import LacunaSparse
import LacunaTensor

// Linear layers by their names in Hugging Face checkpoints.
extension Transformer {
    /// The names of the blocks' linear weights, such as "model.layers.0.self_attn.q_proj.weight", in the order in which
    /// a token passes them. Embedding and head are not among them.
    public var linearNames: [String] {
        blocks.indices.flatMap { layer in LinearRole.allCases.map { $0.weightName(layer: layer) } }
    }

    /// The layer and role of a linear weight's name; nil for a name that no layer of this decoder has.
    public func location(ofLinear name: String) -> (layer: Int, role: LinearRole)? {
        let prefix = "model.layers."
        let suffix = ".weight"
        guard name.hasPrefix(prefix), name.hasSuffix(suffix) else { return nil }
        let middle = name.dropFirst(prefix.count).dropLast(suffix.count)
        guard let dot = middle.firstIndex(of: "."), let layer = Int(middle[..<dot]), blocks.indices.contains(layer),
            let role = LinearRole(rawValue: String(middle[middle.index(after: dot)...]))
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
    /// - Throws: ``LacunaError/tensorMismatch(file:name:expected:found:)`` if the three matrices do not fit each other or
    ///   the decoder.
    public mutating func replaceFeedForward(layer: Int, with feedForward: FeedForward) throws {
        let width = configuration.hiddenSize
        let size = feedForward.intermediateSize
        guard let gate = feedForward.gate else {
            throw LacunaError.tensorMismatch(
                file: "decoder", name: LinearRole.gate.weightName(layer: layer), expected: "a gate", found: "none")
        }
        for (role, linear, shape) in [
            (LinearRole.gate, gate, [size, width]), (.up, feedForward.up, [size, width]),
            (.down, feedForward.down, [width, size]),
        ] where [linear.outputs, linear.inputs] != shape || size == 0 {
            throw LacunaError.tensorMismatch(
                file: "decoder", name: role.weightName(layer: layer), expected: "shape \(shape)",
                found: "shape [\(linear.outputs), \(linear.inputs)]")
        }
        blocks[layer].feedForward = feedForward
        adoptIntermediateSizes()
    }
}
