import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaTensor

/// What the target is.
struct FamilyOptions: ParsableArguments {
    enum Name: String, ExpressibleByArgument, CaseIterable {
        case gaussian, binomial, multinomial, poisson, huber, quantile, cox
    }

    @Option(
        name: .customLong("family"),
        help:
            """
            What the target is: gaussian (numbers), binomial, multinomial (classes), poisson (counts), huber, quantile, or cox \
            (times to an event, with --event).
            """)
    var name = Name.gaussian

    @Option(
        name: .customLong("huber-delta"), within: .above(0),
        help: ArgumentHelp(
            "With huber: the error from which it counts by its size alone; 1.345 spreads if not given.", valueName: "x")
    )
    var delta: Double?

    @Option(
        within: .above(0, below: 1), help: ArgumentHelp("With quantile: which, between 0 and 1.", valueName: "x"))
    var quantile: Double?

    @Option(
        help: ArgumentHelp(
            "With cox: the column that says which rows had the event, and which were lost from sight (1 or 0, yes or no).",
            valueName: "column"))
    var event: String?

    @Option(help: "With cox: what becomes of events at equal times, efron or breslow.")
    var ties: CoxLoss.Ties?

    func validate() throws {
        if delta != nil && name != .huber { throw ValidationError("--huber-delta is for --family huber") }
        if quantile != nil && name != .quantile { throw ValidationError("--quantile is for --family quantile") }
        if name != .cox && event != nil { throw ValidationError("--event is for --family cox") }
        if name != .cox && ties != nil { throw ValidationError("--ties is for --family cox") }
        if name == .cox && event == nil {
            throw ValidationError("--family cox needs --event, the column that says which rows had the event")
        }
    }

    func requireGaussian() throws {
        if name != .gaussian { throw LacunaError.invalidArgument("--family", reason: "cannot be used with --private") }
    }

    var family: Family {
        switch name {
        case .gaussian: .gaussian
        case .binomial: .binomial
        case .multinomial: .multinomial
        case .poisson: .poisson
        case .huber: .huber(delta: delta)
        case .quantile: .quantile(quantile ?? 0.5)
        case .cox: .cox(ties: ties ?? .efron)
        }
    }
}

/// What lasso, elastic net and ridge take beside the strength.
struct ElasticOptions: ParsableArguments {
    @Flag(help: "Coefficients from 0 up only.")
    var positive = false

    @Option(
        within: .above(-.greatestFiniteMagnitude, atMost: 0),
        help: ArgumentHelp("The least that a coefficient may be, 0 or below.", valueName: "x"))
    var lower: Double?

    @Option(within: .atLeast(0), help: ArgumentHelp("The most that a coefficient may be, 0 or above.", valueName: "x"))
    var upper: Double?

    @Option(
        within: .above(0),
        help: ArgumentHelp(
            "Penalise each column by its coefficient in a first fit to the power of minus this (the adaptive lasso).",
            valueName: "x"))
    var adaptive: Double?

    @Option(
        help: ArgumentHelp(
            "A .csv file with columns 'feature' and 'factor': how much each is penalised.", valueName: "file"))
    var factors: InputFile?

    @Flag(help: "Fit what was selected again, without a penalty.")
    var relaxed = false

    func validate() throws {
        if positive && lower != nil { throw ValidationError("give --positive or --lower, not both") }
        if adaptive != nil && factors != nil { throw ValidationError("give --adaptive or --factors, not both") }
    }

    /// The options that are given, by name.
    var given: [String] {
        [
            ("--positive", positive), ("--lower", lower != nil), ("--upper", upper != nil),
            ("--adaptive", adaptive != nil), ("--factors", factors != nil), ("--relaxed", relaxed),
        ].filter(\.1).map(\.0)
    }

    /// All that does not depend on the table.
    func set(_ estimator: inout Estimator) {
        estimator.lower = positive ? 0 : lower ?? -.infinity
        estimator.upper = upper ?? .infinity
        estimator.adaptivePower = adaptive
        estimator.isRelaxed = relaxed
    }

    func setFactors(_ estimator: inout Estimator, _ table: LacunaRegress.Table) throws {
        if let factors {
            estimator.factors = try table.numbers(
                of: CSVTable(contentsOf: factors.path), column: "factor", file: factors.path)
        }
    }
}

/// What every method takes.
struct FitOptions: ParsableArguments {
    @OptionGroup var source: TableOptions

    @Option(help: ArgumentHelp("A column of sample weights.", valueName: "column"))
    var weights: String?

    @Option(help: ArgumentHelp("A column that is added to the predictor as it is.", valueName: "column"))
    var offset: String?

    @Option(
        name: .customLong("lambda"), within: .atLeast(0),
        help: ArgumentHelp("Strength of the penalty; by cross-validation if not given.", valueName: "x"))
    var strength: Double?

    @Option(help: "Which strength cross-validation chooses: 1se (if not given) or min.")
    var rule: StrengthChoice.Rule?

    @Option(
        help:
            """
            What cross-validation measures: loss (if not given), mae (absolute error), errors (of classes), auc, or concordance \
            (of times of events).
            """)
    var measure: StrengthChoice.Measure?

    @Option(in: 2...1000, help: ArgumentHelp("Folds of the cross-validation; 5 if not given.", valueName: "n"))
    var folds: Int?

    @Option(help: ArgumentHelp("A column that says which fold each row is in.", valueName: "column"))
    var foldColumn: String?

    @Option(help: ArgumentHelp("A column of labels: rows of equal labels stay in one fold.", valueName: "column"))
    var group: String?

    @Option(in: 2...10_000, help: ArgumentHelp("Strengths on the path; 100 if not given.", valueName: "n"))
    var count: Int?

    @Option(
        within: .above(0, below: 1),
        help: ArgumentHelp(
            "The smallest strength of the path over the largest; 0.01 if not given.", valueName: "x"))
    var ratio: Double?

    @Option(seed: ArgumentHelp("Changes the folds and the samples drawn.", valueName: "n"))
    var seed: UInt64 = 0

    @Option(
        within: .above(0, below: 1),
        help: ArgumentHelp("Relative duality gap, or distance to stationarity, to reach.", valueName: "x"))
    var tolerance = 1e-7

    @Flag(help: "Fit without a constant.")
    var noIntercept = false

    @Flag(help: "Penalise columns as they are, not per standard deviation.")
    var noStandardize = false

    @OptionGroup var certainty: CertaintyOptions

    @Option(in: 0...1_000_000_000, help: ArgumentHelp("Rows of the table at most.", valueName: "n"))
    var top = 30

    @Option(help: ArgumentHelp("Write the model, for 'lacuna fit predict'; - is the output.", valueName: "file.json"))
    var model: OutputFile?

    @Option(
        help: ArgumentHelp(
            "Write the coefficients at every strength of the path; - is the output.", valueName: "file.csv"))
    var coefficients: OutputFile?

    @Option(help: ArgumentHelp("Write a page with tables and plots; - is the output.", valueName: "file.html"))
    var report: OutputFile?

    @Flag(help: "Replace files that are there already.")
    var force = false

    @OptionGroup var form: JSONOption
    @OptionGroup var options: RunOptions

    func validate() throws {
        if strength != nil { try refuseChoice("is for the cross-validation that --lambda leaves out") }
        if foldColumn != nil && group != nil { throw ValidationError("give --fold-column or --group, not both") }
    }

    /// Refuses the options that choose a strength, where nothing is chosen: what is not heeded must not pass for heeded.
    ///
    /// - Parameter sparing: Options that count all the same.
    func refuseChoice(_ reason: String, sparing: Set<String> = []) throws {
        for (name, isGiven) in [
            ("--rule", rule != nil), ("--measure", measure != nil), ("--folds", folds != nil),
            ("--fold-column", foldColumn != nil), ("--ratio", ratio != nil),
        ] where isGiven && !sparing.contains(name) { throw ValidationError("\(name) \(reason)") }
    }

    /// Checks what can be checked before anything is read.
    @discardableResult
    func prepare() throws -> ProgressDisplay {
        try OutputFile.check([model, report, coefficients], overwriting: force)
        try source.requireTarget()
        return options.begin()
    }

    var choice: StrengthChoice {
        var choice = StrengthChoice()
        choice.seed = seed
        if let rule { choice.rule = rule }
        if let measure { choice.measure = measure }
        if let folds { choice.folds = folds }
        if let count { choice.count = count }
        if let ratio { choice.ratio = ratio }
        return choice
    }

    func read(event: String? = nil) throws -> LacunaRegress.Table {
        try source.read(quiet: options.quiet) { layout in
            (layout.weights, layout.offset, layout.group, layout.fold) = (weights, offset, group, foldColumn)
            layout.event = event
        }
    }

    /// - Parameters:
    ///   - method: What to call it; as the regularizer for nil.
    ///   - event: The column of events.
    ///   - adjust: What depends on the table.
    func run(
        _ regularizer: Regularizer, _ family: Family, _ elastic: ElasticOptions? = nil, method: String? = nil,
        event: String? = nil,
        _ adjust: (inout Estimator, LacunaRegress.Table) throws -> Void = { _, _ in }
    ) throws {
        var estimator = Estimator(regularizer, family: family, strength: strength)
        (estimator.choice, estimator.tolerance) = (choice, tolerance)
        (estimator.hasIntercept, estimator.standardizes) = (!noIntercept, !noStandardize)
        elastic?.set(&estimator)
        try estimator.validate(responses: source.target?.names.count ?? 1)
        try certainty.validate(estimator, hasWeights: weights != nil, hasFactors: elastic?.factors != nil)
        if group != nil && strength != nil && !certainty.drawsRows {
            throw LacunaError.invalidArgument(
                "--group",
                reason: "keeps rows together in cross-validation, --stability and the bootstrap: there is none")
        }
        let progress = try prepare()
        defer { progress.clear() }
        estimator.progress = progress
        let table = try read(event: event)
        try elastic?.setFactors(&estimator, table)
        try adjust(&estimator, table)
        var fit = try estimator.fit(table)
        let sure = try certainty.measure(estimator, table, fit, seed: seed)
        progress.clear()
        if let method { fit.rename(method) }
        try show(fit, table, sure)
    }

    func show(_ fit: Fit, _ table: LacunaRegress.Table, _ sure: Certainty? = nil) throws {
        let report = FitReport(
            data: source.data.path, rows: table.rows, fit: fit, choice: choice, folds: table.folds,
            certainty: sure, limit: top, mixed: fit.mixed.map { MixedReport(outcome: $0, table: table, limit: top) })
        printResult(
            json: form.json, report.json, text: report.summary(console: .output),
            files: [model, self.report, coefficients])
        try model?.write { try fit.model.serialize(to: $0) }
        try self.report?.write(report.page.html())
        try coefficients?.write(fit.pathTable)
    }
}

extension CoxLoss.Ties: ExpressibleByArgument {}
extension StrengthChoice.Rule: ExpressibleByArgument {}
extension StrengthChoice.Measure: ExpressibleByArgument {}
