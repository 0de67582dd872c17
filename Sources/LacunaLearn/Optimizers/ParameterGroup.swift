import LacunaTensor

/// How parameters of some names are trained: slower, without decay, not at all.
///
/// ```swift
/// plan.groups = [
///     ParameterGroup("model.embed_tokens.*", isFrozen: true),
///     ParameterGroup("*.bias", decay: 0),
///     ParameterGroup("model.layers.*", rate: 0.1),
/// ]
/// ```
public struct ParameterGroup: Sendable, Hashable {
    /// Which parameters, by their paths (``Module/namedParameters``).
    public var match: NamePattern
    /// What the learning rate is multiplied by.
    public var rate: Double
    /// The weight decay of matrices and whatever else decays; nil for the optimiser's.
    public var decay: Double?
    /// Whether the parameters keep their values. A parameter that is frozen, by this or otherwise, is not thawed.
    public var isFrozen: Bool

    /// Parameters trained as others, unless it is said.
    public init(_ match: NamePattern, rate: Double = 1, decay: Double? = nil, isFrozen: Bool = false) {
        (self.match, self.rate, self.decay, self.isFrozen) = (match, rate, decay, isFrozen)
    }

    /// - Throws: `LacunaError.invalidArgument` for a rate or decay that is negative or not finite.
    public func validate() throws {
        for (name, value) in [("rate", rate), ("decay", decay ?? 0)] where !(value >= 0 && value.isFinite) {
            throw LacunaError.invalidArgument("groups", reason: "a \(name) of \(value) for '\(match)'")
        }
    }
}

extension Module {
    /// Applies groups to the parameters of this module. The first group that matches a parameter's name decides; the
    /// other parameters follow the optimiser.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a group out of range, or one that decides about no parameter: a
    ///   misspelt name must not train what should be frozen.
    public func apply(_ groups: [ParameterGroup]) throws {
        var used = Set<Int>()
        for group in groups { try group.validate() }
        for (name, parameter) in namedParameters {
            guard let index = groups.firstIndex(where: { $0.match.matches(name) }) else {
                (parameter.rateFactor, parameter.ownDecay) = (1, nil)
                continue
            }
            used.insert(index)
            (parameter.rateFactor, parameter.ownDecay) = (groups[index].rate, groups[index].decay)
            if groups[index].isFrozen { parameter.isTrainable = false }
        }
        if let unused = groups.indices.first(where: { !used.contains($0) }) {
            throw LacunaError.invalidArgument(
                "groups", reason: "'\(groups[unused].match)' matches no parameter that an earlier group leaves")
        }
    }
}
