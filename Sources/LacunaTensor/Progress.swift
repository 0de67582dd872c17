/// Receives news of long work and may stop it. Library code reports; the command line draws.
public protocol ProgressReporter: AnyObject, Sendable {
    /// `completed` of `total` units of `task` are done; `detail` is one short phrase, such as a loss.
    func update(task: String, completed: Int, total: Int, detail: String)
    /// Called at every update; a true answer makes the work throw ``LacunaError/cancelled`` at its next safe point.
    var isCancelled: Bool { get }
}

extension Optional where Wrapped == any ProgressReporter {
    /// Reports, then throws ``LacunaError/cancelled`` if the work should stop.
    public func report(_ task: String, _ completed: Int, of total: Int, _ detail: String = "") throws {
        guard let self else { return }
        self.update(task: task, completed: completed, total: total, detail: detail)
        if self.isCancelled { throw LacunaError.cancelled }
    }
}
