import LacunaLearn
import LacunaSparse
import LacunaTensor

/// What kind of sparse network a run has made, and at what cost: worked out from the run itself, never typed in.
///
/// The distinctions are those of Shiwei Liu, Zhangyang Wang, "Ten Lessons We Have Learned in the New 'Sparseland': A Short Handbook for
/// Sparse Neural Network Researchers", arXiv 2302.02596: when the sparsity came, from what, whether it moved, what structure it has,
/// and what it saves in weights, in training and in bytes.
public struct SparsityCard: Sendable, Equatable {
    /// When the network was sparse first.
    public enum Time: String, Sendable, Hashable {
        /// Never.
        case never
        /// From the first step on.
        case before
        /// After some steps of a denser one.
        case during
        /// When training was over.
        case after
    }

    /// What the sparse network came from.
    public enum Origin: String, Sendable, Hashable {
        /// At some time all weights were kept, if only behind masks that were chosen anew.
        case denseToSparse = "dense to sparse"
        /// Weights that are not there never were, or were exchanged for others.
        case sparseToSparse = "sparse to sparse"
        /// It is dense.
        case dense
    }

    /// What the kept weights of a matrix have in common.
    public enum Structure: Sendable, Hashable, CustomStringConvertible {
        /// All are kept.
        case dense
        /// Whole rows are missing: neurons.
        case rows
        /// Whole columns are missing: inputs.
        case columns
        /// Whole squares of this side are missing.
        case blocks(Int)
        /// Of every M weights along the inputs exactly n are kept.
        case groups(n: Int, m: Int)
        /// None of these.
        case unstructured

        public var description: String {
            switch self {
            case .dense: "dense"
            case .rows: "neurons"
            case .columns: "inputs"
            case .blocks(let side): "blocks \(side)x\(side)"
            case .groups(let n, let m): "\(n):\(m)"
            case .unstructured: "unstructured"
            }
        }

        /// What a pattern is, as far as it can be told from it. A structure has to be exact: a random pattern of half of the
        /// entries has in some four 2 by chance, not in all.
        public init(_ pattern: SparsePattern) {
            let (rows, columns) = (pattern.rows, pattern.columns)
            if pattern.count == rows * columns {
                self = .dense
                return
            }
            let kept = (0..<rows).map { Set(pattern.keptColumns(row: $0)) }
            if kept.allSatisfy({ $0.isEmpty || $0.count == columns }) {
                self = .rows
                return
            }
            if kept.allSatisfy({ $0 == kept[0] }) {
                self = .columns
                return
            }
            for side in [32, 16, 8, 4] where rows % side == 0 && columns % side == 0 && rows >= side && columns >= side
            {
                var counts = [Int](repeating: 0, count: rows / side * (columns / side))
                for (row, columnSet) in kept.enumerated() {
                    for column in columnSet { counts[row / side * (columns / side) + column / side] += 1 }
                }
                if counts.allSatisfy({ $0 == 0 || $0 == side * side }) {
                    self = .blocks(side)
                    return
                }
            }
            for m in [4, 8, 16, 32] where columns % m == 0 {
                var counts = Set<Int>()
                for columnSet in kept {
                    var row = [Int](repeating: 0, count: columns / m)
                    for column in columnSet { row[column / m] += 1 }
                    counts.formUnion(row)
                }
                if counts.count == 1, let n = counts.first, n > 0 {
                    self = .groups(n: n, m: m)
                    return
                }
            }
            self = .unstructured
        }
    }

    /// When the network was sparse first.
    public var time = Time.never
    /// What it came from.
    public var origin = Origin.dense
    /// Whether the pattern moved while it was sparse.
    public var isDynamic = false
    /// Share of the weights that were ever in use, 0...1.
    public var exploration = 1.0
    /// For each matrix its structure, by name.
    public var structures: [(name: String, structure: Structure)] = []
    /// Weights of the chosen matrices that are kept, and all of them.
    public var kept = 0, all = 0
    /// Bytes of the matrices as they are stored now, indices and masks included.
    public var storedBytes = 0
    /// The most bytes that parameters, gradients and optimiser states took together after a step.
    public var trainingBytes = 0
    /// Multiply-adds of all steps' products, as they were computed.
    public var trainingMultiplyAdds = 0
    /// Multiply-adds that one example needs, if what is missing is skipped; 0 if nobody counted.
    public var inferenceMultiplyAdds = 0

    /// Share of the chosen weights that are kept.
    public var density: Double { all == 0 ? 1 : Double(kept) / Double(all) }

    public static func == (a: SparsityCard, b: SparsityCard) -> Bool { a.description == b.description }
}

extension SparsityCard: CustomStringConvertible {
    /// Some lines.
    public var description: String {
        let kinds = Set(structures.map(\.structure.description)).sorted().joined(separator: ", ")
        return """
            sparse since: \(time.rawValue) training; \(origin.rawValue); \(isDynamic ? "dynamic" : "static")
            structure: \(kinds)
            weights: \(kept) of \(all); \(Int((100 * exploration).rounded())) % were ever in use
            bytes: \(storedBytes) stored, \(trainingBytes) in training
            multiply-adds: \(trainingMultiplyAdds) in training, \(inferenceMultiplyAdds) an example
            """
    }
}

/// Watches a run, and what is done to a network after it, and fills in a ``SparsityCard``. As a hook it goes last.
///
/// ```swift
/// let audit = SparsityAudit(layers: .allButOutput)
/// let trainer = try Trainer(
///     model: model, optimizer: optimizer, source: batches, plan: plan, hooks: [audit],
///     loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
/// try trainer.train()
/// print(audit.card)
/// ```
public final class SparsityAudit: TrainingHook {
    private let choice: LayerChoice
    private var masks: [SparsePattern] = []
    private var visited: [SparsePattern] = []
    private var steps = 0
    private var wasDense = false
    /// The step at which something was missing first; -1 for after training.
    private var firstSparse: Int?
    private var moved = false
    private var latest = SparsityCard()

    /// An audit of the matrices that are to be sparse.
    public init(layers: LayerChoice = .allButOutput) { choice = layers }

    /// Weights that a layer computes with, and whether others are kept behind them.
    private static func pattern(_ layer: Linear) -> (kept: SparsePattern, hasOthers: Bool) {
        if let csr = layer.weight as? CSRWeight { return (csr.pattern, false) }
        if let bits = layer.weight as? BitmaskWeight { return (bits.mask, false) }
        if let dense = layer.dense, dense.view == nil, let mask = dense.mask { return (mask, false) }
        let pattern = SparsePattern(nonzerosOf: layer.weight.densified())
        return (pattern, layer.dense?.view != nil)
    }

    public func beforeStep(_ run: TrainingRun) throws {
        if steps == 0 { try look(run.model, step: 0) }
        latest.trainingMultiplyAdds = run.tape.multiplyAdds
    }

    public func afterStep(_ run: TrainingRun) throws {
        steps = run.step + 1
        try look(run.model, step: steps)
        latest.trainingMultiplyAdds = run.tape.multiplyAdds
        latest.trainingBytes = max(latest.trainingBytes, run.model.parameters.reduce(0) { $0 + $1.byteCount })
    }

    public func end(_ run: TrainingRun) throws { try look(run.model, step: run.step) }

    /// Looks at the network as it is after training: to be called when something was done to it.
    ///
    /// - Throws: As ``LayerChoice/layers(of:)``.
    public func observe(_ model: any Module) throws { try look(model, step: -1) }

    private func look(_ model: any Module, step: Int) throws {
        let layers = try choice.layers(of: model)
        let found = layers.map { Self.pattern($0.layer) }
        let now = found.map(\.kept)
        let isSparse = now.contains { $0.count < $0.rows * $0.columns }
        if !isSparse || found.contains(where: \.hasOthers) { wasDense = true }
        // What is masked anew at every step is not yet removed.
        if isSparse, !found.contains(where: \.hasOthers), firstSparse == nil { firstSparse = step }
        if masks.count == now.count {
            let wasSparse = masks.contains { $0.count < $0.rows * $0.columns }
            if wasSparse, step > 0, zip(masks, now).contains(where: { !($0 == $1) }) { moved = true }
            visited = zip(visited, now).map { $0.union($1) }
        } else {
            visited = now
        }
        masks = now
        latest.structures = zip(layers, now).map { ($0.name, SparsityCard.Structure($1)) }
        latest.kept = now.reduce(0) { $0 + $1.count }
        latest.all = now.reduce(0) { $0 + $1.rows * $1.columns }
        latest.storedBytes = layers.reduce(0) { $0 + $1.layer.weight.byteCount }
        latest.inferenceMultiplyAdds = latest.kept
    }

    /// What is known now.
    public var card: SparsityCard {
        var card = latest
        let isSparse = card.kept < card.all
        card.time = !isSparse ? .never : firstSparse == -1 ? .after : firstSparse == 0 ? .before : .during
        card.origin = !isSparse ? .dense : wasDense ? .denseToSparse : .sparseToSparse
        card.isDynamic = moved
        let places = visited.reduce(0) { $0 + $1.rows * $1.columns }
        card.exploration = places == 0 ? 1 : Double(visited.reduce(0) { $0 + $1.count }) / Double(places)
        return card
    }
}
