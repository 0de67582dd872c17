/// What a method is, for listings and for people who look for one.
public struct MethodCard: Sendable, Hashable {
    /// Where a method comes from.
    public struct Paper: Sendable, Hashable {
        /// As in the paper, the first few of many.
        public var authors: String
        /// As in the paper.
        public var title: String
        /// arXiv identifier, such as `2306.11695`.
        public var arXiv: String

        /// A paper that arXiv has.
        public init(authors: String, title: String, arXiv: String) {
            self.authors = authors
            self.title = title
            self.arXiv = arXiv
        }
    }

    /// Where a method belongs among its kin.
    public enum Family: String, Sendable, Hashable, CaseIterable {
        /// Chooses a mask; kept weights stay as they are.
        case maskOnly = "one-shot mask"
        /// Chooses a mask and corrects the kept weights for what was removed.
        case compensating = "one-shot with weight update"
        /// Exchanges entries of another method's mask.
        case refining = "mask refinement"
        /// Puts a product of smaller or sparser matrices in the place of one.
        case factorizing = "factorisation"
        /// Removes neurons, so that matrices really become smaller.
        case structured = "structured"
        /// Trains a sparse network from the first step.
        case sparseTraining = "sparse training"
        /// Leaves out inputs of products while a model runs.
        case activation = "activation sparsity"
        /// Leaves out keys that attention reads.
        case attention = "sparse attention"
        /// Leaves out parts of what is kept of keys and values.
        case cache = "key/value sparsity"
    }

    /// The name that a user types: lower case, no spaces.
    public var name: String
    /// Where the method belongs among its kin.
    public var family: Family
    /// Nil for baselines older than their papers.
    public var paper: Paper?
    /// The shared pieces that the method is made of, in the order score, select, learn.
    public var composition: [String]
    /// What of the paper is here, a part each; empty where nobody has said it.
    public var implements: [String]
    /// What of the paper is not here, or otherwise than there.
    public var leavesOut: [String]

    /// A card; listings show it as it is.
    public init(
        name: String, family: Family, paper: Paper? = nil, composition: [String], implements: [String] = [],
        leavesOut: [String] = []
    ) {
        self.name = name
        self.family = family
        self.paper = paper
        self.composition = composition
        self.implements = implements
        self.leavesOut = leavesOut
    }
}
