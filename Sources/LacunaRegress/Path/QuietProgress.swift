import LacunaTensor

/// For a part of work that says itself how far it is: passes on whether to stop, and nothing else.
final class QuietProgress: ProgressReporter {
    private let whole: any ProgressReporter

    init(_ whole: any ProgressReporter) { self.whole = whole }

    var isCancelled: Bool { whole.isCancelled }
    func update(task: String, completed: Int, total: Int, detail: String) {}
}
