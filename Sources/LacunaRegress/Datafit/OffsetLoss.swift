import LacunaTensor

/// Another loss of `η + o`, for a part `o` of the predictors that is known beforehand.
public struct OffsetLoss<Base: Datafit>: Datafit {
    /// The loss of the whole predictors.
    public let base: Base
    /// One for each row.
    public let offset: [Double]

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for another number of rows, several outputs, and numbers that are
    ///   not finite.
    public init(_ base: Base, offset: [Double]) throws {
        guard offset.count == base.rows, base.outputs == 1 else {
            throw LacunaError.invalidArgument(
                "offset", reason: "has \(offset.count) numbers for \(base.rows) rows of \(base.outputs) outputs")
        }
        if let bad = offset.firstIndex(where: { !$0.isFinite }) {
            throw LacunaError.invalidArgument("offset", reason: "value \(bad + 1) is \(offset[bad])")
        }
        self.init(unchecked: base, offset)
    }

    private init(unchecked base: Base, _ offset: [Double]) { (self.base, self.offset) = (base, offset) }

    public var rows: Int { base.rows }
    public var weights: [Double] { base.weights }
    public var curvatureBound: Double? { base.curvatureBound }
    public var isQuadratic: Bool { base.isQuadratic }
    public var longestStep: Double { base.longestStep }

    private func whole(_ eta: UnsafePointer<Double>) -> [Double] { offset.indices.map { eta[$0] + offset[$0] } }

    public func value(_ eta: UnsafePointer<Double>) -> Double { base.value(whole(eta)) }
    public func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        base.gradient(whole(eta), into: out)
    }
    public func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        base.curvature(whole(eta), into: out)
    }
    public func magnitude(_ eta: UnsafePointer<Double>) -> Double { base.magnitude(whole(eta)) }

    public func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double {
        offset.indices.reduce(base.conjugate(gradient: g, scale: s)) { $0 - s * g[$1] * offset[$1] }
    }

    public func conjugate(
        gradient g: UnsafePointer<Double>, scale s: Double, at eta: UnsafePointer<Double>
    ) -> Double {
        offset.indices.reduce(base.conjugate(gradient: g, scale: s, at: whole(eta))) { $0 - s * g[$1] * offset[$1] }
    }

    public func leftOut(_ outside: [Double], beside inside: [Double]) throws -> ([Double]) -> Double {
        let loss = try base.leftOut(outside, beside: inside)
        return { eta in loss(zip(eta, offset).map { $0 + $1 }) }
    }

    public func centered() -> (datafit: OffsetLoss<Base>, shifts: [Double]) {
        let (moved, shifts) = base.centered()
        return (OffsetLoss(unchecked: moved, offset), shifts)
    }

    public func weighted(by weights: [Double]) throws -> OffsetLoss<Base> {
        OffsetLoss(unchecked: try base.weighted(by: weights), offset)
    }
}
