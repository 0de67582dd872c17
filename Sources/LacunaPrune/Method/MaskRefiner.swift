import LacunaSparse
import LacunaTensor

/// Exchanges entries of a mask that some method has chosen, without changing how many there are.
public protocol MaskRefiner: Sendable {
    /// What the refinement is.
    var card: MethodCard { get }
    /// What calibration has to collect of a layer's inputs.
    var requirement: ScoreRequirement { get }
    /// Whether masks of a pattern can be refined without leaving it.
    func supports(_ pattern: Pattern) -> Bool

    /// A mask with the budget of `mask`: the same number kept in every row or, under n:m, in every group.
    ///
    /// - Parameters:
    ///   - mask: What was kept so far.
    ///   - weight: `W` [outputs, inputs] before anything was removed.
    /// - Throws: As ``LayerwisePruning/prune(_:statistics:request:)``.
    func refine(
        _ mask: SparsePattern, weight: Tensor<Float>, statistics: InputStatistics?, pattern: Pattern
    ) throws -> SparsePattern
}

/// A method followed by a refinement of its masks.
///
/// The method may not change kept weights: a refinement weighs original weights against each other.
public struct RefinedPruning: LayerwisePruning {
    /// What chooses the masks.
    public let base: any LayerwisePruning
    /// What exchanges their entries.
    public let refiner: any MaskRefiner
    private let name: String

    /// - Parameter name: What the whole is called; the names of the two joined by `+` if nil.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a method that changes weights.
    public init(_ base: any LayerwisePruning, then refiner: any MaskRefiner, name: String? = nil) throws {
        if base.card.family == .compensating {
            throw LacunaError.unsupported(
                file: nil, what: "\(refiner.card.name) after \(base.card.name), which changes the weights it keeps")
        }
        self.init(unchecked: base, then: refiner, name: name ?? "\(base.card.name)+\(refiner.card.name)")
    }

    private init(unchecked base: any LayerwisePruning, then refiner: any MaskRefiner, name: String) {
        self.base = base
        self.refiner = refiner
        self.name = name
    }

    /// DSnoT as its authors use it most: on masks chosen by Wanda.
    public static let dsnot = RefinedPruning(unchecked: Wanda(), then: DSnoT(), name: DSnoT().card.name)

    public var card: MethodCard {
        MethodCard(
            name: name, family: .refining, paper: refiner.card.paper,
            composition: base.card.composition + refiner.card.composition)
    }
    public var requirement: ScoreRequirement { base.requirement.union(refiner.requirement) }
    public var defaultScope: Pattern.Scope { base.defaultScope }
    public func supports(_ pattern: Pattern) -> Bool { base.supports(pattern) && refiner.supports(pattern) }

    public func prune(
        _ weight: inout Tensor<Float>, statistics: InputStatistics?, request: PruningRequest
    ) throws -> SparsePattern {
        try requireSupport(request.pattern)
        var pruned = weight
        let initial = try base.prune(&pruned, statistics: statistics, request: request)
        let mask = try refiner.refine(initial, weight: weight, statistics: statistics, pattern: request.pattern)
        mask.apply(to: &weight)
        return mask
    }
}
