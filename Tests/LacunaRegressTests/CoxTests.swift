import Foundation
import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaRegress

/// Cox's partial likelihood against its definition, and fits against lifelines, scikit-survival and skglm
/// (`Scripts/fixtures_survival.py`).
@Suite struct CoxTests {
    struct Survival {
        let design: DenseDesign
        let times, weights, risk: [Double]
        let events: [Bool]
        let document: JSONValue

        init() throws {
            let path = try #require(Bundle.module.path(forResource: "Fixtures", ofType: nil)) + "/survival.json"
            let document = try JSONValue(contentsOf: path)
            self.document = document
            func numbers(_ key: String) -> [Double] { Peers.numbers(document[key]) }
            design = DenseDesign(columnMajor: numbers("design"), rows: try #require(document["rows"]?.intValue))
            (times, weights, risk) = (numbers("times"), numbers("weights"), numbers("risk"))
            events = numbers("events").map { $0 == 1 }
        }
    }

    /// By the definition, each risk set added up anew; weights need not sum to 1.
    private static func logLikelihood(
        _ eta: [Double], _ times: [Double], _ events: [Bool], _ weights: [Double], _ ties: CoxLoss.Ties
    ) -> Double {
        var sum = 0.0
        for time in Set(times) {
            let own = times.indices.filter { times[$0] == time && events[$0] && weights[$0] > 0 }
            if own.isEmpty { continue }
            let total = own.reduce(0) { $0 + weights[$1] }
            let risk = times.indices.reduce(0) { times[$1] >= time ? $0 + weights[$1] * exponential(eta[$1]) : $0 }
            let tied = own.reduce(0) { $0 + weights[$1] * exponential(eta[$1]) }
            for i in own { sum += weights[i] * eta[i] }
            for l in own.indices {
                let thinned = ties == .efron ? risk - Double(l) / Double(own.count) * tied : risk
                sum -= total / Double(own.count) * logarithm(thinned)
            }
        }
        return sum
    }

    private static let times: [Double] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 5]
    private static let events = [true, true, false, true, true, false, true, true, true, false, true, false]
    private static let weights: [Double] = [1, 2, 0.5, 1, 0, 1.5, 1, 0.7, 1, 1, 2, 1]

    private static func predictors(_ seed: UInt64, _ size: Double = 1) -> [Double] {
        var random = SeededGenerator(seed: seed)
        return times.map { _ in size * random.normal() }
    }

    @Test(arguments: CoxLoss.Ties.allCases, [false, true]) func valueIsTheDefinition(
        ties: CoxLoss.Ties, isWeighted: Bool
    ) throws {
        let weights = isWeighted ? Self.weights : Self.times.map { _ in 1 }
        let total = weights.reduce(0, +)
        let loss = try CoxLoss(Self.times, events: Self.events, ties: ties, weights: weights)
        for seed in 0..<5 as Range<UInt64> {
            let eta = Self.predictors(seed, 2)
            let expected = -Self.logLikelihood(eta, Self.times, Self.events, weights.map { $0 / total }, ties)
            #expect(abs(loss.value(eta) - expected) < 1e-12)
            // Only differences between predictors count, and only the order of times.
            #expect(abs(loss.value(eta.map { $0 + 700 }) - expected) < 1e-10)
            let later = try CoxLoss(
                Self.times.map { exponential($0) }, events: Self.events, ties: ties, weights: weights)
            #expect(abs(later.value(eta) - expected) < 1e-12)
        }
    }

    @Test(arguments: CoxLoss.Ties.allCases) func derivatives(ties: CoxLoss.Ties) throws {
        let loss = try CoxLoss(Self.times, events: Self.events, ties: ties, weights: Self.weights)
        let eta = Self.predictors(7)
        var (gradient, curvature) = (eta, eta)
        loss.gradient(eta, into: &gradient)
        loss.curvature(eta, into: &curvature)
        #expect(abs(gradient.reduce(0, +)) < 1e-14)
        for i in eta.indices {
            func value(_ at: Double) -> Double {
                var point = eta
                point[i] += at
                return loss.value(point)
            }
            #expect(abs((value(1e-5) - value(-1e-5)) / 2e-5 - gradient[i]) < 1e-9)
        }
        // Along any direction the curvature is at most the diagonal's, even once its mean is taken out; and not far below
        // where one row carries the hazard.
        var random = SeededGenerator(seed: 3)
        let total = curvature.reduce(0, +)
        for _ in 0..<50 {
            let direction = eta.map { _ in random.normal() }
            func value(_ at: Double) -> Double { loss.value(zip(eta, direction).map { $0 + at * $1 }) }
            let second = (value(1e-4) - 2 * value(0) + value(-1e-4)) / 1e-8
            let mean = zip(curvature, direction).reduce(0) { $0 + $1.0 * $1.1 } / total
            let bound = zip(curvature, direction).reduce(0) { $0 + $1.0 * ($1.1 - mean) * ($1.1 - mean) }
            #expect(second <= bound + 1e-6 && second > 0)
        }
    }

    @Test(arguments: CoxLoss.Ties.allCases) func conjugates(ties: CoxLoss.Ties) throws {
        let loss = try CoxLoss(Self.times, events: Self.events, ties: ties, weights: Self.weights)
        let eta = Self.predictors(11)
        var g = eta
        loss.gradient(eta, into: &g)
        func product(_ a: [Double], _ s: Double) -> Double { zip(a, g).reduce(0) { $0 + s * $1.0 * $1.1 } }
        #expect(abs(loss.conjugate(gradient: g, scale: 1, at: eta) - (product(eta, 1) - loss.value(eta))) < 1e-12)
        var random = SeededGenerator(seed: 4)
        for s in [1, 0.9, 0.3, 0] {
            let conjugate = loss.conjugate(gradient: g, scale: s, at: eta)
            // Close by and far off.
            for round in 0..<400 {
                let other = eta.map { $0 * (round % 2 == 0 ? s : 1) + (round < 200 ? 0.3 : 3) * random.normal() }
                #expect(product(other, s) - loss.value(other) <= conjugate + 1e-12)
            }
        }
        // Continuous in the scale, and without predictors known at 0 alone.
        let edge = loss.conjugate(gradient: g, scale: 1 - 1e-9, at: eta)
        #expect(abs(edge - loss.conjugate(gradient: g, scale: 1, at: eta)) < 1e-6)
        #expect(loss.conjugate(gradient: g, scale: 0.5) == .infinity)
        #expect(loss.conjugate(gradient: g, scale: 0) == loss.conjugate(gradient: g, scale: 0, at: eta))
        // Events foreseen without error lose exactly the opposite of the conjugate at 0.
        let foreseen = Self.times.indices.map { Self.events[$0] ? -60 * Self.times[$0] : -1000 }
        #expect(abs(loss.value(foreseen) + loss.conjugate(gradient: g, scale: 0)) < 1e-12)
    }

    /// Against the conjugate itself, approached from below: predictors whose masses are those asked for, by multiplying each
    /// row's hazard until they are.
    @Test(arguments: CoxLoss.Ties.allCases, [Self.weights, Self.times.map { _ in 1 }])
    func conjugatesAreCloseAtEveryScale(ties: CoxLoss.Ties, weights: [Double]) throws {
        let loss = try CoxLoss(Self.times, events: Self.events, ties: ties, weights: weights)
        for (seed, size) in [(31, 0.2), (32, 1), (33, 2)] as [(UInt64, Double)] {
            let eta = Self.predictors(seed, size)
            var (g, masses) = (eta, eta)
            loss.gradient(eta, into: &g)
            loss.curvature(eta, into: &masses)
            for s in [1 - 1e-9, 1 - 1e-6, 1 - 1e-3, 0.99, 0.9, 0.7] {
                let asked = eta.indices.map {
                    s * masses[$0] + (Self.events[$0] ? (1 - s) * loss.weights[$0] : 0)
                }
                var (other, found) = (eta, eta)
                for _ in 0..<2000 {
                    loss.curvature(other, into: &found)
                    for i in other.indices where found[i] > 0 { other[i] += logarithm(asked[i] / found[i]) }
                }
                let below = zip(other, g).reduce(0) { $0 + s * $1.0 * $1.1 } - loss.value(other)
                let conjugate = loss.conjugate(gradient: g, scale: s, at: eta)
                #expect(conjugate >= below - 1e-13 && conjugate - below < 1e-9, "\(size) \(s): \(conjugate - below)")
            }
        }
    }

    /// Where an event's row is all but alone with its hazard, or hazards are further apart than numbers reach, the bound is
    /// still one.
    @Test(arguments: CoxLoss.Ties.allCases) func conjugatesOfFarPredictorsAreBounds(ties: CoxLoss.Ties) throws {
        let loss = try CoxLoss(Self.times, events: Self.events, ties: ties)
        var random = SeededGenerator(seed: 8)
        for size in [10.0, 100, 1000] {
            let eta = Self.predictors(5, size)
            var g = eta
            loss.gradient(eta, into: &g)
            for s in [1 - 1e-12, 1 - 1e-6, 0.5, 1e-6] {
                let conjugate = loss.conjugate(gradient: g, scale: s, at: eta)
                #expect(conjugate.isFinite)
                for round in 0..<100 {
                    let other = eta.map { $0 * (round % 2 == 0 ? s : 1) + (round < 50 ? 0.1 : size) * random.normal() }
                    let shown = zip(other, g).reduce(0) { $0 + s * $1.0 * $1.1 } - loss.value(other)
                    #expect(shown <= conjugate + 1e-13 * (1 + size))
                }
            }
        }
    }

    @Test func farPredictorsStayFinite() throws {
        for ties in CoxLoss.Ties.allCases {
            let loss = try CoxLoss(Self.times, events: Self.events, ties: ties)
            let eta = Self.times.indices.map { $0 % 2 == 0 ? 900.0 : -900 }
            var (gradient, curvature) = (eta, eta)
            loss.gradient(eta, into: &gradient)
            loss.curvature(eta, into: &curvature)
            #expect(loss.value(eta).isFinite && gradient.allSatisfy(\.isFinite))
            #expect(curvature.allSatisfy { $0 >= 0 && $0.isFinite })
            #expect(abs(gradient.reduce(0, +)) < 1e-12)
        }
    }

    @Test func unusableTimes() {
        #expect(throws: LacunaError.self) { try CoxLoss([1, 2], events: [true]) }
        #expect(throws: LacunaError.self) { try CoxLoss([1, .nan], events: [true, true]) }
        #expect(throws: LacunaError.self) { try CoxLoss([1, 2], events: [false, false]) }
        #expect(throws: LacunaError.self) { try CoxLoss([1, 2], events: [true, false], weights: [0, 1]) }
        #expect(throws: LacunaError.self) { try CoxLoss([], events: []) }
    }

    @Test func coefficientsOfPeers() throws {
        let data = try Survival()
        for item in try #require(data.document["cases"]?.arrayValue) {
            let name = item["name"]?.stringValue ?? ""
            let ties = try #require(CoxLoss.Ties(rawValue: item["ties"]?.stringValue ?? ""))
            let isWeighted = item["weighted"]?.boolValue == true
            let loss = try CoxLoss(
                data.times, events: data.events, ties: ties, weights: isWeighted ? data.weights : nil)
            let strength = try #require(item["strength"]?.doubleValue)
            let problem = try Problem(data.design, loss, L1(strength))
            let expected = Peers.numbers(item["coefficients"])
            for solver in [ProximalNewton(tolerance: 1e-12), FISTA(tolerance: 1e-11)] as [any SeparableSolver] {
                let solution = try solver.solve(problem)
                #expect(solution.converged, "\(name) \(solution.certificate)")
                #expect(
                    largestDifference(solution.coefficients, expected) < 2e-5,
                    "\(name): \(solution.coefficients) \(expected)")
            }
            if let likelihood = item["logLikelihood"]?.doubleValue {
                let total = isWeighted ? data.weights.reduce(0, +) : Double(data.times.count)
                let died = data.events.indices.reduce(0) {
                    data.events[$1] ? $0 + (isWeighted ? data.weights[$1] : 1) : $0
                }
                let solution = try ProximalNewton(tolerance: 1e-12).solve(problem)
                let own = -total * problem.objective(solution) - died * logarithm(total)
                #expect(abs(own - likelihood) < 1e-6, "\(name): \(own) \(likelihood)")
            }
        }
    }

    /// Penalties down to a hundred-millionth of the largest: what was asked for is reached, is said to be, and is true by the
    /// optima that a plain dense Newton method finds (`Scripts/fixtures_cox_optima.py`).
    @Test func smallPenaltiesReachTheirTolerance() throws {
        let data = try Survival()
        let path = try #require(Bundle.module.path(forResource: "Fixtures", ofType: nil)) + "/cox-optima.json"
        for item in try #require(try JSONValue(contentsOf: path)["optima"]?.arrayValue) {
            let ties = try #require(CoxLoss.Ties(rawValue: item["ties"]?.stringValue ?? ""))
            let strength = try #require(item["strength"]?.doubleValue)
            let least = try #require(item["objective"]?.doubleValue)
            let expected = Peers.numbers(item["coefficients"])
            let loss = try CoxLoss(data.times, events: data.events, ties: ties)
            let problem = try Problem(data.design, loss, L1(strength))
            for tolerance in [1e-4, 1e-7, 1e-10] {
                let solution = try ProximalNewton(tolerance: tolerance).solve(problem)
                guard case .dualityGap(let gap, let relative) = solution.certificate else {
                    Issue.record("no gap")
                    return
                }
                #expect(
                    solution.converged && relative <= tolerance,
                    "\(ties) \(strength) \(tolerance) \(relative) \(solution.passes)")
                let excess = problem.objective(solution) - least
                #expect(excess <= gap + 1e-14 && excess > -1e-14, "\(ties) \(strength): \(excess), gap \(gap)")
                if tolerance == 1e-10 { #expect(largestDifference(solution.coefficients, expected) < 1e-4) }
            }
        }
    }

    /// A gap is never smaller than the excess that a far more exact fit shows.
    @Test(arguments: CoxLoss.Ties.allCases) func gapsBoundTheError(ties: CoxLoss.Ties) throws {
        let data = try Survival()
        let loss = try CoxLoss(data.times, events: data.events, ties: ties)
        for penalty in [ElasticNet(0.03, mixing: 1), ElasticNet(0.1, mixing: 0.4), ElasticNet(1e-4, mixing: 1)] {
            let problem = try Problem(data.design, loss, penalty)
            let exact = try ProximalNewton(tolerance: 1e-13).solve(problem)
            for tolerance in [0.3, 1e-1, 1e-2, 1e-4, 1e-8] {
                for solver in [ProximalNewton(tolerance: tolerance), FISTA(tolerance: tolerance)]
                    as [any SeparableSolver]
                {
                    let rough = try solver.solve(problem)
                    guard case .dualityGap(let gap, let relative) = rough.certificate else {
                        Issue.record("no gap")
                        return
                    }
                    // What was asked for is reached, and what is said to have converged has.
                    #expect(rough.converged && relative <= tolerance, "\(penalty) \(tolerance) \(solver) \(relative)")
                    #expect(problem.objective(rough) - exact.objective <= gap + 1e-14)
                }
            }
            // Where columns lie does not matter.
            let far = DenseDesign(
                columnMajor: Peers.numbers(data.document["design"]).map { $0 + 1e7 }, rows: data.times.count)
            let moved = try ProximalNewton(tolerance: 1e-9).solve(Problem(far, loss, penalty))
            #expect(largestDifference(moved.coefficients, exact.coefficients) < 1e-4)
        }
    }

    @Test func rowsLeftOutAreJudgedAmongAll() throws {
        for ties in CoxLoss.Ties.allCases {
            let loss = try CoxLoss(Self.times, events: Self.events, ties: ties, weights: Self.weights)
            let inside = loss.weights.indices.map { $0 % 3 == 0 ? 0 : loss.weights[$0] }
            let outside = zip(loss.weights, inside).map { $0 - $1 }
            let eta = Self.predictors(21)
            let expected =
                (Self.logLikelihood(eta, Self.times, Self.events, inside, ties)
                    - Self.logLikelihood(eta, Self.times, Self.events, loss.weights, ties)) / outside.reduce(0, +)
            #expect(abs(try loss.leftOut(outside, beside: inside)(eta) - expected) < 1e-12)
            let moved = try OffsetLoss(loss, offset: eta).leftOut(outside, beside: inside)
            #expect(abs(moved(eta.map { _ in 0 }) - expected) < 1e-12)
        }
        // Rows apart from each other are judged by themselves.
        let squares = try SquaredLoss([1, 2, 4])
        #expect(try abs(squares.leftOut([0, 0, 1], beside: [1, 1, 0])([0, 0, 1]) - 4.5) < 1e-14)
    }

    @Test func concordanceCountsPairs() throws {
        let data = try Survival()
        let ones = data.times.map { _ in 1.0 }
        let found = Ranking.concordance(data.risk, times: data.times, events: data.events, weights: ones)
        #expect(abs(found - (data.document["concordance"]?.doubleValue ?? 0)) < 1e-12)
        // With weights, pair by pair.
        var (won, total) = (0.0, 0.0)
        for i in data.times.indices where data.events[i] {
            for j in data.times.indices
            where data.times[j] > data.times[i] || (data.times[j] == data.times[i] && !data.events[j]) {
                let weight = data.weights[i] * data.weights[j]
                total += weight
                won += weight * (data.risk[i] > data.risk[j] ? 1 : data.risk[i] == data.risk[j] ? 0.5 : 0)
            }
        }
        let weighted = Ranking.concordance(
            data.risk, times: data.times, events: data.events, weights: data.weights)
        #expect(abs(weighted - won / total) < 1e-12)
        #expect(Ranking.concordance([1, 2], times: [1, 2], events: [false, false], weights: [1, 1]) == 0.5)
    }

    @Test func estimator() throws {
        let data = try Survival()
        let table = try Table(data.design, target: data.times, events: data.events)
        var estimator = Estimator(.lasso, family: .cox(ties: .efron))
        estimator.tolerance = 1e-9
        for measure in [StrengthChoice.Measure.loss, .concordance] {
            estimator.choice.measure = measure
            let fit = try estimator.fit(table)
            #expect(Set(fit.model.selected).isSuperset(of: ["1", "4", "8"]), "\(fit.model.selected)")
            let scores = try fit.model.predict(table)
            #expect(abs(scores.reduce(0, +)) < 1e-9, "predictors are 0 on the average row")
            let score = try #require(try fit.model.score(table))
            #expect(score.name == "concordance" && score.value > 0.7)
        }
        // An offset that is the whole effect leaves nothing to find.
        estimator.choice.measure = .loss
        let fit = try estimator.fit(table)
        let path = FileSystem.join(
            ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp", "lacuna-cox-\(UInt64.random(in: 0 ... .max)).json")
        defer { try? FileSystem.remove(path) }
        try fit.model.save(to: path)
        #expect(try LinearModel(contentsOf: path) == fit.model)
        let halves = try estimator.stability(table, of: fit, pairs: 5)
        #expect((halves.stability?[0] ?? 0) >= 0.8)

        let unevent = try Table(data.design, target: data.times)
        #expect(throws: LacunaError.self) { try estimator.fit(unevent) }
        #expect(throws: LacunaError.self) { try Estimator(.lasso).fit(table) }
        estimator.hasIntercept = false
        #expect(throws: LacunaError.self) { try estimator.fit(table) }
        var wrong = Estimator(.lasso)
        wrong.choice.measure = .concordance
        #expect(throws: LacunaError.self) { try wrong.validate() }
        // Every penalty.
        for regularizer in [
            Regularizer.elasticNet(mixing: 0.5), .ridge, .scad(shape: 3.7), .mcp(shape: 3),
            .group(.runs(of: 2, columns: 10), mixing: 0.2), .slope(.falseDiscoveries(rate: 0.1)), .subset(size: 3),
        ] {
            var other = Estimator(regularizer, family: .cox(ties: .breslow))
            if regularizer != .subset(size: 3) { other.strength = 0.05 }
            let fit = try other.fit(table)
            #expect(fit.solution.converged && fit.model.selected.contains("1"), "\(regularizer.name)")
            if regularizer == .subset(size: 3) { #expect(fit.model.selected == ["1", "4", "8"]) }
        }
    }

    @Test func eventsAsTheyAreWritten() throws {
        let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        func events(_ words: [String]) throws -> [Bool]? {
            let path = folder + "/lacuna-events-\(UInt64.random(in: 0 ... .max)).csv"
            defer { try? FileSystem.remove(path) }
            let rows = words.enumerated().map { "\($0 * $0 % 7),\($0 + 1),\($1)\n" }.joined()
            try AtomicFile.write("x,time,status\n" + rows, to: path)
            var layout = TableLayout(target: "time")
            layout.event = "status"
            return try Table(contentsOf: path, layout).events
        }
        #expect(try events(["1", "0", "1.0"]) == [true, false, true])
        #expect(try events(["2", "1", "2"]) == [true, false, true])
        #expect(try events(["1", "1", "1"]) == [true, true, true])
        #expect(try events(["TRUE", "False", "yes"]) == [true, false, true])
        #expect(throws: LacunaError.self) { try events(["1", "0", "3"]) }
        #expect(throws: LacunaError.self) { try events(["2", "0", "1"]) }
        #expect(throws: LacunaError.self) { try events(["dead", "alive", "dead"]) }
    }
}
