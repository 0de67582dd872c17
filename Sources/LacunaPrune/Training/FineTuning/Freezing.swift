import LacunaLearn
import LacunaTensor

extension Module {
    /// Freezes all parameters but some.
    ///
    /// - Parameters:
    ///   - own: What stays trained.
    ///   - chosen: Layers whose storage a method has taken over. The layer that gives the output stays trained unless it is one
    ///     of them, or `trainsOutput` is false.
    /// - Returns: What was trained before.
    func freeze(
        allBut own: [Parameter<Float>], chosen: [Linear], trainsOutput: Bool = true
    ) -> [Parameter<Float>] {
        var kept = Set(own.map { ObjectIdentifier($0) })
        if trainsOutput, let head = outputLayer, !chosen.contains(where: { $0 === head }) {
            kept.formUnion(head.parameters.map { ObjectIdentifier($0) })
        }
        let frozen = parameters.filter { $0.isTrainable && !kept.contains(ObjectIdentifier($0)) }
        for parameter in frozen { parameter.isTrainable = false }
        return frozen
    }
}

extension Linear {
    /// Whether the weight is whole: dense and without mask and view, or frozen in a store that keeps every entry.
    var isWhole: Bool {
        if let dense { return dense.view == nil && dense.mask == nil }
        return weight is FrozenWeight && weight.activeCount == outputDimensions * inputDimensions
    }
}
