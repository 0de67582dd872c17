import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// DSL: a recommender's tables of vectors keep a fixed, small number of live weights from the first step to the last; small ones
/// give way to those of large gradients.
///
/// ``DropAndGrow`` with its authors' settings: a random pattern, magnitude drops, gradient grows, and the share exchanged falls by
/// half a cosine from 0.5 to 0.005 over the whole run. Counts are exact where theirs depend on ties, and what was just dropped
/// does not grow again. A vector of which nothing is left gives the score 0.
///
/// ```swift
/// let recommender = try LightGCN(interactions, using: &generator)
/// let method = try DynamicSparseEmbeddings(density: 0.2, interval: 200, tables: recommender.tables)
/// try recommender.train(on: interactions, optimizer: Adam(), plan: plan, batch: 1024, hooks: [method])
/// for (name, matrix) in try method.stored(recommender) { print(name, matrix) }      // a row a user and item
/// ```
///
/// Shuyao Wang, Yongduo Sui, Jiancan Wu, Zhi Zheng, Hui Xiong, "Dynamic Sparse Learning: A Novel Paradigm for Efficient
/// Recommendation", arXiv 2402.02855.
public final class DynamicSparseEmbeddings: TrainingMethod {
    /// Share of the weights that live, above 0 and at most 1.
    public let density: Double
    private let engine: DropAndGrow

    /// - Parameters:
    ///   - interval: Steps between exchanges; the authors take 100 to 3000.
    ///   - fraction: The share exchanged at first; at last a hundredth of it.
    ///   - tables: The matrices: see ``Recommender/tables``.
    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(
        density: Double = 0.5, interval: Int = 1000, fraction: Double = 0.5,
        growth: DropAndGrow.Growth = .gradient, start: DropAndGrow.Start = .random, tables: LayerChoice = .all
    ) throws {
        guard density > 0, density <= 1 else {
            throw LacunaError.invalidArgument("density", reason: "\(density) is not above 0 and at most 1")
        }
        self.density = density
        var settings = DropAndGrow.Settings(budget: UniformBudget(1 - density), growth: growth)
        (settings.layers, settings.interval, settings.start) = (tables, interval, start)
        (settings.fraction, settings.leastFraction, settings.end) = (fraction, fraction / 100, 1)
        settings.rescalesWeights = false
        engine = try DropAndGrow(settings)
    }

    public var card: MethodCard {
        MethodCard(
            name: "dsl", family: .sparseTraining,
            paper: .init(
                authors: "Shuyao Wang, Yongduo Sui, Jiancan Wu, Zhi Zheng, Hui Xiong",
                title: "Dynamic Sparse Learning: A Novel Paradigm for Efficient Recommendation", arXiv: "2402.02855"),
            composition: ["|w| drops, |gradient| grows", "exact exchange by table", "fixed budget, annealed exchange"],
            implements: [
                "LightGCN, NeuMF and MultVAE",
                "random and largest-weight starts, growth by gradient, chance, momentum or unvisited places",
                "tables as compressed rows",
            ])
    }

    public func begin(_ run: TrainingRun) throws { try engine.begin(run) }
    public func attach(_ run: TrainingRun) throws { try engine.attach(run) }
    public func beforeStep(_ run: TrainingRun) throws { try engine.beforeStep(run) }
    public func gradientsReady(_ run: TrainingRun) throws { try engine.gradientsReady(run) }
    public func end(_ run: TrainingRun) throws { try engine.end(run) }
    public var state: JSONValue { engine.state }
    public func restore(_ state: JSONValue) throws { try engine.restore(state) }

    /// The share of all positions that were ever in use.
    public var exploration: Double { engine.exploration }

    /// The tables as they are to be kept: compressed rows of live weights, by name.
    ///
    /// - Throws: As ``LayerChoice/layers(of:)``.
    public func stored(_ model: any Module) throws -> [(name: String, matrix: SparseMatrix<Float>)] {
        try engine.settings.layers.layers(of: model).map { name, layer in
            let mask =
                layer.dense?.mask
                ?? SparsePattern(rows: layer.outputDimensions, columns: layer.inputDimensions, keepingAll: true)
            var matrix = SparseMatrix<Float>(mask)
            matrix.gather(from: layer.weight.densified())
            return (name, matrix)
        }
    }
}
