import LacunaIO
import LacunaReproduce
import LacunaTensor

/// One reproduction, run, in the forms in which it is shown.
struct ReproductionReport {
    let reproduction: any Reproduction
    /// The outcome, or why there is none.
    let result: Result<Outcome, any Error>
    let seconds: Double
    /// On which it ran.
    let processor: String

    /// Takes a result that is kept; nil if there is none.
    init?(kept: KeptResults, _ reproduction: any Reproduction, _ context: ReproductionContext) throws {
        guard let known = try kept.result(of: reproduction, context) else { return nil }
        self.reproduction = reproduction
        (result, seconds, processor) = (.success(known.outcome), known.seconds, known.processor)
    }

    /// Runs it, unless its result is kept. A reproduction that breaks down has failed, but does not stop others; a cancelled one
    /// does.
    init(_ reproduction: any Reproduction, _ context: ReproductionContext, kept: KeptResults? = nil) throws {
        if let kept, let known = try Self(kept: kept, reproduction, context) {
            self = known
            return
        }
        self.reproduction = reproduction
        processor = Processor.name
        let begin = monotonicSeconds()
        do {
            result = .success(try reproduction.run(context))
        } catch LacunaError.cancelled {
            throw LacunaError.cancelled
        } catch {
            result = .failure(error)
        }
        seconds = monotonicSeconds() - begin
        // What could not be run for lack of data may be run when it is there.
        if let kept, let outcome = try? result.get(), outcome.missing.isEmpty {
            try kept.keep(.init(outcome: outcome, seconds: seconds), of: reproduction, context)
        }
    }

    var isReproduced: Bool {
        guard case .success(let outcome) = result else { return false }
        return outcome.verdict == .reproduced && outcome.missing.isEmpty
    }

    var verdict: String {
        switch result {
        case .success(let outcome):
            if outcome.missing.isEmpty {
                outcome.verdict.description
            } else if outcome.checks.isEmpty {
                "not run, for lack of data"
            } else {
                "\(outcome.verdict) as far as there was data"
            }
        case .failure(let error): "failed: \(error)"
        }
    }

    var measurements: [Measurement] { (try? result.get())?.measurements ?? [] }

    /// How many measurements fit into a line that is to be read.
    private static let shownMeasurements = 3

    /// Verdict, claim and the first measurements in one line.
    func line(_ console: Console) -> String {
        var measured = measurements.prefix(Self.shownMeasurements).map(Self.describe)
        let rest = measurements.count - measured.count
        if rest > 0 { measured.append("\(rest) more with --details") }
        let missing = ((try? result.get())?.missing ?? []).map { "\n    " + $0 }.joined()
        return "[\(reproduction.paper)] \(reproduction.shortName): "
            + console.styled(verdict, isReproduced ? .green : .red)
            + " in \(Quantities.duration(seconds)). Claim: \(reproduction.claim) "
            + "Measured: \(measured.isEmpty ? "nothing" : measured.joined(separator: "; "))." + missing
    }

    private static func describe(_ measurement: Measurement) -> String {
        var text = "\(measurement.quantity) \(number(measurement.measured, measurement.standardError))"
        if let baseline = measurement.baseline {
            let name = measurement.baselineName.isEmpty ? "baseline" : measurement.baselineName
            text += " (\(name) \(number(baseline, measurement.baselineError)))"
        }
        return text
    }

    /// A number and, if there is one, its standard error.
    static func number(_ value: Double, _ standardError: Double?) -> String {
        guard let standardError, standardError.isFinite else { return Quantities.significant(value) }
        return "\(Quantities.significant(value)) ± \(Quantities.significant(standardError, 2))"
    }

    /// Setting, checks and notes, indented below the line.
    var details: String {
        guard case .success(let outcome) = result else { return "" }
        var lines = ["setting: \(outcome.setting)"]
        lines += outcome.measurements.map { "· " + Self.describe($0) }
        for check in outcome.checks {
            lines.append(
                "\(check.holds ? "✓" : "✗") \(check.statement): \(Quantities.significant(check.left)) "
                    + "\(check.relation.rawValue) \(Quantities.significant(check.right))")
        }
        lines += (outcome.notes + outcome.missing).map { "note: \($0)" }
        return lines.map { "    " + $0 }.joined(separator: "\n")
    }

    private static func json(_ error: Double?) -> JSONValue {
        error.flatMap { $0.isFinite ? .number($0) : nil } ?? .null
    }

    var json: JSONValue {
        let outcome = try? result.get()
        return [
            "paper": JSONValue(reproduction.paper), "name": .string(reproduction.shortName),
            "title": .string(reproduction.title), "arXiv": reproduction.arXiv.map { .string($0) } ?? .null,
            "claim": .string(reproduction.claim), "setting": .string(outcome?.setting ?? ""),
            "measurements": .array(
                measurements.map {
                    [
                        "quantity": .string($0.quantity), "measured": .number($0.measured),
                        "baseline": $0.baseline.map { .number($0) } ?? .null,
                        "baselineName": .string($0.baselineName),
                        "standardError": Self.json($0.standardError),
                        "baselineError": Self.json($0.baselineError),
                    ]
                }),
            "checks": .array(
                (outcome?.checks ?? []).map {
                    [
                        "statement": .string($0.statement), "left": .number($0.left),
                        "relation": .string($0.relation.rawValue), "right": .number($0.right),
                        "holds": .bool($0.holds),
                    ]
                }),
            "notes": .array((outcome?.notes ?? []).map { .string($0) }),
            "missing": .array((outcome?.missing ?? []).map { .string($0) }), "verdict": .string(verdict),
            "reproduced": .bool(isReproduced), "seconds": .number(seconds), "processor": .string(processor),
        ]
    }
}
