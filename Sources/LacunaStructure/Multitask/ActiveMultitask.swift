import LacunaTensor

/// Decides by turns how many samples to draw from each source task, and what representation they and the target's few samples
/// show.
///
/// Each epoch draws from every source in proportion to its relevance (uniformly in the first), four times as many as the epoch
/// before and never fewer than a floor, so that a task once dropped can return; then fits the shared representation, the head of
/// the target on it, and the relevance anew.
///
/// Yiping Wang, Yifang Chen, Kevin Jamieson, Simon Du, "Improved Active Multi-Task Representation Learning via Lasso", arXiv
/// 2306.02556. Beyond linear tasks the last hidden layer of a network takes the place of the shared directions (``SharedNetwork``). The
/// paper's constants are not transcribed: the first epoch takes a share of the budget, the floor and the strength
/// of the Lasso are arguments.
public struct ActiveMultitask: Sendable {
    /// How relevance is found.
    public var relevance: TaskRelevance
    /// Of the shared representation.
    public var dimensions: Int
    /// Epochs; the last one reaches the budget.
    public var epochs: Int
    /// Factor between the samples of one epoch and those of the next.
    public var growth: Double
    /// Samples of each source in every epoch, at least.
    public var floor: Int
    /// Strength of the Lasso in the first epoch, relative to the largest that selects a task; halved in each later one.
    public var strength: Double

    /// Settings as their properties say.
    public init(
        relevance: TaskRelevance = .l1, dimensions: Int, epochs: Int = 3, growth: Double = 4, floor: Int = 2,
        strength: Double = 0.2
    ) {
        require(dimensions > 0 && epochs > 0 && growth >= 1 && floor >= 0 && strength >= 0 && strength < 1)
        self.relevance = relevance
        self.dimensions = dimensions
        self.epochs = epochs
        self.growth = growth
        self.floor = floor
        self.strength = strength
    }

    /// What one round of drawing came to.
    public struct Epoch<Representation: TaskRepresentation>: Sendable {
        /// Samples drawn from each source in this epoch.
        public let drawn: [Int]
        /// Relevance of each source as known after it.
        public let relevance: [Double]
        /// Learnt from all that was drawn so far.
        public let representation: Representation
    }

    /// The epochs, and the target's task at the end.
    public struct Result<Representation: TaskRepresentation>: Sendable {
        /// In their order.
        public let epochs: [Epoch<Representation>]
        /// The representation and the head of the target at the end.
        public let representation: Representation
        /// Of the target's task on the last representation.
        public let targetHead: [Double]
    }

    /// - Parameters:
    ///   - sources: How many source tasks there are.
    ///   - budget: Samples to draw from all of them together.
    ///   - target: The target's own samples.
    ///   - known: The true relevance, where it is known; it is then not estimated.
    ///   - draw: Gives that many new samples of a source.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a budget below `epochs · floor · sources`; as `draw`.
    public func run(
        sources: Int, budget: Int, target: SharedRepresentation.Task, known: [Double]? = nil,
        draw: (_ source: Int, _ count: Int) throws -> SharedRepresentation.Task
    ) throws -> Result<SharedRepresentation> {
        let dimensions = dimensions
        return try run(
            sources: sources, budget: budget, target: target, known: known,
            learn: { try SharedRepresentation($0, dimensions: dimensions, from: $1?.basis) }, draw: draw)
    }

    /// The same with a representation that is learnt otherwise, such as by a ``SharedNetwork``.
    ///
    /// - Parameters:
    ///   - learn: Given the samples of every source so far, and the representation of the epoch before; ``dimensions`` is not used.
    /// - Throws: As for directions; as `learn`.
    public func run<Representation: TaskRepresentation>(
        sources: Int, budget: Int, target: SharedRepresentation.Task, known: [Double]? = nil,
        learn: (_ tasks: [SharedRepresentation.Task], _ before: Representation?) throws -> Representation,
        draw: (_ source: Int, _ count: Int) throws -> SharedRepresentation.Task
    ) throws -> Result<Representation> {
        guard sources > 0, budget >= epochs * floor * sources, known.map({ $0.count == sources }) ?? true else {
            throw LacunaError.invalidArgument(
                "budget", reason: "\(budget) samples for \(epochs) epochs of \(sources) sources")
        }
        var pools = [[SharedRepresentation.Task]](repeating: [], count: sources)
        var history: [Epoch<Representation>] = []
        var weights = known ?? [Double](repeating: 1, count: sources)
        let total = (0..<epochs).reduce(0) { $0 + power(growth, Double($1)) }
        var spent = 0
        for epoch in 0..<epochs {
            // What later epochs need for their floors is not for this one.
            let most = budget - spent - floor * sources * (epochs - 1 - epoch)
            let wanted =
                epoch == epochs - 1 ? most : min(most, Int(Double(budget) * power(growth, Double(epoch)) / total))
            let rule = known == nil && epoch == 0 ? TaskRelevance.uniform : relevance
            let drawn = Self.counts(rule.shares(weights), total: max(wanted, floor * sources), floor: floor)
            spent += drawn.reduce(0, +)
            for (t, count) in drawn.enumerated() where count > 0 { pools[t].append(try draw(t, count)) }
            let tasks = try pools.map { try Self.joined($0, columns: target.inputs.columns) }
            let representation = try learn(tasks, history.last?.representation)
            if known == nil {
                let (heads, variances) = try representation.shrunkHeads()
                weights = try relevance.weights(
                    heads: heads, target: representation.head(target), variances: variances,
                    strength: strength / power(2, Double(epoch)))
            }
            history.append(Epoch(drawn: drawn, relevance: weights, representation: representation))
        }
        let last = history[history.count - 1].representation
        return Result(epochs: history, representation: last, targetHead: try last.head(target))
    }

    /// Whole numbers of samples with these shares, `total` of them together: the floor for each, the rest by largest remainders.
    ///
    /// - Parameter total: At least the floors of all.
    static func counts(_ shares: [Double], total: Int, floor: Int) -> [Int] {
        require(total >= floor * shares.count, "\(total) samples for \(shares.count) floors of \(floor)")
        // Tasks below the floor get it; what that costs, the others give up in proportion, which may bring some of them there too.
        var above = Array(shares.indices)
        var exact = shares.map { $0 * Double(total) }
        while true {
            let kept = Double(total - floor * (shares.count - above.count))
            let mass = above.reduce(0) { $0 + shares[$1] }
            for t in above { exact[t] = mass > 0 ? shares[t] / mass * kept : 0 }
            let left = above.filter { exact[$0] > Double(floor) }
            if left.count == above.count { break }
            above = left
        }
        var counts = [Int](repeating: floor, count: shares.count)
        var remainders: [(share: Double, task: Int)] = []
        for t in above {
            counts[t] = Int(exact[t])
            remainders.append((exact[t] - Double(counts[t]), t))
        }
        var left = total - counts.reduce(0, +)
        for (_, t) in remainders.sorted(by: { ($0.share, $1.task) > ($1.share, $0.task) }) where left > 0 {
            counts[t] += 1
            left -= 1
        }
        if above.isEmpty { for t in 0..<max(0, left) { counts[t % shares.count] += 1 } }
        return counts
    }

    private static func joined(
        _ parts: [SharedRepresentation.Task], columns: Int
    ) throws -> SharedRepresentation.Task {
        let rows = parts.reduce(0) { $0 + $1.targets.count }
        return try SharedRepresentation.Task(
            inputs: Tensor(parts.flatMap { $0.inputs.scalars }, shape: [rows, columns]),
            targets: parts.flatMap(\.targets))
    }
}

extension ActiveMultitask.Result where Representation == SharedRepresentation {
    /// `B w`: coefficients of the target for the inputs.
    public var coefficients: [Double] {
        representation.basis.multiplied(by: Tensor(targetHead, shape: [targetHead.count, 1])).scalars
    }
}
