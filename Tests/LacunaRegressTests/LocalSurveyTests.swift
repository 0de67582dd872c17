import Foundation
import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaRegress

/// Surveys, messages and sums: what the mechanisms give when nobody's row leaves its owner.
@Suite struct LocalSurveyTests {
    private static func path(_ ending: String) -> String {
        let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        return folder + "/lacuna-survey-\(UInt64.random(in: 0 ... .max))" + ending
    }

    private static func survey(_ method: LocalSurvey.Method, epsilon: Double = 2) throws -> LocalSurvey {
        try LocalSurvey(
            features: ["a", "b", "c"], target: "y", epsilon: epsilon, method: method, featureBound: 2, targetBound: 3)
    }

    /// One round is the estimator of the summed messages, to the last bit.
    @Test func oneRoundIsTheEstimator() throws {
        let survey = try Self.survey(.oneRound(delta: 1e-5), epsilon: 50)
        let model = try LocalSparseRegression(
            columns: 3, budget: PrivacyBudget(epsilon: 50, delta: 1e-5), featureBound: 2, targetBound: 3)
        var random = SeededGenerator(seed: 1)
        let rows = (0..<400).map { _ -> ([Double], Double) in
            let x = (0..<3).map { _ in random.normal() }
            return (x, x[0] - 0.5 * x[2] + 0.1 * random.normal())
        }
        var (one, two) = (SeededGenerator(seed: 5), SeededGenerator(seed: 5))
        var messages: [LocalSurvey.Message] = []
        var sums: LocalSparseRegression.Aggregate?
        for (x, y) in rows {
            messages.append(try survey.message(x, y, using: &one))
            let message = model.message(x, y, using: &two)
            if sums == nil { sums = message } else { sums? += message }
        }
        // Sums of sums are sums.
        let whole = try survey.sum(messages)
        let halves = try survey.sum([survey.sum(messages[..<150]), survey.sum(messages[150...])])
        #expect(whole == halves && whole.users == 400, "messages lie on a grid, so that sums are exact")
        let outcome = try survey.close(whole)
        let expected = try model.estimate(try #require(sums))
        #expect(outcome.model.coefficients[0] == expected.coefficients && outcome.next == nil)
        #expect(outcome.noise == expected.thresholds.max() && outcome.isNoiseDominated == expected.isNoiseDominated)
        let fixed = try survey.close(whole, threshold: .fixed(0))
        #expect(fixed.model.coefficients[0] == expected.dense)
        #expect(try survey.account == model.account)
    }

    /// Rounds move as the mechanism says, and find the columns when there is next to no noise.
    @Test func roundsFindTheColumns() throws {
        var survey = try Self.survey(.rounds(count: 12, sparsity: 1, radius: 2), epsilon: 40)
        let mechanism = try LocalHardThresholding(
            epsilon: 40, sparsity: 1, featureBound: 2, targetBound: 3, radius: 2, rounds: 12)
        var random = SeededGenerator(seed: 3)
        var theta = [0.0, 0, 0]
        for round in 0..<12 {
            #expect(survey.round == round)
            var messages: [LocalSurvey.Message] = []
            for _ in 0..<800 {
                let x = (0..<3).map { _ in random.normal() }
                messages.append(try survey.message(x, x[1] + 0.1 * random.normal(), using: &random))
            }
            let sum = try survey.sum(messages)
            theta = mechanism.stepped(theta, by: sum.values.map { $0 / 800 })
            let outcome = try survey.close(sum)
            #expect(outcome.model.coefficients[0] == theta)
            // The noise of a step is that of the sphere's points.
            let radius = try mechanism.randomizer(columns: 3).radius
            #expect(abs(outcome.noise - mechanism.step * radius / (3.0 * 800).squareRoot()) < 1e-12)
            // No message is for another round.
            if let next = outcome.next {
                #expect(throws: LacunaError.self) { try next.sum(messages) }
                survey = next
            } else {
                #expect(round == 11)
            }
        }
        #expect(abs(theta[1] - 1) < 0.25 && theta.count { $0 != 0 } == 2, "\(theta)")
        let account = try survey.account
        #expect(account.total.epsilon == 40 && account.total.delta == 0 && account.model == .local)
    }

    /// Rounds say nothing while the noise of a step is longer than any answer may be: up to (η B / R)² users.
    @Test func roundsOfFewUsersAreNoise() throws {
        let survey = try Self.survey(.rounds(count: 2, sparsity: 1, radius: 1.5))
        let mechanism = try LocalHardThresholding(
            epsilon: 2, sparsity: 1, featureBound: 2, targetBound: 3, radius: 1.5)
        let length = try mechanism.randomizer(columns: 3).radius
        let ratio = mechanism.step * length / 1.5
        let most = Int(ratio * ratio)
        #expect(most > 10)
        for users in [1, most, most + 1, 100 * most] {
            let sum = LocalSurvey.Message(
                survey: survey.identifier, round: 0, users: users, values: [Double](repeating: 0, count: 3))
            #expect(try survey.close(sum).isNoiseDominated == (users <= most), "\(users) of \(most)")
        }
    }

    /// A row beyond the bounds gives the message of one at the bounds.
    @Test(arguments: [LocalSurvey.Method.oneRound(delta: 1e-6), .rounds(count: 2, sparsity: 1, radius: 1)])
    func messagesClip(method: LocalSurvey.Method) throws {
        let survey = try Self.survey(method)
        var (one, two) = (SeededGenerator(seed: 9), SeededGenerator(seed: 9))
        let wild = try survey.message([1e9, -1e9, 0.5], 1e12, using: &one)
        #expect(try wild == survey.message([2, -2, 0.5], 3, using: &two))
        #expect(wild.values.count == survey.messageLength)
        #expect(throws: LacunaError.self) { try survey.message([1, 2], 0, using: &one) }
        #expect(throws: LacunaError.self) { try survey.message([1, 2, .nan], 0, using: &one) }
    }

    @Test func filesKeepEverything() throws {
        var survey = try Self.survey(.rounds(count: 3, sparsity: 1, radius: 1.5))
        var random = SeededGenerator(seed: 4)
        let first = try survey.sum([survey.message([1, 0, -1], 0.5, using: &random)])
        survey = try #require(try survey.close(first).next)
        let (one, two) = (Self.path(".json"), Self.path(".jsonl"))
        defer { for path in [one, two] { try? FileSystem.remove(path) } }
        try AtomicFile.write(survey.json.serialized(.pretty), to: one)
        #expect(try LocalSurvey(contentsOf: one) == survey)
        let messages = try (0..<3).map { _ in try survey.message([1, 2, 3], 1, using: &random) }
        try AtomicFile.write(messages.map { $0.json.serialized() + "\n" }.joined(), to: two)
        #expect(try LocalSurvey.Message.messages(in: two) == messages)
        try AtomicFile.write(messages[0].json.serialized(.pretty), to: one)
        #expect(try LocalSurvey.Message.messages(in: one) == [messages[0]])
        // Of another survey, cut short, or no message at all.
        let other = try Self.survey(.rounds(count: 3, sparsity: 1, radius: 1.5))
        #expect(other.identifier != survey.identifier)
        #expect(throws: LacunaError.self) { try other.sum(messages) }
        #expect(throws: LacunaError.self) { try survey.sum([]) }
        for text in ["{}", "", "[1]", "{\"format\": \"lacuna-message\", \"version\": 1, \"survey\": \"x\"}\n"] {
            try AtomicFile.write(text, to: one)
            #expect(throws: LacunaError.self) { try survey.sum(LocalSurvey.Message.messages(in: one)) }
            #expect(throws: LacunaError.self) { try LocalSurvey(contentsOf: one) }
        }
    }

    /// Numbers that only a hostile file has.
    @Test func countsDoNotOverflow() throws {
        let survey = try Self.survey(.rounds(count: 3, sparsity: 1, radius: 1))
        func message(round: Int, users: Int) -> LocalSurvey.Message {
            LocalSurvey.Message(survey: survey.identifier, round: round, users: users, values: [0, 0, 0])
        }
        let large = message(round: 0, users: LocalSurvey.Message.mostUsers - 1)
        #expect(try survey.sum([large]).users == large.users)
        let many = [LocalSurvey.Message](repeating: large, count: 2000)
        #expect(throws: LacunaError.self) { try survey.sum(many) }
        let path = Self.path(".json")
        defer { try? FileSystem.remove(path) }
        try AtomicFile.write(message(round: .max, users: 1).json.serialized(), to: path)
        #expect(throws: LacunaError.self) { try survey.sum(contentsOf: [path]) }
        #expect(try LocalHardThresholding(epsilon: 1, sparsity: .max, featureBound: 1, targetBound: 1).kept == .max)
        let names = (0..<1_000_000).map { "c\($0)" }
        #expect(throws: LacunaError.self) {
            try LocalSurvey(
                features: names, target: "y", epsilon: 1, method: .oneRound(delta: 1e-6), featureBound: 1,
                targetBound: 1)
        }
    }

    @Test func rowsByName() throws {
        let survey = try Self.survey(.oneRound(delta: 1e-6))
        let path = Self.path(".csv")
        defer { try? FileSystem.remove(path) }
        try AtomicFile.write("c,who,y,a,b\n3,me,7,1,2\n6,you,8,4,5\n", to: path)
        let (features, target) = try survey.row(in: path, number: 2)
        #expect(features == [4, 5, 6] && target == 8)
        #expect(throws: LacunaError.self) { try survey.row(in: path, number: nil) }
        #expect(throws: LacunaError.self) { try survey.row(in: path, number: 3) }
        try AtomicFile.write("c,y,a,b\n3,7,1,2\n", to: path)
        #expect(try survey.row(in: path, number: nil).0 == [1, 2, 3])
        try AtomicFile.write("c,y,a\n3,7,1\n", to: path)
        #expect(throws: LacunaError.self) { try survey.row(in: path, number: nil) }
    }

    @Test func unusableSurveys() {
        func make(_ features: [String], _ method: LocalSurvey.Method, epsilon: Double = 1, bound: Double = 1) throws {
            _ = try LocalSurvey(
                features: features, target: "y", epsilon: epsilon, method: method, featureBound: bound, targetBound: 1)
        }
        let round = LocalSurvey.Method.oneRound(delta: 1e-6)
        #expect(throws: LacunaError.self) { try make([], round) }
        #expect(throws: LacunaError.self) { try make(["a", "a"], round) }
        #expect(throws: LacunaError.self) { try make(["a", "y"], round) }
        #expect(throws: LacunaError.self) { try make(["a"], round, epsilon: 0) }
        #expect(throws: LacunaError.self) { try make(["a"], round, bound: 0) }
        #expect(throws: LacunaError.self) { try make(["a"], .oneRound(delta: 0)) }
        #expect(throws: LacunaError.self) { try make(["a"], .rounds(count: 0, sparsity: 1, radius: 1)) }
        #expect(throws: LacunaError.self) { try make(["a"], .rounds(count: 2, sparsity: 0, radius: 1)) }
    }
}
