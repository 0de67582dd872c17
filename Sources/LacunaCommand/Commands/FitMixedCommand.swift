import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaTensor

struct FitMixed: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mixed",
        abstract: "Grouped rows: a random intercept for each group, and tails that outliers cannot bend.",
        discussion: """
            Examples:
              lacuna fit mixed visits.csv --target pressure --group patient
              lacuna fit mixed visits.csv --target pressure --group patient --tail estimate --choose bic \\
                --model visits.json --report visits.html
              lacuna fit mixed yields.csv --target yield --group field --penalty mcp --degrees-of-freedom 4
              lacuna fit mixed noisy.csv --target y --lambda 0.1
              lacuna fit predict visits.json next.csv

            Rows of a group share an unknown constant of their own and, where tails are heavy, their fate: a group that lies far \
            off counts less. The tables of groups and rows with the lowest weights say which those are. Labels may be text or \
            numbers. Without --group every row is a group, which makes it robust regression.

            --tail is Tsallis' q: 1 is the normal distribution, 1.5 Student's with 3 degrees of freedom, 2 Cauchy's; 'estimate' \
            tries several, which takes several times as long. Cross-validation keeps groups whole; its loss is minus the log \
            density of a row. 'lacuna fit predict' adds the random intercepts of the groups it knows, and 0 for new ones. (Yang, \
            thesis, McGill University; Lange, Little, Taylor, JASA 1989.)
            """)

    @Option(help: ArgumentHelp("How heavy the tails are: q from 1 (normal) to below 3, or 'estimate'.", valueName: "q"))
    var tail: String?

    @Option(
        within: .above(0),
        help: ArgumentHelp("The same by Student's degrees of freedom: (3 - q)/(q - 1).", valueName: "x"))
    var degreesOfFreedom: Double?

    @Option(help: "Penalty of the coefficients: lasso, elastic-net, scad or mcp.")
    var penalty = MixedEstimator.Penalty.lasso

    @Option(
        within: .above(0, atMost: 1),
        help: ArgumentHelp("Share of the L1 penalty of the elastic net, above 0 up to 1.", valueName: "x"))
    var mixing = 0.5

    @Option(within: .above(1), help: ArgumentHelp("Shape of scad (above 2; 3.7) or mcp (above 1; 3).", valueName: "x"))
    var shape: Double?

    @Option(
        help: """
            What chooses the strength: cv (cross-validation, with --rule), or the faster bic, or ebic for many columns.
            """)
    var choose = MixedEstimator.Choice.crossValidation

    @OptionGroup var options: FitOptions

    func validate() throws {
        if tail != nil && degreesOfFreedom != nil {
            throw ValidationError("give --tail or --degrees-of-freedom, not both")
        }
        if let tail, tail != "estimate" {
            guard let q = Double(tail), q >= 1, q < 3 else {
                throw ValidationError("--tail must be 'estimate' or a number from 1 to below 3, not '\(tail)'")
            }
        }
        if let shape {
            switch penalty {
            case .scad: if !(shape > 2) { throw ValidationError("--shape must be above 2 for scad") }
            case .mcp: if !(shape > 1) { throw ValidationError("--shape must be above 1 for mcp") }
            case .lasso, .elasticNet: throw ValidationError("--shape is for --penalty scad and mcp")
            }
        }
        for (name, isGiven) in [
            ("--weights", options.weights != nil), ("--offset", options.offset != nil),
            ("--stability", options.certainty.stability != nil), ("--intervals", options.certainty.intervals != nil),
            ("--measure", options.measure != nil), ("--fold-column", options.foldColumn != nil),
        ] where isGiven { throw ValidationError("\(name) cannot be used with 'fit mixed'") }
        if choose != .crossValidation {
            if options.strength != nil { throw ValidationError("--choose chooses what --lambda says") }
            try options.refuseChoice("is for --choose cv", sparing: ["--ratio"])
        }
    }

    private var tails: [Tail] {
        get throws {
            if let degreesOfFreedom { return [try Tail(degreesOfFreedom: degreesOfFreedom)] }
            guard let tail else { return [try Tail(q: 1.5)] }
            return try Double(tail).map { [try Tail(q: $0)] } ?? MixedEstimator.candidates
        }
    }

    func run() throws {
        var estimator = MixedEstimator()
        (estimator.tails, estimator.penalty, estimator.mixing) = (try tails, penalty, mixing)
        (estimator.shape, estimator.choice, estimator.strength) = (shape, choose, options.strength)
        (estimator.strengths, estimator.tolerance) = (options.choice, options.tolerance)
        (estimator.hasIntercept, estimator.standardizes) = (!options.noIntercept, !options.noStandardize)
        let progress = try options.prepare()
        defer { progress.clear() }
        estimator.progress = progress
        let table = try options.read()
        let fit = try estimator.fit(table)
        progress.clear()
        try options.show(fit, table)
    }
}

extension MixedEstimator.Penalty: ExpressibleByArgument {}
extension MixedEstimator.Choice: ExpressibleByArgument {}
