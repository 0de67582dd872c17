import LacunaTensor

/// Features of which few are not 0, and neighbours share most of those: random projections, cut into cells, with multilinear
/// weights on the corners of the cell.
///
/// Inputs are projected to `groups · perGroup` numbers, squashed to (0, 1) by a sigmoid and scaled to `bins` cells an axis.
/// Each group of `perGroup` axes is a grid of its own; the `2^perGroup` corners of the cell that an input falls into share a
/// weight of 1. So `groups · 2^perGroup` of `groups · (bins + 2)^perGroup` features are active, and they sum to `groups`.
///
/// Zichen Liu, Chao Du, Wee Sun Lee, Min Lin, "Locality Sensitive Sparse Encoding for Learning World Models Online",
/// arXiv 2401.13034. A coordinate that saturates gets a place of its own here (a stride of `bins + 2`).
public struct LocalitySensitiveEncoding: Sendable {
    /// Numbers in an input.
    public let inputs: Int
    /// Grids.
    public let groups: Int
    /// Axes of a grid.
    public let perGroup: Int
    /// Cells along an axis, but for the one where a coordinate saturates.
    public let bins: Int
    /// [inputs, groups · perGroup].
    public let projection: Tensor<Double>

    /// Active features and their weights. Places ascend.
    public struct Code: Sendable, Equatable {
        /// Features that are not 0.
        public var places: [UInt32]
        /// As many.
        public var weights: [Double]

        /// - Parameters:
        ///   - places: Features, each once.
        ///   - weights: One for each of them.
        public init(places: [UInt32], weights: [Double]) {
            require(places.count == weights.count)
            self.places = places
            self.weights = weights
        }
    }

    /// - Parameters:
    ///   - inputs: Numbers in an input, which should be of the order of 1 so that the sigmoid does not saturate.
    ///   - groups: Grids; more of them make the function class richer.
    ///   - bins: Cells along an axis.
    ///   - perGroup: Axes of a grid.
    ///   - scale: Multiplies the projections, whose entries are normal, cut off at two standard deviations, over √inputs.
    public init(
        inputs: Int, groups: Int = 50, bins: Int = 5, perGroup: Int = 2, scale: Double = 1,
        using generator: inout SeededGenerator
    ) {
        require(inputs > 0 && groups > 0 && bins > 0 && (1...8).contains(perGroup) && scale > 0 && scale < 1e100)
        var features = groups
        for _ in 0..<perGroup { features *= bins + 2 }
        require(features <= Int(Int32.max), "too many features")
        (self.inputs, self.groups, self.perGroup, self.bins) = (inputs, groups, perGroup, bins)
        let factor = scale / Double(inputs).squareRoot()
        let axes = groups * perGroup
        projection = Tensor(
            (0..<inputs * axes).map { _ in
                while true {
                    let x = generator.normal()
                    if abs(x) <= 2 { return x * factor }
                }
            }, shape: [inputs, axes])
    }

    /// With a projection [inputs, groups · perGroup] that was drawn before.
    init(groups: Int, perGroup: Int, bins: Int, projection: Tensor<Double>) {
        (inputs, self.groups, self.perGroup, self.bins) = (projection.rows, groups, perGroup, bins)
        self.projection = projection
    }

    /// Number of features, D.
    public var features: Int { groups * cells }
    /// Of which so many are active.
    public var active: Int { groups << perGroup }
    private var cells: Int { (0..<perGroup).reduce(1) { product, _ in product * (bins + 2) } }

    /// - Parameter x: [inputs].
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for another count and numbers that are not finite.
    /// - Complexity: O(groups · (inputs · perGroup + 2^perGroup · perGroup)).
    public func encode(_ x: [Double]) throws -> Code {
        guard x.count == inputs, x.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument(
                "input", reason: "\(x.count) numbers for \(inputs) inputs, or not finite")
        }
        let axes = groups * perGroup
        var h = [Double](repeating: 0, count: axes)
        // Beyond any scale the sigmoid is saturated; sums must not overflow.
        projection.withPointer { p in
            for i in 0..<inputs { kernels.axpy_f64(min(max(x[i], -1e150), 1e150), p + i * axes, &h, axes) }
        }
        let corners = 1 << perGroup
        var code = Code(
            places: [UInt32](repeating: 0, count: groups * corners),
            weights: [Double](repeating: 0, count: groups * corners))
        let side = bins + 2
        for group in 0..<groups {
            for corner in 0..<corners {
                var (place, weight) = (0, 1.0)
                for axis in 0..<perGroup {
                    let at = Double(bins) / (1 + exponential(-h[group * perGroup + axis]))
                    let cell = min(at.rounded(.down), Double(bins))
                    // The first axis varies slowest, so that places ascend with the corner's number.
                    let upper = corner >> (perGroup - 1 - axis) & 1 == 1
                    place = place * side + Int(cell) + (upper ? 1 : 0)
                    weight *= upper ? at - cell : 1 - (at - cell)
                }
                code.places[group * corners + corner] = UInt32(group * cells + place)
                code.weights[group * corners + corner] = weight
            }
        }
        return code
    }
}
