import LacunaTensor

/// Sizes of a ``Monet`` layer: K² experts, each a pair of one of K parts on the first side and one of K on the second.
public struct MonetSettings: Sendable, Hashable {
    /// How an expert is made of its two parts.
    public enum Decomposition: String, Sendable, Hashable, CaseIterable {
        /// The first part is the expert's lower layer, the second its upper: `V_j f(U_i x + b_i) + c_j`.
        case horizontal
        /// Both parts are halves of a whole network: hidden halves `h1_i`, `h2_j` and output halves of their own.
        case vertical
    }

    /// Entries of an input and of an output.
    public var width: Int
    /// K: the square root of the number of experts.
    public var side: Int
    /// Neurons of an expert.
    public var size: Int
    /// Choices that are added up.
    public var heads: Int
    /// How many of K parts a head is to choose, on average.
    public var chosen: Int
    /// How experts are made of parts.
    public var decomposition: Decomposition

    /// The authors' router, 8 heads that each choose a sixteenth.
    public init(
        width: Int, side: Int = 512, size: Int = 8, heads: Int = 8, chosen: Int? = nil,
        decomposition: Decomposition = .vertical
    ) {
        (self.width, self.side, self.size, self.heads) = (width, side, size, heads)
        self.chosen = chosen ?? max(1, side / 16)
        self.decomposition = decomposition
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for sizes out of range; both halves of a vertical decomposition have to be
    ///   whole.
    public func validate() throws {
        guard width >= 1, side >= 2, size >= 1, heads >= 1, chosen >= 1, chosen < side, side <= 1 << 15 else {
            throw LacunaError.invalidArgument(
                "experts",
                reason: "\(chosen) of \(side) parts, \(size) neurons, \(heads) heads, width \(width): out of range")
        }
        if decomposition == .vertical, width % 2 != 0 || size % 2 != 0 {
            throw LacunaError.invalidArgument(
                "experts", reason: "a vertical decomposition halves the width of \(width) and the size of \(size)")
        }
    }

    /// Neurons that a part has on one side.
    var part: Int { decomposition == .vertical ? size / 2 : size }
    /// K².
    public var experts: Int { side * side }
}
