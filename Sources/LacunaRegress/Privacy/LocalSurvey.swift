import LacunaIO
import LacunaTensor

/// Sparse regression from rows that never leave their owners: what a collector publishes, what one user sends back, and what
/// becomes of the sum.
///
///     let survey = try LocalSurvey(features: ["age", "steps"], target: "sleep", …)      // the collector
///     let message = try survey.message([41, 6.2], 7.5, using: &generator)               // each user, where the row is
///     let sum = try survey.sum(messages)                                                // the collector
///     let outcome = try survey.close(sum)                                               // a model, or the next round
///
/// In one round (``LocalSparseRegression``, (ε, δ)) or in several (``LocalHardThresholding``, ε), in each of which other users
/// answer. A message is all that a user gives away: the privacy holds whatever the collector does with it, as long as no user
/// answers the same survey twice, in whichever round.
public struct LocalSurvey: Sendable, Equatable {
    /// What the first line of a survey's and of a message's file says.
    public static let format = "lacuna-survey", messageFormat = "lacuna-message"

    /// How messages are made.
    public enum Method: Sendable, Equatable {
        /// One message a user, one round: noise of this δ on products of features.
        case oneRound(delta: Double)
        /// Randomised gradients in rounds, with at most so many coefficients that matter, and the longest vector of
        /// coefficients.
        case rounds(count: Int, sparsity: Int, radius: Double)
    }

    /// Which survey a message answers.
    public let identifier: String
    /// Names of the columns that answers are made of.
    public let features: [String]
    /// Name of the column to be explained.
    public let target: String
    /// What a message spends.
    public let epsilon: Double
    /// Whether one round is asked, or several.
    public let method: Method
    /// Magnitudes to which features and targets are clipped.
    public let featureBound, targetBound: Double
    /// The round that messages are for, from 0.
    public private(set) var round = 0
    /// What the rounds so far have found, one for each feature.
    public private(set) var coefficients: [Double]

    /// - Parameters:
    ///   - features: Names of the columns, each once.
    ///   - epsilon: Of every user's only message. Above 0.
    ///   - featureBound: Above 0, and not chosen by looking at rows; `targetBound` likewise.
    ///   - identifier: A random one for nil.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range, and for names that are none, given twice,
    ///   or the target's; ``LacunaError/resource(_:needed:available:)`` for messages that do not fit into memory.
    public init(
        features: [String], target: String, epsilon: Double, method: Method, featureBound: Double, targetBound: Double,
        identifier: String? = nil
    ) throws {
        guard !features.isEmpty else { throw LacunaError.invalidArgument("features", reason: "are none") }
        guard Set(features).count == features.count else {
            throw LacunaError.invalidArgument("features", reason: "name a column twice")
        }
        guard !features.contains(target) else {
            throw LacunaError.invalidArgument("features", reason: "have the target '\(target)' among them")
        }
        if case .rounds(let count, _, _) = method, count < 1 {
            throw LacunaError.invalidArgument("rounds", reason: "are \(count)")
        }
        if case .oneRound = method {
            let count = features.count
            try MachineMemory.require(shape: [count, count], of: Double.self, for: "a message of \(count) features")
        }
        var generator = SeededGenerator.unpredictable()
        self.identifier = identifier ?? String(generator.next(), radix: 36) + String(generator.next(), radix: 36)
        (self.features, self.target, self.epsilon, self.method) = (features, target, epsilon, method)
        (self.featureBound, self.targetBound) = (featureBound, targetBound)
        coefficients = [Double](repeating: 0, count: features.count)
        switch method {
        case .oneRound: _ = try regression
        case .rounds: _ = try thresholding.randomizer(columns: features.count)
        }
    }

    private var regression: LocalSparseRegression {
        get throws {
            guard case .oneRound(let delta) = method else {
                throw LacunaError.unsupported(file: nil, what: "one round of a survey in several")
            }
            return try LocalSparseRegression(
                columns: features.count, budget: PrivacyBudget(epsilon: epsilon, delta: delta),
                featureBound: featureBound, targetBound: targetBound)
        }
    }

    private var thresholding: LocalHardThresholding {
        get throws {
            guard case .rounds(let count, let sparsity, let radius) = method else {
                throw LacunaError.unsupported(file: nil, what: "rounds of a survey in one")
            }
            return try LocalHardThresholding(
                epsilon: epsilon, sparsity: sparsity, featureBound: featureBound, targetBound: targetBound,
                radius: radius, rounds: count)
        }
    }

    /// What a user spends.
    public var account: PrivacyAccount {
        get throws {
            if case .oneRound = method { return try regression.account }
            return try thresholding.account
        }
    }

    /// Rounds altogether.
    public var rounds: Int { if case .rounds(let count, _, _) = method { count } else { 1 } }

    // MARK: Messages

    /// What one user sends, or the sum of what several sent.
    public struct Message: Sendable, Equatable {
        /// The survey that it answers, by its fingerprint.
        public let survey: String
        /// The round, from 0.
        public let round: Int
        /// Users whose answers are added up in it; 1 for a message as it is sent.
        public internal(set) var users: Int
        /// Sums over the users.
        public internal(set) var values: [Double]

        /// So many users or more could not be counted in a `Double`.
        static let mostUsers = 1 << 53
    }

    /// How many numbers a message has.
    public var messageLength: Int {
        let d = features.count
        if case .oneRound = method { return d * (d + 1) / 2 + d }
        return d
    }

    /// One user's message: the row is clipped and randomised here and leaves no other trace.
    ///
    /// - Parameters:
    ///   - values: The features, in the survey's order.
    ///   - generator: ``SeededGenerator/unpredictable()``, but in tests.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for another number of features, or numbers that are not finite.
    public func message(_ values: [Double], _ target: Double, using generator: inout SeededGenerator) throws -> Message
    {
        guard values.count == features.count else {
            throw LacunaError.invalidArgument("features", reason: "are \(values.count), not \(features.count)")
        }
        guard values.allSatisfy(\.isFinite), target.isFinite else {
            throw LacunaError.invalidArgument("row", reason: "has a number that is not finite")
        }
        if case .oneRound = method {
            let sums = try regression.message(values, target, using: &generator)
            return Message(survey: identifier, round: 0, users: 1, values: sums.covariance + sums.correlation)
        }
        let thresholding = try thresholding
        return Message(
            survey: identifier, round: round, users: 1,
            values: thresholding.answer(
                values, target, at: coefficients, by: try thresholding.randomizer(columns: features.count),
                using: &generator))
    }

    /// Adds messages up, sums of messages among them.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for none, for messages of another survey, round or length, and for those of
    ///   2⁵³ users or more.
    public func sum(_ messages: some Swift.Sequence<Message>) throws -> Message {
        var sum = Message(
            survey: identifier, round: round, users: 0, values: [Double](repeating: 0, count: messageLength))
        for message in messages {
            try check(message)
            guard sum.users < Message.mostUsers - message.users else {
                throw LacunaError.invalidArgument("messages", reason: "are of \(Message.mostUsers) users or more")
            }
            sum.users += message.users
            for k in sum.values.indices { sum.values[k] += message.values[k] }
        }
        guard sum.users > 0 else { throw LacunaError.invalidArgument("messages", reason: "are none") }
        return sum
    }

    /// Adds up the messages of files, each of one message or of one a line.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` naming the file that holds something else or messages of another
    ///   survey, round or length; ``LacunaError/invalidArgument(_:reason:)`` for none.
    public func sum(contentsOf paths: [String]) throws -> Message {
        // A file at a time: of many users' messages only the sum is held.
        var total: Message?
        for path in paths {
            let messages = try Message.messages(in: path)
            do {
                for message in messages { try check(message) }
            } catch LacunaError.invalidArgument(let what, let reason) {
                throw LacunaError.malformed(file: path, location: what, reason: reason)
            }
            if !messages.isEmpty { total = try sum((total.map { [$0] } ?? []) + messages) }
        }
        guard let total else { throw LacunaError.invalidArgument("messages", reason: "are none") }
        return total
    }

    private func check(_ message: Message) throws {
        guard message.survey == identifier else {
            throw LacunaError.invalidArgument("message", reason: "answers another survey")
        }
        guard message.round == round else {
            throw LacunaError.invalidArgument(
                "message", reason: "is for round \(message.round + 1), the survey is in round \(round + 1)")
        }
        guard message.values.count == messageLength, message.users > 0, message.values.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("message", reason: "does not have \(messageLength) finite numbers")
        }
    }

    /// What the sum of a round's messages leads to.
    public struct Outcome: Sendable {
        /// The survey with the coefficients so far, for other users; nil after the last round.
        public let next: LocalSurvey?
        /// What is known by now.
        public let model: LinearModel
        /// How large noise alone would make a coefficient, about: the threshold of one round; in rounds the standard deviation that
        /// the step of a round has from the randomising.
        public let noise: Double
        /// Whether the noise is as large as what it hides, so that the numbers mean little.
        public let isNoiseDominated: Bool
    }

    /// Ends a round. Whatever is done here costs no privacy.
    ///
    /// - Parameter threshold: Of one round: below it coefficients are 0.
    /// - Throws: As ``sum(_:)``, and ``LacunaError/invalidArgument(_:reason:)`` for a threshold below 0.
    public func close(
        _ sum: Message, threshold: LocalSparseRegression.Threshold = .universal
    ) throws -> Outcome {
        try check(sum)
        let d = features.count
        func model(_ coefficients: [Double], strength: Double) -> LinearModel {
            LinearModel(
                method: "private survey", family: .gaussian, features: features.map { FeatureCoding(column: $0) },
                coefficients: [coefficients], intercepts: [0], strength: strength)
        }
        if case .oneRound = method {
            let regression = try regression
            let estimate = try regression.estimate(
                .init(
                    users: sum.users, covariance: Array(sum.values.dropLast(d)),
                    correlation: Array(sum.values.suffix(d))),
                threshold: threshold)
            let largest = estimate.thresholds.max() ?? 0
            return Outcome(
                next: nil, model: model(estimate.coefficients, strength: largest), noise: largest,
                isNoiseDominated: estimate.isNoiseDominated)
        }
        let thresholding = try thresholding
        let mean = sum.values.map { $0 / Double(sum.users) }
        let found = thresholding.stepped(coefficients, by: mean)
        var next = self
        next.round += 1
        next.coefficients = found
        let radius = try thresholding.randomizer(columns: d).radius
        let noise = thresholding.step * radius / (Double(d) * Double(sum.users)).squareRoot()
        return Outcome(
            next: next.round < rounds ? next : nil, model: model(found, strength: 0), noise: noise,
            isNoiseDominated: noise * Double(d).squareRoot() > thresholding.radius)
    }

    // MARK: Files

    /// The survey as a JSON document.
    public var json: JSONValue {
        let how: JSONValue =
            switch method {
            case .oneRound(let delta): ["name": "one-round", "delta": .number(delta)]
            case .rounds(let count, let sparsity, let radius):
                [
                    "name": "rounds", "count": JSONValue(count), "sparsity": JSONValue(sparsity),
                    "radius": .number(radius),
                ]
            }
        return [
            "format": .string(Self.format), "version": 1, "survey": .string(identifier),
            "features": .array(features.map { .string($0) }), "target": .string(target), "epsilon": .number(epsilon),
            "featureBound": .number(featureBound), "targetBound": .number(targetBound), "method": how,
            "round": JSONValue(round), "coefficients": .array(coefficients.map { .number($0) }),
        ]
    }

    /// Reads a survey.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` with the place for anything else, and as
    ///   ``init(features:target:epsilon:method:featureBound:targetBound:identifier:)``.
    public init(contentsOf path: String) throws {
        let fields = try JSONFields(contentsOf: path)
        guard try fields.string("format") == Self.format, try fields.integer("version") == 1 else {
            throw fields.failure("format", "is not a survey that 'lacuna fit private-survey' wrote")
        }
        let how = try fields.fields("method")
        let method: Method
        switch try how.string("name") {
        case "one-round": method = .oneRound(delta: try how.number("delta"))
        case "rounds":
            method = .rounds(
                count: try how.integer("count"), sparsity: try how.integer("sparsity"), radius: try how.number("radius")
            )
        default: throw how.failure("name", "is not known")
        }
        try self.init(
            features: fields.array("features").map { value in
                guard let name = value.stringValue else { throw fields.failure("features", "are not names") }
                return name
            }, target: fields.string("target"), epsilon: fields.number("epsilon"), method: method,
            featureBound: fields.number("featureBound"), targetBound: fields.number("targetBound"),
            identifier: fields.string("survey"))
        round = try fields.integer("round")
        coefficients = try fields.array("coefficients").map { value in
            guard let number = value.doubleValue, number.isFinite else {
                throw fields.failure("coefficients", "are not numbers")
            }
            return number
        }
        guard coefficients.count == features.count else {
            throw fields.failure("coefficients", "are \(coefficients.count), the features \(features.count)")
        }
        guard (0..<rounds).contains(round) else { throw fields.failure("round", "is \(round) of \(rounds)") }
    }

    /// A user's row in a table: its features by their names, its target, the row by its number from 1 where there are
    /// several.
    ///
    /// - Throws: As ``Table``; ``LacunaError/invalidArgument(_:reason:)`` for several rows without a number, or a number that is
    ///   out of range.
    public func row(in path: String, number: Int?, _ layout: TableLayout = TableLayout()) throws -> ([Double], Double) {
        var layout = layout
        layout.targets = [target]
        let model = LinearModel(
            method: "private survey", family: .gaussian, features: features.map { FeatureCoding(column: $0) },
            coefficients: [coefficients], intercepts: [0], strength: 0)
        let table = try Table(contentsOf: path, for: model, layout)
        guard number != nil || table.rows == 1 else {
            throw LacunaError.invalidArgument(
                "--row", reason: "is needed: \(path) has \(table.rows) rows, and a message is of one")
        }
        let row = (number ?? 1) - 1
        guard (0..<table.rows).contains(row) else {
            throw LacunaError.invalidArgument("--row", reason: "is \(row + 1), \(path) has \(table.rows)")
        }
        guard let targets = table.responses.first?.numbers else {
            throw LacunaError.malformed(file: path, location: "column '\(target)'", reason: "is not a number")
        }
        let values = (0..<features.count).map { j in
            var column = [Double](repeating: 0, count: table.rows)
            table.design.add(1, column: j, to: &column)
            return column[row]
        }
        return (values, targets[row])
    }
}

extension LocalSurvey.Message {
    /// The message as a JSON document.
    public var json: JSONValue {
        [
            "format": .string(LocalSurvey.messageFormat), "version": 1, "survey": .string(survey),
            "round": JSONValue(round), "users": JSONValue(users), "values": .array(values.map { .number($0) }),
        ]
    }

    /// Reads the messages of a file: one document, or one a line.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` with the line for anything else.
    public static func messages(in path: String) throws -> [LocalSurvey.Message] {
        let text = try FileSystem.readText(path)
        if let whole = try? JSONValue(parsing: text) { return [try message(whole, path, "document")] }
        return try text.split(whereSeparator: \.isNewline).enumerated().map { index, line in
            let place = "line \(index + 1)"
            guard let value = try? JSONValue(parsing: String(line)) else {
                throw LacunaError.malformed(file: path, location: place, reason: "is no message")
            }
            return try message(value, path, place)
        }
    }

    private static func message(_ value: JSONValue, _ path: String, _ place: String) throws -> LocalSurvey.Message {
        let fields = try JSONFields(value, file: path, location: place)
        guard try fields.string("format") == LocalSurvey.messageFormat, try fields.integer("version") == 1 else {
            throw fields.failure("format", "is not a message that 'lacuna fit private-message' wrote")
        }
        let users = try fields.integer("users")
        guard users > 0, users < LocalSurvey.Message.mostUsers else { throw fields.failure("users", "are \(users)") }
        let round = try fields.integer("round")
        guard round >= 0, round < .max else { throw fields.failure("round", "is \(round)") }
        return LocalSurvey.Message(
            survey: try fields.string("survey"), round: round, users: users,
            values: try fields.array("values").map { value in
                guard let number = value.doubleValue, number.isFinite else {
                    throw fields.failure("values", "are not finite numbers")
                }
                return number
            })
    }
}
