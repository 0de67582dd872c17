import ArgumentParser
import LacunaIO
import LacunaPrune
import LacunaTensor

struct FitLaw: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "law", abstract: "The scaling law of training runs: how loss falls with size and data.",
        discussion: """
            Examples:
              lacuna fit law runs.csv
              lacuna fit law runs.csv --at-parameters 1e9 --at-tokens 2e10

            RUNS.csv has a run a row: the mean number of weights in use over its tokens, the tokens it was trained on, and the loss \
            that it came to. A run of 'gradual' prints its mean_density in metrics.jsonl. The law is L = E + A / N^a + B / D^b, of \
            dense and of sparse runs alike. (Jin and others, The Journey Matters, arXiv:2501.12486.) Five runs are needed at least; \
            E and the exponents are well determined, the factors make up for each other.
            """)

    @Argument(help: ArgumentHelp("A table of runs.", valueName: "runs"), completion: .file(extensions: ["csv", "tsv"]))
    var runs: String

    @Option(help: ArgumentHelp("The column of the mean number of weights in use.", valueName: "name"))
    var parameters = "parameters"

    @Option(help: ArgumentHelp("The column of tokens.", valueName: "name"))
    var tokens = "tokens"

    @Option(help: ArgumentHelp("The column of losses.", valueName: "name"))
    var loss = "loss"

    @Option(
        within: .above(0),
        help: ArgumentHelp("Say the loss of a model with so many weights; with --at-tokens.", valueName: "n"))
    var atParameters: Double?

    @Option(
        within: .above(0),
        help: ArgumentHelp("Say the loss after so many tokens; with --at-parameters.", valueName: "n"))
    var atTokens: Double?

    @OptionGroup var form: JSONOption

    func validate() throws {
        guard (atParameters == nil) == (atTokens == nil) else {
            throw ValidationError("--at-parameters and --at-tokens go together")
        }
    }

    func run() throws {
        let table = try CSVTable(contentsOf: runs)
        func column(_ name: String) throws -> [Double] {
            guard let found = table[name] else {
                throw LacunaError.malformed(
                    file: runs, location: "line 1",
                    reason: "has no column '\(name)'" + Suggestion.phrase(name, among: table.columns.map(\.name)))
            }
            guard case .numbers(let values) = found.values else {
                throw LacunaError.malformed(file: runs, location: "column '\(name)'", reason: "is not all numbers")
            }
            return values
        }
        let (sizes, data, losses) = try (column(parameters), column(tokens), column(loss))
        let points = sizes.indices.map {
            ScalingLaw.Point(parameters: sizes[$0], tokens: data[$0], loss: losses[$0])
        }
        let fit: ScalingLaw.Fit
        do {
            fit = try ScalingLaw.fit(points)
        } catch let LacunaError.invalidArgument(_, reason) {
            throw LacunaError.malformed(file: runs, location: "rows", reason: reason)
        }
        let law = fit.law
        var object = JSONObject()
        object["irreducible"] = .number(law.irreducible)
        object["size_factor"] = .number(law.sizeFactor)
        object["size_exponent"] = .number(law.sizeExponent)
        object["data_factor"] = .number(law.dataFactor)
        object["data_exponent"] = .number(law.dataExponent)
        object["runs"] = JSONValue(points.count)
        object["converged"] = .bool(fit.hasConverged)
        // How far the law is off for its own runs.
        let worst = points.map { abs(law.loss(parameters: $0.parameters, tokens: $0.tokens) / $0.loss - 1) }.max() ?? 0
        object["largest_error"] = .number(worst)
        func digits(_ value: Double) -> String { Quantities.significant(value, 4) }
        var lines = [
            "L = \(digits(law.irreducible)) + \(digits(law.sizeFactor)) / N^\(digits(law.sizeExponent)) + "
                + "\(digits(law.dataFactor)) / D^\(digits(law.dataExponent))",
            "\(points.count) runs, the worst of them off by \(Quantities.percent(worst, 2))",
        ]
        if !fit.hasConverged { lines.append("the fit ended by its bound on steps") }
        if let atParameters, let atTokens {
            let predicted = law.loss(parameters: atParameters, tokens: atTokens)
            object["predicted"] = .number(predicted)
            lines.append("loss at N \(digits(atParameters)), D \(digits(atTokens)): \(digits(predicted))")
        }
        printResult(json: form.json, .object(object), text: lines.joined(separator: "\n"))
    }
}
