import LacunaLearn
import LacunaSparse
import LacunaTensor

/// How a dictionary's features are used while it is trained. Part of checkpoints.
public final class FeatureUse: Module {
    /// Tokens since each feature was last active, at most 2²⁴.
    let quiet: Parameter<Float>
    /// Moving average of the share of tokens in which each is active.
    let activity: Parameter<Float>
    /// λ of an annealed power relative to that of its schedule, and the power it was adapted to.
    let penalty: Parameter<Float>

    public var parts: [(name: String, part: Any)] {
        [("quiet", quiet), ("activity", activity), ("penalty", penalty)]
    }

    init(width: Int) {
        func zeros(_ n: Int) -> Parameter<Float> { Parameter(Tensor(zeros: [n]), isTrainable: false) }
        (quiet, activity) = (zeros(width), zeros(width))
        penalty = Parameter(Tensor([1, 1]), isTrainable: false)
    }

    /// Takes in the code of a batch. Stored zeros are not active.
    ///
    /// - Parameter collective: The processes that have the other tokens of the batch.
    func note(
        _ code: SparsePattern, values: [Float], decay: Double, among collective: any Collective = SingleProcess()
    ) throws {
        let (quiet, activity) = (quiet.buffer.pointer, activity.buffer.pointer)
        let tokens = Float(try collective.sum(code.rows))
        var counts = [Float](repeating: 0, count: code.columns)
        code.withCompressedRows { _, columns in
            for i in columns.indices where values[i] != 0 { counts[Int(columns[i])] += 1 }
        }
        try collective.sum(&counts)
        let kept = Float(decay)
        for j in counts.indices {
            quiet[j] = counts[j] > 0 ? 0 : min(quiet[j] + tokens, 0x1p24)
            activity[j] = kept * activity[j] + (1 - kept) * counts[j] / max(tokens, 1)
        }
    }

    /// Features from the most to the least active, of equals the first.
    var ranking: [Int] {
        let activity = activity.buffer.array
        return activity.indices.sorted { activity[$0] != activity[$1] ? activity[$0] > activity[$1] : $0 < $1 }
    }

    /// The features that an auxiliary loss is for, ascending.
    func chosen(_ choice: AuxiliaryLoss.Choice, active: Double) -> [Int] {
        switch choice {
        case .dead(let tokens):
            let limit = Float(tokens)
            return quiet.buffer.elements.indices.filter { quiet.buffer.pointer[$0] >= limit }
        case .underUsed(let share, let exponent, let shift):
            let expected = FeatureProfile.zipf(exponent: exponent, shift: shift).shares(quiet.count)
            var result: [Int] = []
            for (rank, j) in ranking.enumerated() {
                let limit = share * expected[rank] * active
                // With nothing expected, only features that have never been active are under-used.
                if Double(activity.buffer.pointer[j]) < limit || activity.buffer.pointer[j] == 0 { result.append(j) }
            }
            return result.sorted()
        }
    }

    /// Share of the features that have not been active for so many tokens.
    func deadShare(afterTokens tokens: Int) -> Double {
        Double(quiet.buffer.elements.count { $0 >= Float(tokens) }) / Double(max(quiet.count, 1))
    }
}
