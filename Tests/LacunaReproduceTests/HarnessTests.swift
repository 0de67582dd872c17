import Foundation
import Lacuna
import Testing

@testable import LacunaReproduce

@Suite struct HarnessTests {
    @Test func aVerdictFollowsFromItsChecks() {
        func verdict(_ checks: [Check]) -> Verdict { Outcome(setting: "", measurements: [], checks: checks).verdict }
        let good = Check("a", 1, .less, 2)
        let bad = Check("b", 1, .greater, 2)
        #expect(verdict([good, good]) == .reproduced)
        #expect(verdict([good, bad, bad]) == .partially(holding: 1, of: 3))
        #expect(verdict([bad]) == .notReproduced)
        #expect(verdict([]) == .notReproduced)
        #expect(verdict([good, bad]).description == "partially reproduced (1 of 2 checks hold)")
    }

    @Test func checksCompareAsTheySay() {
        #expect(Check("", 1, .atMost, 1).holds && Check("", 1, .atLeast, 1).holds)
        #expect(!Check("", 1, .less, 1).holds && !Check("", 1, .greater, 1).holds)
        for relation in [Check.Relation.less, .atMost, .greater, .atLeast] {
            #expect(!Check("", .nan, relation, 1).holds && !Check("", 1, relation, .nan).holds)
        }
    }

    @Test func reproductionsAreFoundByNameAndNumber() throws {
        #expect(try Reproductions.find("dsnot").paper == 23)
        #expect(try Reproductions.find("64").shortName == "EssentialSparsity")
        #expect(Set(Reproductions.all.map(\.paper)).count == Reproductions.all.count)
        #expect(Set(Reproductions.all.map { $0.shortName.lowercased() }).count == Reproductions.all.count)
        #expect(Reproductions.all.map(\.paper) == Reproductions.all.map(\.paper).sorted())
        for name in ["", "DSno", "0"] { #expect(throws: LacunaError.self) { try Reproductions.find(name) } }
    }

    @Test func resultsAreKept() throws {
        let directory = NSTemporaryDirectory() + "kept-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var row = Measurement("a", measured: 0.1 + 0.2, baseline: -.infinity, baselineName: "b")
        row.standardError = .nan
        let outcome = Outcome(
            setting: "s", measurements: [row, Measurement("c", measured: 3)],
            checks: [Check("d", 1, .atMost, 2), Check("e", .infinity, .greater, -1e-300)], notes: ["n"], missing: ["m"])
        let (first, second) = (Reproductions.all[0], Reproductions.all[1])
        let context = ReproductionContext(seed: 3, quick: true)
        do {
            let kept = try KeptResults(directory, version: "1")
            #expect(try kept.result(of: first, context) == nil)
            try kept.keep(.init(outcome: outcome, seconds: 2.5, processor: "p"), of: first, context)
            let found = try #require(try kept.result(of: first, context))
            #expect(found.seconds == 2.5 && found.processor == "p")
            // All but the number that differs from itself.
            var (left, right) = (found.outcome, outcome)
            #expect(left.measurements[0].standardError?.isNaN == true)
            left.measurements[0].standardError = nil
            right.measurements[0].standardError = nil
            #expect(left == right)
            #expect(try kept.result(of: second, context) == nil)
            #expect(try kept.result(of: first, ReproductionContext(seed: 4, quick: true)) == nil)
            #expect(try kept.result(of: first, ReproductionContext(seed: 3, quick: false)) == nil)
        }
        #expect(try KeptResults(directory, version: "2").result(of: first, context) == nil)
        let kept = try KeptResults(directory, version: "1")
        #expect(try kept.result(of: first, context) != nil)
        let path = directory + "/\(first.paper)-seed3-quick.json"
        try Data(#"{"version": "1", "seconds": 1, "processor": "p", "outcome": {"setting": "s"}}"#.utf8).write(
            to: URL(fileURLWithPath: path))
        #expect(throws: LacunaError.self) { try kept.result(of: first, context) }
    }

    @Test func cancellingStopsARun() {
        final class Stop: ProgressReporter {
            func update(task: String, completed: Int, total: Int, detail: String) {}
            var isCancelled: Bool { true }
        }
        for reproduction in Reproductions.all {
            #expect(throws: LacunaError.cancelled) {
                try reproduction.run(ReproductionContext(quick: true, progress: Stop()))
            }
        }
    }
}

@Suite struct SampleTests {
    @Test func meansAndTheirErrorsAreThoseOfTheBooks() {
        let sample = Sample([1, 2, 3, 4, 10])
        #expect(sample.mean == 4)
        // Σ (x - 4)² = 9 + 4 + 1 + 0 + 36 = 50; 50 / 4 / 5 = 2.5.
        #expect(abs(sample.standardError - 2.5.squareRoot()) < 1e-12)
        #expect(Sample([3]).standardError == .infinity)
        #expect(Sample(seeds: [2, 5]) { Double($0) * 2 }.values == [4, 10])
    }

    @Test func pairsOfSeedsCancelWhatTheyShare() {
        let (a, b) = (Sample([11, 102, 1003]), Sample([10, 100, 1000]))
        #expect((a - b).values == [1, 2, 3])
        #expect((a / b).values[1] == 1.02)
    }

    @Test func anEffectHasToExceedItsOwnError() {
        let sample = Sample([1, 2, 3])  // 2 ± 0.577
        #expect(Check("", sample, exceeds: 1.4).holds)
        #expect(!Check("", sample, exceeds: 1.5).holds)
        #expect(Check("", sample, staysBelow: 2.6).holds)
        #expect(!Check("", sample, staysBelow: 2.5).holds)
        #expect(!Check("", Sample([5])).holds, "measured once")
        let measurement = Measurement("x", sample, baseline: Sample([4, 6]), baselineName: "b")
        #expect(measurement.measured == 2 && measurement.baseline == 5 && measurement.baselineError == 1)
    }
}
