import Lacuna

/// Results of reproductions in a directory, a file each, so that a long run goes on where it stopped.
///
/// A result holds for its seed, its form (quick or whole) and the version of the toolkit; others are not taken for it.
public final class KeptResults {
    /// What was found, on what, and how long that took.
    public struct Result: Sendable, Equatable {
        /// What came out.
        public var outcome: Outcome
        /// Of the run.
        public var seconds: Double
        /// On which it ran.
        public var processor: String

        /// A result of this machine, unless another is named.
        public init(outcome: Outcome, seconds: Double, processor: String = Processor.name) {
            (self.outcome, self.seconds, self.processor) = (outcome, seconds, processor)
        }
    }

    private let directory: String
    private let version: String
    private let lock: DirectoryLock

    /// Takes a directory, which is made if there is none, and keeps other processes out of it.
    ///
    /// - Parameter version: Of what computes the results.
    /// - Throws: ``LacunaError/file(path:reason:)`` for one that holds anything but a run's files, or that cannot be written.
    public init(_ directory: String, version: String) throws {
        (self.directory, self.version) = (directory, version)
        lock = try RunDirectory.claim(directory)
    }

    private func path(_ reproduction: any Reproduction, _ context: ReproductionContext) -> String {
        FileSystem.join(
            directory, "\(reproduction.paper)-seed\(context.seed)\(context.quick ? "-quick" : "").json")
    }

    /// The result that is there; nil if there is none of this version.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for a file that is no result.
    public func result(of reproduction: any Reproduction, _ context: ReproductionContext) throws -> Result? {
        let path = path(reproduction, context)
        guard FileSystem.exists(path) else { return nil }
        let value = try JSONValue(parsing: FileSystem.readText(path, limit: 1 << 24), file: path)
        guard value["version"]?.stringValue == version else { return nil }
        guard let outcome = value["outcome"].flatMap(Outcome.init(json:)), let seconds = value["seconds"]?.doubleValue,
            let processor = value["processor"]?.stringValue
        else {
            throw LacunaError.malformed(file: path, location: "the document", reason: "is no result of a reproduction")
        }
        return Result(outcome: outcome, seconds: seconds, processor: processor)
    }

    /// Keeps a result, in place of one that is there.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)`` if it cannot be written.
    public func keep(_ result: Result, of reproduction: any Reproduction, _ context: ReproductionContext) throws {
        let document: JSONValue = [
            "paper": JSONValue(reproduction.paper), "name": .string(reproduction.shortName),
            "version": .string(version), "processor": .string(result.processor), "seconds": .number(result.seconds),
            "outcome": result.outcome.json,
        ]
        try AtomicFile.write(document.serialized(.pretty) + "\n", to: path(reproduction, context))
    }
}

// MARK: - Outcomes as JSON

extension Outcome {
    /// Every part of it. Numbers that are not finite, which JSON lacks, are texts.
    var json: JSONValue {
        [
            "setting": .string(setting),
            "measurements": .array(
                measurements.map {
                    [
                        "quantity": .string($0.quantity), "measured": JSONValue(any: $0.measured),
                        "baseline": $0.baseline.map { JSONValue(any: $0) } ?? .null,
                        "baselineName": .string($0.baselineName),
                        "standardError": $0.standardError.map { JSONValue(any: $0) } ?? .null,
                        "baselineError": $0.baselineError.map { JSONValue(any: $0) } ?? .null,
                    ]
                }),
            "checks": .array(
                checks.map {
                    [
                        "statement": .string($0.statement), "left": JSONValue(any: $0.left),
                        "relation": .string($0.relation.rawValue), "right": JSONValue(any: $0.right),
                    ]
                }),
            "notes": .array(notes.map { .string($0) }), "missing": .array(missing.map { .string($0) }),
        ]
    }

    /// Nil for what is no outcome.
    init?(json: JSONValue) {
        func texts(_ key: String) -> [String]? {
            guard let values = json[key]?.arrayValue else { return nil }
            let texts = values.compactMap(\.stringValue)
            return texts.count == values.count ? texts : nil
        }
        guard let setting = json["setting"]?.stringValue, let measurements = json["measurements"]?.arrayValue,
            let checks = json["checks"]?.arrayValue, let notes = texts("notes"), let missing = texts("missing")
        else { return nil }
        self.init(setting: setting, measurements: [], checks: [], notes: notes, missing: missing)
        for value in measurements {
            guard let quantity = value["quantity"]?.stringValue, let measured = value["measured"]?.anyNumber,
                let name = value["baselineName"]?.stringValue
            else { return nil }
            var measurement = Measurement(
                quantity, measured: measured, baseline: value["baseline"]?.anyNumber, baselineName: name)
            measurement.standardError = value["standardError"]?.anyNumber
            measurement.baselineError = value["baselineError"]?.anyNumber
            self.measurements.append(measurement)
        }
        for value in checks {
            guard let statement = value["statement"]?.stringValue, let left = value["left"]?.anyNumber,
                let relation = value["relation"]?.stringValue.flatMap(Check.Relation.init(rawValue:)),
                let right = value["right"]?.anyNumber
            else { return nil }
            self.checks.append(Check(statement, left, relation, right))
        }
    }
}

extension JSONValue {
    /// A number, or the name of one that is not finite.
    fileprivate init(any number: Double) { self = number.isFinite ? .number(number) : .string("\(number)") }

    /// What was written so.
    fileprivate var anyNumber: Double? { doubleValue ?? stringValue.flatMap(Double.init) }
}
