import LacunaTensor

/// Which class of a network stands for which class of another task.
public enum LabelMapping {
    /// The mapping that predictions suggest: the most frequent pair of a predicted and a true class is matched, both are taken, and so on. Of equal
    /// frequencies the smaller true class, then the smaller predicted one, is first.
    ///
    /// Aochuan Chen, Yuguang Yao, Pin-Yu Chen, Yihua Zhang, Sijia Liu, "Understanding and Improving Visual Prompting: A Label-Mapping
    /// Perspective", arXiv 2211.11635.
    ///
    /// - Parameters:
    ///   - predictions: Of the network, in 0..<sources.
    ///   - labels: Of the task, in 0..<targets.
    /// - Returns: For each true class a predicted one, all different.
    /// - Throws: `LacunaError.invalidArgument` for more true classes than predicted ones, and classes out of range.
    /// - Complexity: O(n + targets² · sources).
    public static func frequent(
        predictions: [Int], labels: [Int32], sources: Int, targets: Int
    ) throws -> [Int] {
        guard targets <= sources else {
            throw LacunaError.invalidArgument("classes", reason: "\(targets) of a network that tells \(sources)")
        }
        guard predictions.count == labels.count, predictions.allSatisfy({ (0..<sources).contains($0) }),
            labels.allSatisfy({ (0..<targets).contains(Int($0)) })
        else {
            throw LacunaError.invalidArgument(
                "labels", reason: "\(labels.count) for \(predictions.count) predictions, or out of range")
        }
        var counts = [[Int]](repeating: [Int](repeating: 0, count: sources), count: targets)
        for (prediction, label) in zip(predictions, labels) { counts[Int(label)][prediction] += 1 }
        var mapping = [Int](repeating: -1, count: targets)
        var taken = [Bool](repeating: false, count: sources)
        for _ in 0..<targets {
            var best: (count: Int, target: Int, source: Int)?
            for target in 0..<targets where mapping[target] < 0 {
                for source in 0..<sources where !taken[source] {
                    if best.map({ counts[target][source] > $0.count }) ?? true {
                        best = (counts[target][source], target, source)
                    }
                }
            }
            mapping[best!.target] = best!.source
            taken[best!.source] = true
        }
        return mapping
    }
}
