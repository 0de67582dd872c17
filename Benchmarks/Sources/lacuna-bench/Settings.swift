import BenchmarkHarness
import Foundation
import LacunaSparse
import LacunaTensor

/// What all suites share.
struct Settings {
    var machine: Machine
    /// Thread counts to measure with, ascending.
    var threads: [Int]
    var seed: UInt64
    /// Fewer rounds: for trying things out, not for publication.
    var quick: Bool
    /// Value types to measure.
    var values: [ValueType]
    /// What the names of the shapes to measure contain; nil for all.
    var shapes: String?

    func includes(_ shapes: Shapes) -> Bool {
        self.shapes.map { shapes.name.lowercased().contains($0.lowercased()) } ?? true
    }

    func timer(rounds: Int, turnSeconds: Double = 0.002, beforeTurn: (() -> Void)? = nil) -> PairedTimer {
        PairedTimer(rounds: quick ? max(2, rounds / 5) : rounds, turnSeconds: turnSeconds, beforeTurn: beforeTurn)
    }

    /// Runs `body` with the pool limited to each thread count in turn.
    func forEachThreadCount<Result>(_ body: (Int) throws -> [Result]) rethrows -> [Result] {
        let before = Parallel.threads
        defer { Parallel.threads = before }
        return try threads.flatMap { count in
            Parallel.threads = count
            return try body(count)
        }
    }

    /// Says on standard error what is going on.
    func announce(_ what: String) { FileHandle.standardError.write(Data("\(what)\n".utf8)) }
}
