import LacunaTensor

/// What a model costs: multiply-adds of a forward pass, trained numbers, bytes.
///
/// Products of layers count, elementwise work does not. A backward pass costs twice the forward pass; training a step
/// therefore three times (less the input's gradient of the first layer).
public struct Ledger: Sendable, Hashable {
    /// Of one forward pass if every entry of every weight counted.
    public var denseMultiplyAdds: Int
    /// Of one forward pass without masked and absent entries.
    public var activeMultiplyAdds: Int
    /// Trained numbers that may be other than 0.
    public var parameters: Int
    /// Values of all parameters, and the positions of sparse ones.
    public var weightBytes: Int
    /// Everything kept between steps: values, gradients, optimiser state, masks, positions.
    public var trainingBytes: Int

    /// - Parameter forward: Runs the model once on `tape`.
    public init(_ model: any Module, on tape: Tape<Float>, forward: () throws -> Void) rethrows {
        let costs = try tape.recordingCosts { try tape.evaluating(forward) }
        denseMultiplyAdds = costs.reduce(0) { $0 + $1.dense }
        activeMultiplyAdds = costs.reduce(0) { $0 + $1.active }
        parameters = model.parameterCount
        var positions = 0
        // A weight that is made of others counts them.
        var inner = Set<ObjectIdentifier>()
        model.forEachModule { _, module in
            guard let weight = module as? any TrainableWeight, !inner.contains(ObjectIdentifier(weight)) else { return }
            weight.forEachModule { inner.insert(ObjectIdentifier($1)) }
            positions += weight.byteCount - weight.parameters.reduce(0) { $0 + $1.buffer.byteCount }
        }
        weightBytes = positions + model.parameters.reduce(0) { $0 + $1.buffer.byteCount }
        trainingBytes = positions + model.parameters.reduce(0) { $0 + $1.byteCount }
    }

    /// Share of the dense model's multiply-adds that is left.
    public var computeRatio: Double { Double(activeMultiplyAdds) / Double(max(denseMultiplyAdds, 1)) }
}

/// How well classes are told apart.
public enum Classification {
    /// The fraction of rows whose largest logit is their label's. Ties count as wrong.
    public static func accuracy(_ logits: Variable<Float>, _ labels: [Int32]) -> Double {
        let classes = logits.columns
        require(labels.count == logits.rows, "one label a row")
        let right = logits.withPointer { p in
            labels.indices.count { i in
                let row = p + i * classes
                return (0..<classes).allSatisfy { $0 == Int(labels[i]) || row[$0] < row[Int(labels[i])] }
            }
        }
        return Double(right) / Double(max(labels.count, 1))
    }
}
