import LacunaTensor

func largestDifference(_ a: [Double], _ b: [Double]) -> Double {
    a.count == b.count ? zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
}

/// Cancels work once it has asked so many times whether it should go on.
final class Impatience: ProgressReporter, @unchecked Sendable {
    private var left: Int

    init(after questions: Int) { left = questions }

    var isCancelled: Bool {
        left -= 1
        return left < 0
    }

    func update(task: String, completed: Int, total: Int, detail: String) {}
}
