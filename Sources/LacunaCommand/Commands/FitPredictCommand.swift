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
        // A table may have many millions of rows: their texts are made as they are written.
        let (names, cells): ([String], (Int) -> [JSONValue]) = try {
            if probabilities {
                let all = try model.probabilities(table)
                return (model.classes ?? [], { all[$0].map { .number($0) } })
            }
            if model.family == .multinomial {
                let classes = try model.predict(table)
                return (["prediction"], { [.string(model.classes?[Int(classes[$0])] ?? "")] })
            }
            if model.outputs.count > 1 {
                let all = try model.predictors(table)
                return (model.outputs, { row in all.map { .number($0[row]) } })
            }
            let all = try model.predict(table)
            return (["prediction"], { [.number(all[$0])] })
        }()
        func line(_ row: Int) -> String {
            cells(row).map { cell in
                if case .number(let number) = cell { "\(number)" } else { CSVTable.field(cell.stringValue ?? "") }
            }.joined(separator: ",") + "\n"
        }
        let console = output?.isStandardOutput == true ? Console.error : Console.output
        let scored = score.map { "\($0.name): \(Quantities.significant($0.value, 5))" }
        if form.json {
            let heading: JSONValue = [
                "names": .array(names.map { .string($0) }), "score": score.map { .number($0.value) } ?? .null,
                "scoreName": score.map { .string($0.name) } ?? .null,
            ]
            let predictions = (0..<table.rows).lazy.map { row in
                let values = cells(row).map { cell in
                    cell.stringValue.flatMap { Double($0) }.map { .number($0) } ?? cell
                }
                return values.count == 1 ? values[0] : .array(values)
            }
            printJSON(heading, endingWith: "predictions", predictions, on: console)
        } else if let output {
            console.print("\(table.rows) predictions in \(output.path)")
        } else {
            Self.write((0..<table.rows).lazy.map(line)) {
                console.write(Printable.text(String(decoding: $0, as: UTF8.self)))
            }
        }
        if !form.json, let scored { console.print(scored) }
        try output?.write { sink in
            try sink(Array((names.map(CSVTable.field).joined(separator: ",") + "\n").utf8))
            try Self.write((0..<table.rows).lazy.map(line), to: sink)
        }
    }

    /// Hands texts on in pieces of some size.
    private static func write(_ lines: some Sequence<String>, to sink: ([UInt8]) throws -> Void) rethrows {
        var piece: [UInt8] = []
        for line in lines {
            piece += line.utf8
            if piece.count > 1 << 16 {
                try sink(piece)
                piece.removeAll(keepingCapacity: true)
            }
        }
        try sink(piece)
    }
}
