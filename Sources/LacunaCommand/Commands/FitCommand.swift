import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaTensor

struct FitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fit",
        abstract: "Fits sparse models to tables: which columns matter, by how much, and how sure that is.",
        discussion: """
            Examples:
              lacuna fit lasso houses.csv --target price
              lacuna fit logistic patients.csv --target ill --missing mean --text one-hot \\
                --model ill.json --report ill.html
              lacuna fit scad expression.npz --target y --rule min
              lacuna fit predict ill.json new.csv --output predicted.csv
              lacuna fit screen expression.csv --target y --top 20
              lacuna fit mixed visits.csv --target pressure --group patient
              lacuna fit dag sensors.csv --svg effects.svg
              lacuna fit l0 survey.csv --target score --private 2 --feature-bound 3 --target-bound 5

            DATA is a .csv or .tsv file with a header, a .svm file (SVMlight), .npy, .npz (arrays X and y) or .mtx \
            (MatrixMarket). A .npy file of doubles in Fortran order (numpy.asfortranarray) is used where it lies, mapped, and \
            may be larger than memory; its target is a file of its own, or the first or last column.

            Without --lambda, the strength of the penalty is chosen by cross-validation: the largest within one standard \
            error of the best (--rule 1se), or the best (--rule min). Columns are standardised for the fit; coefficients are \
            printed for the columns as they are.
            """,
        subcommands: [
            FitLasso.self, FitElasticNet.self, FitLogistic.self, FitGroupLasso.self, FitSCAD.self, FitMCP.self,
            FitL0.self, FitMixed.self, FitPredict.self, FitScreen.self, FitDAG.self,
        ])
}

/// What every method takes.
struct FitOptions: ParsableArguments {
    enum Rule: String, ExpressibleByArgument, CaseIterable {
        case simplest = "1se"
        case smallest = "min"
    }

    @OptionGroup var source: TableOptions

    @Option(help: ArgumentHelp("A column of sample weights.", valueName: "column"))
    var weights: String?

    @Option(
        name: .customLong("lambda"), within: .atLeast(0),
        help: ArgumentHelp("Strength of the penalty; by cross-validation if not given.", valueName: "x"))
    var strength: Double?

    @Option(help: "Which strength cross-validation chooses: 1se or min.")
    var rule = Rule.simplest

    @Option(in: 0...1000, help: ArgumentHelp("Folds of the cross-validation.", valueName: "n"))
    var folds = 5

    @Option(in: 2...10_000, help: ArgumentHelp("Strengths on the path.", valueName: "n"))
    var count = 100

    @Option(
        within: .above(0, below: 1),
        help: ArgumentHelp("The smallest strength of the path over the largest.", valueName: "x"))
    var ratio = 0.01

    @Option(seed: ArgumentHelp("Changes the folds.", valueName: "n"))
    var seed: UInt64 = 0

    @Option(
        within: .above(0, below: 1),
        help: ArgumentHelp("Relative duality gap, or distance to stationarity, to reach.", valueName: "x"))
    var tolerance = 1e-7

    @Flag(help: "Fit without a constant.")
    var noIntercept = false

    @Flag(help: "Penalise columns as they are, not per standard deviation.")
    var noStandardize = false

    @Option(in: 0...1_000_000_000, help: ArgumentHelp("Rows of the table at most.", valueName: "n"))
    var top = 30

    @Option(help: ArgumentHelp("Write the model, for 'lacuna fit predict'; - is the output.", valueName: "file.json"))
    var model: OutputFile?

    @Option(help: ArgumentHelp("Write a page with tables and plots; - is the output.", valueName: "file.html"))
    var report: OutputFile?

    @Flag(help: "Replace files that are there already.")
    var force = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        if folds < 2 && strength == nil { throw ValidationError("--folds must be at least 2 without --lambda") }
    }

    /// Checks what can be checked before anything is read.
    @discardableResult
    func prepare() throws -> ProgressDisplay {
        try OutputFile.check([model, report], overwriting: force)
        try source.requireTarget()
        return options.begin()
    }

    /// - Parameter group: The column of a mixed model's groups.
    func run(
        _ method: FitMethod, group: String? = nil,
        _ adjust: (inout FitMethod.Settings, FitData) throws -> Void = { _, _ in }
    ) throws {
        let progress = try prepare()
        defer { progress.clear() }
        let (table, values) = try source.read(weights: weights, group: group)
        guard table.design.columns > 0 else {
            throw LacunaError.malformed(
                file: source.data.path, location: "columns", reason: "there is none beside the target")
        }
        if table.classes != nil && method != .logistic {
            throw LacunaError.invalidArgument(
                "--target", reason: "'\(source.target ?? "")' is text; only 'lacuna fit logistic' predicts classes")
        }
        var settings = FitMethod.Settings(
            count: count, ratio: ratio, folds: folds, seed: seed, strength: strength, tolerance: tolerance,
            usesSmallestLoss: rule == .smallest, hasIntercept: !noIntercept)
        if method == .logistic { settings.mixing = 1 }
        try adjust(&settings, table)
        let loss = try SquaredLoss(values, weights: table.weights)  // checks targets and weights
        try source.requireFinite(table.design)
        let fitted =
            noStandardize
            ? table.design : table.design.standardized(weights: loss.weights, centered: !noIntercept)
        let outcome = try method.fit(
            fitted, target: values, weights: table.weights, settings, progress: progress)
        progress.clear()
        let plain = outcome.solution.unscaled(fitted)
        let result = FittedModel(
            method: method, features: table.features, coefficients: plain.coefficients, intercept: plain.intercept,
            strength: outcome.strength, classes: table.classes, groups: outcome.mixed?.knownGroups(of: table))
        let report = FitReport(
            data: source.data.path, rows: table.design.rows, model: result, outcome: outcome,
            effects: outcome.solution.coefficients, settings: settings, limit: top,
            mixed: outcome.mixed.map { MixedReport(outcome: $0, table: table, limit: top) })
        printResult(
            json: form.json, report.json, text: report.summary(console: .output), files: [model, self.report])
        try model?.write(result.json.serialized(.pretty))
        try self.report?.write(report.page.html())
    }
}

extension FitData.Missing: ExpressibleByArgument {}
extension FitData.Text: ExpressibleByArgument {}

struct FitLasso: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lasso", abstract: "Least squares with an L1 penalty.",
        discussion: """
            With --private every row is clipped and randomised before it is summed, so that nobody need be trusted \
            with it; that takes very many rows and few columns. There is no intercept, no standardisation and no \
            cross-validation then, because they would look at the rows; --lambda is the soft threshold, which by \
            default follows from the known noise. (Zhu and others, arXiv:2310.07367.)

              lacuna fit lasso visits.csv --target minutes --private 1 --feature-bound 3 --target-bound 10
            """)
    @OptionGroup var privacy: PrivacyOptions
    @OptionGroup var options: FitOptions
    func run() throws {
        guard privacy.epsilon != nil else { return try options.run(.lasso) }
        try options.prepare()
        try PrivateFit(options, privacy).lasso()
    }
}

struct FitElasticNet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "elastic-net", abstract: "Least squares with L1 and L2 penalties.")
    @Option(within: .above(0, atMost: 1), help: ArgumentHelp("Share of the L1 penalty, above 0 up to 1.", valueName: "x"))
    var mixing = 0.5
    @OptionGroup var options: FitOptions
    func run() throws { try options.run(.elasticNet) { settings, _ in settings.mixing = mixing } }
}

struct FitLogistic: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logistic", abstract: "Two classes, with an L1 (or elastic net) penalty.")
    @Option(within: .above(0, atMost: 1), help: ArgumentHelp("Share of the L1 penalty, above 0 up to 1.", valueName: "x"))
    var mixing = 1.0
    @OptionGroup var options: FitOptions
    func run() throws { try options.run(.logistic) { settings, _ in settings.mixing = mixing } }
}

struct FitGroupLasso: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group-lasso", abstract: "Least squares; columns enter by groups.",
        discussion: "One-hot features of one column are a group unless --groups or --group-size says otherwise.")
    @Option(in: 1...1_000_000_000, help: ArgumentHelp("Runs of so many columns are groups.", valueName: "n"))
    var groupSize: Int?
    @Option(help: ArgumentHelp("A .csv file with columns 'feature' and 'group'.", valueName: "file"))
    var groups: InputFile?
    @OptionGroup var options: FitOptions
    func validate() throws {
        if groupSize != nil && groups != nil { throw ValidationError("give --group-size or --groups, not both") }
    }
    func run() throws {
        try options.run(.groupLasso) { settings, data in
            let columns = data.design.columns
            if let groupSize {
                settings.groups = .runs(of: groupSize, columns: columns)
            } else {
                let names = try groups.map { try Self.read($0.path) } ?? [:]
                var members: [String: [Int]] = [:]
                for (j, feature) in data.features.enumerated() {
                    members[names[feature.name] ?? names[feature.column] ?? feature.column, default: []].append(j)
                }
                settings.groups = try Groups(members.values.sorted { $0[0] < $1[0] }, columns: columns)
            }
        }
    }

    private static func read(_ path: String) throws -> [String: String] {
        let table = try CSVTable(contentsOf: path)
        func words(_ name: String) throws -> [String] {
            switch table[name]?.values {
            case .text(let words)?: return words
            case .numbers(let numbers)?:
                return numbers.map { Int(exactly: $0).map { String($0) } ?? "\($0)" }
            case nil:
                throw LacunaError.malformed(file: path, location: "header", reason: "there is no column '\(name)'")
            }
        }
        return Dictionary(zip(try words("feature"), try words("group")), uniquingKeysWith: { first, _ in first })
    }
}

struct FitSCAD: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scad", abstract: "Least squares; large coefficients are not shrunk (SCAD).")
    @Option(within: .above(2), help: ArgumentHelp("a, above 2.", valueName: "x"))
    var shape = 3.7
    @OptionGroup var options: FitOptions
    func run() throws { try options.run(.scad) { settings, _ in settings.shape = shape } }
}

struct FitMCP: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mcp", abstract: "Least squares; large coefficients are not shrunk (MCP).")
    @Option(within: .above(1), help: ArgumentHelp("γ, above 1.", valueName: "x"))
    var shape = 3.0
    @OptionGroup var options: FitOptions
    func run() throws { try options.run(.mcp) { settings, _ in settings.shape = shape } }
}

struct FitL0: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "l0", abstract: "Least squares; every feature has a price.",
        discussion: """
            With --private the best --size features are chosen among all sets of that size, then their coefficients, \
            both by the exponential mechanism on bounded losses: ε in all, δ = 0, robust to outliers. There is no \
            intercept and no standardisation then. (After Asi, Ullman and Zakynthinou, arXiv:2302.01855.)

              lacuna fit l0 survey.csv --target score --private 2 --size 2 --feature-bound 3 --target-bound 5
            """)
    @Option(in: 1...1000, help: ArgumentHelp("With --private: how many features.", valueName: "n"))
    var size = 2
    @Option(
        within: .above(0), help: ArgumentHelp("With --private: the longest vector of coefficients.", valueName: "x"))
    var radius = 2.0
    @OptionGroup var privacy: PrivacyOptions
    @OptionGroup var options: FitOptions
    func run() throws {
        guard privacy.epsilon != nil else { return try options.run(.l0) }
        let progress = try options.prepare()
        defer { progress.clear() }
        try PrivateFit(options, privacy).subset(size: size, radius: radius, progress: progress)
    }
}

struct FitPredict: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "predict", abstract: "Predicts from a model that was written with --model.")
    @Argument(
        help: ArgumentHelp("The model.", valueName: "model.json"), completion: .file(extensions: ["json"]))
    var model: String
    @Argument(
        help: "A file like the one that was fitted; its target, if any, is used to score; - is the input, as CSV.",
        completion: .file(extensions: TableFormat.endings))
    var data: InputFile
    @Option(help: ArgumentHelp("The target, to score the predictions.", valueName: "column"))
    var target: String?
    @Option(help: "Whether the first line of a CSV file has the names of the columns: yes, no or auto.")
    var header = CSVTable.Header.auto
    @Option(help: ArgumentHelp("Write the predictions; else they are printed; - is the output.", valueName: "file.csv"))
    var output: OutputFile?
    @Flag(help: "Replace files that are there already.")
    var force = false
    @OptionGroup var form: JSONOption

    func run() throws {
        try OutputFile.check([output], overwriting: force)
        let model = try FittedModel(contentsOf: model)
        let table = try FitData.read(
            data.path, target: target, group: model.groups?.column, header: header, coding: model.features)
        let predictions = model.predictions(table.design, labels: table.groups)
        var score: Double?
        if let truth = table.target {
            score =
                model.method == .logistic
                ? Double(zip(predictions, truth).count { ($0 > 0.5) == ($1 > 0) }) / Double(truth.count)
                : (zip(predictions, truth).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(truth.count))
                    .squareRoot()
        }
        let name = model.method == .logistic ? "accuracy" : "root mean square error"
        let text =
            (output == nil ? predictions.map { "\($0)" } : ["\(predictions.count) predictions in \(output?.path ?? "")"])
            + (score.map { ["\(name): \(Quantities.significant($0, 5))"] } ?? [])
        printResult(
            json: form.json,
            [
                "predictions": .array(predictions.map { .number($0) }),
                "score": score.map { .number($0) } ?? .null, "scoreName": .string(name),
            ], text: text.joined(separator: "\n"), files: [output])
        try output?.write((["prediction"] + predictions.map { "\($0)" }).joined(separator: "\n") + "\n")
    }
}
