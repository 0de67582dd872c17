import LacunaIO
import LacunaTensor

/// A linear model that knows its table: enough to predict from another of the same kind, to be kept in a file, and to be
/// shown. Coefficients are those of the columns as they are in the table.
public struct LinearModel: Sendable, Equatable, Codable {
    /// What a model file says it is.
    public static let format = "lacuna-fit"

    /// How it was fitted, in a word: `lasso`, `logistic` …
    public var method: String
    /// What the target is, and how predictors become predictions.
    public var family: Family
    /// How each column of a table becomes a feature.
    public var features: FeatureList
    /// For each output, one for each feature.
    public var coefficients: [[Double]]
    /// A constant for each output.
    public var intercepts: [Double]
    /// Of the penalty, for the table as it was.
    public var strength: Double
    /// What each output stands for: classes of several, or targets of several; empty for one.
    public var outputs: [String]
    /// What is written for each class, the one that counts as 0 first.
    public var classes: [String]?
    /// Whether classes are numbers, so that `1` and `1.0` are one.
    public var hasNumericClasses: Bool
    /// Whether the table counts its features from 0; nil where they have names.
    public var isZeroBased: Bool?
    /// The column that is added to the predictor.
    public var offsetColumn: String?
    /// The column that said which rows had their event.
    public var eventColumn: String?
    /// What is known of the groups of a mixed model.
    public var groups: KnownGroups?

    /// Random intercepts by label, and the column that has the labels.
    public struct KnownGroups: Sendable, Equatable, Codable {
        /// The column that has the labels; nil where they were given beside the table.
        public var column: String?
        /// What is added for rows of each label.
        public var intercepts: [String: Double]

        /// Random intercepts by label.
        public init(column: String?, intercepts: [String: Double]) {
            self.column = column
            self.intercepts = intercepts
        }
    }

    /// A model of one's own: coefficients [outputs][features], intercepts [outputs].
    public init(
        method: String, family: Family, features: some Sequence<FeatureCoding>, coefficients: [[Double]],
        intercepts: [Double],
        strength: Double, outputs: [String] = [], classes: [String]? = nil, hasNumericClasses: Bool = false,
        isZeroBased: Bool? = nil, offsetColumn: String? = nil, eventColumn: String? = nil,
        groups: KnownGroups? = nil
    ) {
        self.method = method
        self.family = family
        self.features = FeatureList(features)
        self.coefficients = coefficients
        self.intercepts = intercepts
        self.strength = strength
        self.outputs = outputs
        self.classes = classes
        self.hasNumericClasses = hasNumericClasses
        self.isZeroBased = isZeroBased
        self.offsetColumn = offsetColumn
        self.eventColumn = eventColumn
        self.groups = groups
    }

    /// Names of features with a coefficient that is not 0, in the order of the table.
    public var selected: [String] {
        features.indices.filter { j in coefficients.contains { $0[j] != 0 } }.map { features[$0].name }
    }

    // MARK: Prediction

    /// Linear predictors, for each output one for each row.
    ///
    /// The random intercept of a group that the model has not seen is 0.
    public func predictors(_ table: Table) throws -> [[Double]] {
        guard table.design.columns == features.count else {
            throw LacunaError.invalidArgument(
                "table", reason: "has \(table.design.columns) features, the model \(features.count)")
        }
        if offsetColumn != nil && table.offset == nil {
            throw LacunaError.invalidArgument("table", reason: "has no offset, which the model was fitted with")
        }
        return zip(coefficients, intercepts).map { coefficients, intercept in
            var eta = [Double](repeating: 0, count: table.rows)
            table.design.product(coefficients, into: &eta)
            if let groups, let labels = table.groups {
                for i in eta.indices { eta[i] += groups.intercepts[labels[i]] ?? 0 }
            }
            for i in eta.indices { eta[i] += intercept + (table.offset?[i] ?? 0) }
            return eta
        }
    }

    /// Predicted targets; for two classes the probability of the second, for more the place of the likeliest in ``classes``; for
    /// times of events the logarithm of the hazard over that of an average row. Of several targets the first.
    public func predict(_ table: Table) throws -> [Double] {
        let eta = try predictors(table)
        switch family {
        case .binomial: return eta[0].map { LogisticLoss.sigmoid($0) }
        case .poisson: return eta[0].map { exponential($0) }
        case .multinomial:
            return (0..<table.rows).map { i in
                Double(eta.indices.max { eta[$0][i] < eta[$1][i] } ?? 0)
            }
        default: return eta[0]
        }
    }

    /// Probabilities of the classes, in their order, for each row.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a model of numbers.
    public func probabilities(_ table: Table) throws -> [[Double]] {
        guard family.hasClasses else {
            throw LacunaError.unsupported(file: nil, what: "probabilities of classes from a model of numbers")
        }
        let eta = try predictors(table)
        if family == .binomial { return eta[0].map { [LogisticLoss.sigmoid(-$0), LogisticLoss.sigmoid($0)] } }
        return (0..<table.rows).map { i in
            let largest = eta.reduce(-Double.infinity) { max($0, $1[i]) }
            let shares = eta.map { exponential($0[i] - largest) }
            let total = shares.reduce(0, +)
            return shares.map { $0 / total }
        }
    }

    /// The class that each row of a response belongs to.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for a class that the model does not know.
    func labels(_ response: Table.Response, _ table: Table) throws -> [Int] {
        guard let classes else { return [] }
        let places = ClassNames(names: classes, isNumeric: hasNumericClasses)
        return try response.words.enumerated().map { row, word in
            guard let place = places.place(word, response.numbers?[row]) else {
                throw LacunaError.malformed(
                    file: table.file, location: "target, row \(table.number(ofRow: row))",
                    reason: "'\(word.prefix(40))' is none of the model's classes \(classes.joined(separator: ", "))")
            }
            return place
        }
    }

    /// How good predictions are where the table has the target: the share of right classes, the share of pairs in the right order
    /// for times of events, or the root mean square error. Nil for a table without a target.
    public func score(_ table: Table) throws -> (name: String, value: Double)? {
        guard let response = table.responses.first else { return nil }
        if family.hasClasses {
            let truth = try labels(response, table)
            let found = try probabilities(table).map { row in row.indices.max { row[$0] < row[$1] } ?? 0 }
            return ("accuracy", Double(zip(found, truth).count { $0 == $1 }) / Double(truth.count))
        }
        guard let truth = response.numbers else {
            throw LacunaError.malformed(
                file: table.file, location: "target '\(response.name)'", reason: "is text, the model predicts numbers")
        }
        let found = try predict(table)
        if family.hasEvents {
            guard let events = table.events else {
                throw LacunaError.invalidArgument(
                    "table", reason: "has no column of events, without which times cannot be compared")
            }
            return (
                "concordance",
                Ranking.concordance(
                    found, times: truth, events: events, weights: [Double](repeating: 1, count: truth.count))
            )
        }
        let square = zip(found, truth).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        return ("root mean square error", (square / Double(truth.count)).squareRoot())
    }

    // MARK: Files

    /// The model as a JSON document.
    public var json: JSONValue {
        var object = heading
        object["features"] = .array(features.indices.map(feature))
        return .object(object)
    }

    /// Writes the document, a feature at a time: a model may have millions of them.
    ///
    /// - Parameter sink: Takes the next bytes.
    public func serialize(to sink: ([UInt8]) throws -> Void) rethrows {
        try JSONStream.write(
            heading, endingWith: "features", features.indices.lazy.map(feature), style: .pretty, to: sink)
    }

    private func feature(_ j: Int) -> JSONValue {
        let feature = features[j]
        return [
            "column": .string(feature.column), "kind": .string(feature.kind.rawValue),
            "level": feature.level.map { .string($0) } ?? .null, "filler": feature.filler.map { .number($0) } ?? .null,
            "coefficient": .number(coefficients[0][j]),
            "coefficients": coefficients.count > 1 ? .array(coefficients.map { .number($0[j]) }) : .null,
        ]
    }

    /// The document without its features.
    package var heading: JSONObject {
        var family: JSONValue = ["name": .string(self.family.name)]
        if case .object(var object) = family {
            switch self.family {
            case .huber(let delta): object["delta"] = delta.map { .number($0) }
            case .quantile(let level): object["quantile"] = .number(level)
            case .cox(let ties): object["ties"] = .string(ties.rawValue)
            default: break
            }
            family = .object(object)
        }
        let document: JSONValue = [
            "format": .string(Self.format), "version": 2, "method": .string(method), "family": family,
            "strength": .number(strength), "intercept": .number(intercepts.first ?? 0),
            "intercepts": .array(intercepts.map { .number($0) }), "outputs": .array(outputs.map { .string($0) }),
            "classes": classes.map { .array($0.map { .string($0) }) } ?? .null,
            "numericClasses": .bool(hasNumericClasses), "zeroBased": isZeroBased.map { .bool($0) } ?? .null,
            "offset": offsetColumn.map { .string($0) } ?? .null,
            "event": eventColumn.map { .string($0) } ?? .null,
            "groups": groups.map { groups in
                [
                    "column": groups.column.map { .string($0) } ?? .null,
                    "intercepts": .array(
                        groups.intercepts.sorted { $0.key < $1.key }.map {
                            ["group": .string($0.key), "intercept": .number($0.value)]
                        }),
                ]
            } ?? .null,
        ]
        return document.objectValue ?? JSONObject()
    }

    /// - Throws: ``LacunaError/file(path:reason:)``.
    public func save(to path: String) throws {
        let file = try AtomicFile(path)
        try serialize { try file.write($0) }
        try file.commit()
    }

    /// Reads what ``save(to:)`` wrote.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` with the place for anything else.
    public init(contentsOf path: String) throws {
        let fields = try JSONFields(contentsOf: path)
        guard try fields.string("format") == Self.format, try [1, 2].contains(fields.integer("version")) else {
            throw fields.failure("format", "is not a model that 'lacuna fit' wrote")
        }
        method = try fields.string("method")
        if let family = try fields.optionalFields("family") {
            switch try family.string("name") {
            case "gaussian": self.family = .gaussian
            case "binomial": self.family = .binomial
            case "multinomial": self.family = .multinomial
            case "poisson": self.family = .poisson
            case "huber": self.family = .huber(delta: try family.optionalNumber("delta"))
            case "quantile": self.family = .quantile(try family.number("quantile"))
            case "cox":
                guard let ties = CoxLoss.Ties(rawValue: try family.string("ties")) else {
                    throw family.failure("ties", "are not known")
                }
                self.family = .cox(ties: ties)
            default: throw family.failure("name", "is not known")
            }
        } else {
            family = method == "logistic" ? .binomial : .gaussian
        }
        strength = try fields.number("strength")
        func numbers(_ values: [JSONValue], _ key: String) throws -> [Double] {
            try values.map {
                guard let number = $0.doubleValue else { throw fields.failure(key, "has something that is no number") }
                return number
            }
        }
        func words(_ key: String) throws -> [String]? {
            try fields.optionalArray(key)?.map {
                guard let word = $0.stringValue else { throw fields.failure(key, "has something that is no string") }
                return word
            }
        }
        intercepts =
            try fields.optionalArray("intercepts").map { try numbers($0, "intercepts") }
            ?? [fields.number("intercept")]
        guard !intercepts.isEmpty else { throw fields.failure("intercepts", "are none") }
        outputs = try words("outputs") ?? []
        classes = try words("classes")
        hasNumericClasses = fields.object["numericClasses"]?.boolValue ?? (classes == nil)
        if classes == nil && family.hasClasses { classes = ["0", "1"] }
        isZeroBased = fields.object["zeroBased"]?.boolValue
        offsetColumn = try fields.optionalString("offset")
        eventColumn = try fields.optionalString("event")
        if let known = try fields.optionalFields("groups") {
            var intercepts: [String: Double] = [:]
            for (index, value) in try known.array("intercepts").enumerated() {
                let item = try JSONFields(value, file: path, location: "groups.intercepts[\(index)]")
                intercepts[try item.string("group")] = try item.number("intercept")
            }
            groups = KnownGroups(column: try known.optionalString("column"), intercepts: intercepts)
        }
        var features: [FeatureCoding] = []
        coefficients = intercepts.map { _ in [] }
        for (index, value) in try fields.array("features").enumerated() {
            let item = try JSONFields(value, file: path, location: "features[\(index)]")
            var feature = FeatureCoding(
                column: try item.string("column"), level: try item.optionalString("level"),
                filler: try item.optionalNumber("filler"))
            if let kind = try item.optionalString("kind") {
                guard let known = FeatureCoding.Kind(rawValue: kind), (known == .level) == (feature.level != nil) else {
                    throw item.failure("kind", "'\(kind)' is not known, or lacks its level")
                }
                feature.kind = known
            }
            features.append(feature)
            let own =
                try item.optionalArray("coefficients").map { try numbers($0, "coefficients") }
                ?? [item.number("coefficient")]
            guard own.count == intercepts.count else {
                throw item.failure("coefficients", "are \(own.count), the intercepts \(intercepts.count)")
            }
            for k in own.indices { coefficients[k].append(own[k]) }
        }
        self.features = FeatureList(compacting: features)
        let expected = family == .binomial ? 2 : family == .multinomial ? intercepts.count : nil
        if let expected, classes?.count != expected {
            throw fields.failure("classes", "are \(classes?.count ?? 0), not \(expected)")
        }
    }
}

/// Which class a word stands for.
struct ClassNames {
    /// In order.
    let names: [String]
    /// Whether all of them are numbers, which may be written in several ways.
    let isNumeric: Bool
    private let places: [String: Int]
    private let numbers: [Double: Int]

    init(names: [String], isNumeric: Bool) {
        self.names = names
        self.isNumeric = isNumeric
        places = Dictionary(names.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        numbers =
            isNumeric
            ? Dictionary(
                names.enumerated().compactMap { place, name in Double(name).map { ($0, place) } },
                uniquingKeysWith: { first, _ in first }) : [:]
    }

    /// The classes of a target, ascending: as numbers where all are.
    init(_ response: Table.Response, among rows: [Int]? = nil) {
        let words = response.words
        let rows = rows ?? Array(words.indices)
        if let values = response.numbers {
            var first: [Double: String] = [:]
            for row in rows where first[values[row]] == nil { first[values[row]] = words[row] }
            self.init(names: first.sorted { $0.key < $1.key }.map(\.value), isNumeric: true)
        } else {
            self.init(names: Set(rows.map { words[$0] }).sorted(), isNumeric: false)
        }
    }

    func place(_ word: String, _ number: Double?) -> Int? {
        if let place = places[word] { return place }
        return isNumeric ? (number ?? Double(word)).flatMap { numbers[$0] } : nil
    }
}
