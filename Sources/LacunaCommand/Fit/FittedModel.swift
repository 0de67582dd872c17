import LacunaIO
import LacunaRegress
import LacunaTensor

/// A fit as it is kept in a file: enough to predict from the same kind of table.
struct FittedModel {
    static let format = "lacuna-fit"

    var method: FitMethod
    var features: [FeatureCoding]
    var coefficients: [Double]
    var intercept: Double
    var strength: Double
    var classes: [String]?
    /// What is known of the groups of a mixed model.
    var groups: KnownGroups?

    /// Random intercepts by label, and the column that has the labels.
    struct KnownGroups: Equatable {
        var column: String?
        var intercepts: [String: Double]
    }

    var json: JSONValue {
        [
            "format": .string(Self.format), "version": 1, "method": .string(method.rawValue),
            "strength": .number(strength), "intercept": .number(intercept),
            "classes": classes.map { .array($0.map { .string($0) }) } ?? .null,
            "groups": groups.map { groups in
                [
                    "column": groups.column.map { .string($0) } ?? .null,
                    "intercepts": .array(
                        groups.intercepts.sorted { $0.key < $1.key }.map {
                            ["group": .string($0.key), "intercept": .number($0.value)]
                        }),
                ]
            } ?? .null,
            "features": .array(
                zip(features, coefficients).map { feature, coefficient in
                    [
                        "column": .string(feature.column), "level": feature.level.map { .string($0) } ?? .null,
                        "filler": feature.filler.map { .number($0) } ?? .null, "coefficient": .number(coefficient),
                    ]
                }),
        ]
    }

    init(
        method: FitMethod, features: [FeatureCoding], coefficients: [Double], intercept: Double, strength: Double,
        classes: [String]?, groups: KnownGroups? = nil
    ) {
        self.method = method
        self.features = features
        self.coefficients = coefficients
        self.intercept = intercept
        self.strength = strength
        self.classes = classes
        self.groups = groups
    }

    init(contentsOf path: String) throws {
        let fields = try JSONFields(contentsOf: path)
        guard try fields.string("format") == Self.format, try fields.integer("version") == 1 else {
            throw fields.failure("format", "is not a model that 'lacuna fit' wrote")
        }
        guard let method = FitMethod(rawValue: try fields.string("method")) else {
            throw fields.failure("method", "is not known")
        }
        self.method = method
        strength = try fields.number("strength")
        intercept = try fields.number("intercept")
        classes = try fields.optionalArray("classes")?.compactMap(\.stringValue)
        if let known = try fields.optionalFields("groups") {
            var intercepts: [String: Double] = [:]
            for (index, value) in try known.array("intercepts").enumerated() {
                let item = try JSONFields(value, file: path, location: "groups.intercepts[\(index)]")
                intercepts[try item.string("group")] = try item.number("intercept")
            }
            groups = KnownGroups(column: try known.optionalString("column"), intercepts: intercepts)
        }
        (features, coefficients) = ([], [])
        for (index, value) in try fields.array("features").enumerated() {
            let item = try JSONFields(value, file: path, location: "features[\(index)]")
            features.append(
                FeatureCoding(
                    column: try item.string("column"), level: try item.optionalString("level"),
                    filler: try item.optionalNumber("filler")))
            coefficients.append(try item.number("coefficient"))
        }
    }

    /// Predicted targets, or probabilities of the second class.
    ///
    /// - Parameter labels: Groups of the rows, if they are known; the random intercept of a group that the model has not seen is 0.
    func predictions(_ design: any Design, labels: [String]? = nil) -> [Double] {
        var eta = [Double](repeating: 0, count: design.rows)
        design.product(coefficients, into: &eta)
        if let groups, let labels { for i in eta.indices { eta[i] += groups.intercepts[labels[i]] ?? 0 } }
        return eta.map { method == .logistic ? LogisticLoss.sigmoid($0 + intercept) : $0 + intercept }
    }
}
