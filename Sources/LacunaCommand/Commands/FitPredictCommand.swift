import ArgumentParser
import LacunaIO
import LacunaRegress

struct FitPredict: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "predict", abstract: "Predicts from a model that was written with --model.",
        discussion: """
            Columns become features as they did when the model was fitted: by their names, words letter by letter, gaps filled with \
            the means of then. A column that is missing and a word that the model does not know are errors; features of an SVMlight \
            file that the model does not know are left out.
            """)
    @Argument(
        help: ArgumentHelp("The model.", valueName: "model.json"), completion: .file(extensions: ["json"]))
    var model: String
    @Argument(
        help: "A file like the one that was fitted; its target, if any, is used to score; - is the input, as CSV.",
        completion: .file(extensions: TableFormat.endings))
    var data: InputFile
    @Option(help: ArgumentHelp("The target, to score the predictions.", valueName: "column"))
    var target: NameList?
    @OptionGroup var spelling: SpellingOptions
    @Flag(help: "For classes: the probability of each instead of one number.")
    var probabilities = false
    @Option(help: ArgumentHelp("Write the predictions; else they are printed; - is the output.", valueName: "file.csv"))
    var output: OutputFile?
    @Flag(help: "Replace files that are there already.")
    var force = false
    @OptionGroup var form: JSONOption

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        let model = try LinearModel(contentsOf: model)
        var layout = TableLayout()
        (layout.targets, layout.csv) = (target?.names ?? [], spelling.csv)
        let table = try LacunaRegress.Table(contentsOf: data.path, for: model, layout)
        let score = try model.score(table)
        let (names, rows): ([String], [[String]]) = try {
            if probabilities {
                return try (model.classes ?? [], model.probabilities(table).map { $0.map { "\($0)" } })
            }
            if model.family == .multinomial {
                return try (["prediction"], model.predict(table).map { [model.classes?[Int($0)] ?? ""] })
            }
            if model.outputs.count > 1 {
                let all = try model.predictors(table)
                return (model.outputs, (0..<table.rows).map { row in all.map { "\($0[row])" } })
            }
            return try (["prediction"], model.predict(table).map { ["\($0)"] })
        }()
        let text =
            (output == nil
                ? rows.map { $0.joined(separator: ",") } : ["\(rows.count) predictions in \(output?.path ?? "")"])
            + (score.map { ["\($0.name): \(Quantities.significant($0.value, 5))"] } ?? [])
        printResult(
            json: form.json,
            [
                "predictions": .array(
                    rows.map { row in
                        let values = row.map { cell in Double(cell).map { JSONValue.number($0) } ?? .string(cell) }
                        return values.count == 1 ? values[0] : .array(values)
                    }),
                "names": .array(names.map { .string($0) }),
                "score": score.map { .number($0.value) } ?? .null,
                "scoreName": score.map { .string($0.name) } ?? .null,
            ], text: text.joined(separator: "\n"), files: [output])
        let lines = ([names.map(CSVTable.field)] + rows).map { $0.joined(separator: ",") }
        try output?.write(lines.joined(separator: "\n") + "\n")
    }
}
