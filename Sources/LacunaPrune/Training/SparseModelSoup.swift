import LacunaLearn
import LacunaTensor

/// Averages of networks that share their masks.
///
/// Max Zimmer, Christoph Spiegel, Sebastian Pokutta, "Sparse Model Soups: A Recipe for Improved Pruning via Model
/// Averaging", arXiv 2306.16788: after every phase of pruning several copies are retrained from one point and averaged
/// before the next. As they have one mask, the average is as sparse as each.
public enum SparseModelSoup {
    /// Writes the mean of the parameters of `models`, one at least, into `target`, whose masks it must share.
    ///
    /// - Throws: `LacunaError.invalidArgument` for no models, and for models of other shape or with other masks; `target` is
    ///   as it was then.
    public static func average(_ models: [any Module], into target: any Module) throws {
        let goal = target.namedParameters
        let parts = models.map(\.namedParameters)
        guard !parts.isEmpty else { throw LacunaError.invalidArgument("models", reason: "are none") }
        for part in parts {
            for (index, (name, parameter)) in goal.enumerated() {
                guard index < part.count, part[index].name == name, part[index].parameter.shape == parameter.shape
                else {
                    throw LacunaError.invalidArgument("models", reason: "differ at '\(name)'")
                }
                guard part[index].parameter.mask?.array == parameter.mask?.array else {
                    throw LacunaError.invalidArgument("models", reason: "have different masks at '\(name)'")
                }
            }
            if part.count > goal.count {
                throw LacunaError.invalidArgument("models", reason: "differ at '\(part[goal.count].name)'")
            }
        }
        for (index, (_, parameter)) in goal.enumerated() {
            var mean = Tensor<Float>(zeros: parameter.shape)
            let n = mean.count
            mean.withMutablePointer { m in
                for part in parts {
                    let values = part[index].parameter.buffer.pointer
                    for i in 0..<n { m[i] += values[i] / Float(parts.count) }
                }
            }
            parameter.value = mean
        }
    }

    /// The greedy soup: candidates in the order of their score, each kept if the mean with it scores no worse.
    ///
    /// - Parameters:
    ///   - models: Candidates with the masks of `target`.
    ///   - score: Quality of a model on data held out for the choice, the larger the better and what is not a number the worst;
    ///     called with `target` too, which holds the mean to be judged.
    /// - Returns: The candidates in the soup, which `target` holds afterwards.
    /// - Throws: As ``average(_:into:)``, and what `score` throws.
    public static func greedy<Model: Module>(
        _ models: [Model], into target: Model, score: (Model) throws -> Double
    ) throws -> [Int] {
        guard !models.isEmpty else { throw LacunaError.invalidArgument("models", reason: "are none") }
        // What cannot be averaged is found out before anything is judged.
        try average(models, into: target)
        return try greedy(models.count) { chosen in
            if chosen.count == 1 { return try score(models[chosen[0]]) }
            try average(chosen.map { models[$0] }, into: target)
            return try score(target)
        } finally: {
            try average($0.map { models[$0] }, into: target)
        }
    }

    /// The greedy soup of candidates by number.
    ///
    /// - Parameters:
    ///   - quality: Of the mean of some candidates, or of a single one; what is not a number is the worst.
    ///   - finally: Makes the mean of those that were chosen.
    /// - Returns: The candidates in the soup.
    static func greedy(
        _ count: Int, quality: ([Int]) throws -> Double, finally: ([Int]) throws -> Void
    ) throws -> [Int] {
        func judged(_ chosen: [Int]) throws -> Double {
            let found = try quality(chosen)
            return found.isNaN ? -.infinity : found
        }
        let scores = try (0..<count).map { try judged([$0]) }
        let order = (0..<count).sorted { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
        var soup = [order[0]]
        var best = scores[order[0]]
        for candidate in order.dropFirst() {
            let found = try judged(soup + [candidate])
            if found >= best {
                soup.append(candidate)
                best = found
            }
        }
        try finally(soup)
        return soup
    }

    /// Takes the statistics of all batch norms anew, as means over `batches`: those of an average of networks are not the
    /// average of theirs.
    public static func recalibrate(_ model: any UnaryLayer, batches: [Tensor<Float>]) {
        var norms: [BatchNorm] = []
        model.forEachModule { _, module in if let norm = module as? BatchNorm { norms.append(norm) } }
        if norms.isEmpty || batches.isEmpty { return }
        let momenta = norms.map(\.momentum)
        let tape = Tape<Float>()
        tape.isTraining = true
        for (place, batch) in batches.enumerated() {
            // The first batch replaces what was there; after k batches the statistics are the mean of k.
            for norm in norms { norm.momentum = 1 / Float(place + 1) }
            _ = tape.withoutRecording { model(tape.constant(batch)) }
        }
        for (norm, momentum) in zip(norms, momenta) { norm.momentum = momentum }
    }
}
