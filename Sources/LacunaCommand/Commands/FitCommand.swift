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
              lacuna fit inspect houses.csv
              lacuna fit lasso houses.csv --target price --intervals debiased
              lacuna fit logistic patients.csv --target ill --missing mean --text one-hot \\
                --model ill.json --report ill.html
              lacuna fit elastic-net accidents.csv --target count --family poisson --offset log_km
              lacuna fit scad expression.npz --target y --rule min
              lacuna fit lasso patients.csv --target days --family cox --event died
              lacuna fit l0 houses.csv --target price --size 3
              lacuna fit predict ill.json new.csv --output predicted.csv
              lacuna fit screen expression.csv --target y --top 20
              lacuna fit mixed visits.csv --target pressure --group patient
              lacuna fit dag sensors.csv --svg effects.svg
              lacuna fit l0 survey.csv --target score --private 2 --feature-bound 3 --target-bound 5

            DATA is a .csv or .tsv file with a header, plain or gzipped, a .svm file (SVMlight), .npy, .npz (arrays X and y, or a \
            sparse matrix of scipy) or .mtx (MatrixMarket). A .npy file of doubles in Fortran order (numpy.asfortranarray) is used \
            where it lies, mapped, and may be larger than memory; its target is a file of its own, or the first or last column.

            Without --lambda, the strength of the penalty is chosen by cross-validation: the largest within one standard \
            error of the best (--rule 1se), or the best (--rule min). Columns are standardised for the fit; coefficients are \
            printed for the columns as they are. How sure a choice is, --stability and --intervals say.
            """,
        subcommands: [
            FitInspect.self, FitLasso.self, FitElasticNet.self, FitRidge.self, FitLogistic.self, FitMultinomial.self,
            FitGroupLasso.self, FitSCAD.self, FitMCP.self, FitSLOPE.self, FitL0.self, FitMixed.self, FitPredict.self,
            FitScreen.self, FitLaw.self,
            FitDAG.self, FitShift.self, FitPrivateSurvey.self, FitPrivateMessage.self, FitPrivateSum.self,
        ])
}

struct FitLasso: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lasso", abstract: "An L1 penalty: few columns, shrunk coefficients.",
        discussion: """
            With --private every row is clipped, and noise is added to the sums over all rows that would suffice if every row \
            were randomised by itself; that takes very many rows and few columns. This program sees the rows as they are and has \
            to be trusted with them. There is no intercept, no standardisation and no cross-validation then, because they would \
            look at the rows; a field that is no number counts as 0, so that no row decides what the columns are; --lambda is \
            the soft threshold, which by default follows from the known noise. Noise is made of floating-point numbers by a \
            fast generator, not a cryptographic one, and sums are rounded to a grid after it, so that low bits tell nothing of a \
            row (Mironov, CCS 2012). (Zhu and others, arXiv:2310.07367.)

              lacuna fit lasso visits.csv --target minutes --private 1 --feature-bound 3 --target-bound 10
            """)
    @OptionGroup var privacy: PrivacyOptions
    @OptionGroup var shape: ElasticOptions
    @OptionGroup var family: FamilyOptions
    @OptionGroup var options: FitOptions
    func run() throws {
        guard privacy.epsilon != nil else { return try options.run(.lasso, family.family, shape, event: family.event) }
        try family.requireGaussian()
        if let option = shape.given.first {
            throw LacunaError.invalidArgument(option, reason: "cannot be used with --private")
        }
        try options.prepare()
        try PrivateFit(options, privacy).lasso()
    }
}

struct FitElasticNet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "elastic-net", abstract: "L1 and L2 penalties: alike columns come together.",
        discussion: """
            The penalty is lambda times mixing |b| + (1 - mixing)/2 b². Where the strength is chosen, the share is that for a \
            target in units of its standard deviation, so that the choice does not depend on its unit; the strength and the \
            share that are printed are those for the target as it is.
            """)
    @Option(within: .from(0, to: 1), help: ArgumentHelp("Share of the L1 penalty, from 0 to 1.", valueName: "x"))
    var mixing = 0.5
    @OptionGroup var shape: ElasticOptions
    @OptionGroup var family: FamilyOptions
    @OptionGroup var options: FitOptions
    func run() throws { try options.run(.elasticNet(mixing: mixing), family.family, shape, event: family.event) }
}

struct FitRidge: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ridge", abstract: "An L2 penalty: all columns, shrunk coefficients.")
    @OptionGroup var shape: ElasticOptions
    @OptionGroup var family: FamilyOptions
    @OptionGroup var options: FitOptions
    func run() throws { try options.run(.ridge, family.family, shape, event: family.event) }
}

struct FitLogistic: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logistic", abstract: "Two classes, with an L1 (or elastic net) penalty.")
    @Option(within: .from(0, to: 1), help: ArgumentHelp("Share of the L1 penalty, from 0 to 1.", valueName: "x"))
    var mixing = 1.0
    @OptionGroup var shape: ElasticOptions
    @OptionGroup var options: FitOptions
    func run() throws { try options.run(.elasticNet(mixing: mixing), .binomial, shape, method: "logistic") }
}

struct FitMultinomial: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "multinomial", abstract: "Several classes, with an L1 (or elastic net) penalty.",
        discussion: "Every class has coefficients of its own; --joint selects the same columns for all of them.")
    @Option(within: .from(0, to: 1), help: ArgumentHelp("Share of the L1 penalty, from 0 to 1.", valueName: "x"))
    var mixing = 1.0
    @Flag(help: "Columns enter for all classes or for none.")
    var joint = false
    @OptionGroup var shape: ElasticOptions
    @OptionGroup var options: FitOptions
    func validate() throws {
        if joint, let option = (mixing < 1 ? ["--mixing"] : shape.given).first {
            throw ValidationError("\(option) cannot be used with --joint, which penalises columns as groups")
        }
    }
    func run() throws {
        try options.run(.elasticNet(mixing: mixing), .multinomial, shape, method: "multinomial") { estimator, table in
            if joint { estimator.regularizer = .group(.singletons(table.design.columns), mixing: 0) }
        }
    }
}

struct FitGroupLasso: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group-lasso", abstract: "Columns enter by groups.",
        discussion: """
            One-hot features of one column are a group unless --groups or --group-size says otherwise. With --mixing above 0 \
            single columns of a group are left out too (the sparse group lasso).
            """)
    @Option(in: 1...1_000_000_000, help: ArgumentHelp("Runs of so many columns are groups.", valueName: "n"))
    var groupSize: Int?
    @Option(help: ArgumentHelp("A .csv file with columns 'feature' and 'group'.", valueName: "file"))
    var groups: InputFile?
    @Option(within: .from(0, to: 1), help: ArgumentHelp("Share of an L1 penalty beside, from 0 to 1.", valueName: "x"))
    var mixing = 0.0
    @OptionGroup var family: FamilyOptions
    @OptionGroup var options: FitOptions
    func validate() throws {
        if groupSize != nil && groups != nil { throw ValidationError("give --group-size or --groups, not both") }
    }
    func run() throws {
        try options.run(.lasso, family.family, event: family.event) { estimator, table in
            let groups =
                try groupSize.map { Groups.runs(of: $0, columns: table.design.columns) }
                ?? Groups(of: table, names: groups.map { try CSVTable(contentsOf: $0.path) })
            estimator.regularizer = .group(groups, mixing: mixing)
        }
    }
}

struct FitSCAD: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scad", abstract: "Few columns, of which large coefficients are not shrunk (SCAD).")
    @Option(within: .above(2), help: ArgumentHelp("a, above 2.", valueName: "x"))
    var shape = 3.7
    @OptionGroup var family: FamilyOptions
    @OptionGroup var options: FitOptions
    func run() throws { try options.run(.scad(shape: shape), family.family, event: family.event) }
}

struct FitMCP: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mcp", abstract: "Few columns, of which large coefficients are not shrunk (MCP).")
    @Option(within: .above(1), help: ArgumentHelp("γ, above 1.", valueName: "x"))
    var shape = 3.0
    @OptionGroup var family: FamilyOptions
    @OptionGroup var options: FitOptions
    func run() throws { try options.run(.mcp(shape: shape), family.family, event: family.event) }
}

struct FitSLOPE: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "slope",
        abstract: "Large coefficients pay more (SLOPE): few false selections, alike columns alike.",
        discussion: """
            The largest coefficient pays lambda for its size, the next ones less: as the critical values of Benjamini and Hochberg \
            for --rate, or on a line from 1 to --oscar times lambda. Columns that tell the same get coefficients of the same size. \
            (Bogdan and others, arXiv:1407.3824.)
            """)
    @Option(
        within: .above(0, below: 1),
        help: ArgumentHelp("Rate of false discoveries that the penalties follow; 0.1 if not given.", valueName: "x"))
    var rate: Double?
    @Option(
        within: .from(0, to: 1),
        help: ArgumentHelp("Penalties on a line that ends at this share of the first.", valueName: "x"))
    var oscar: Double?
    @OptionGroup var family: FamilyOptions
    @OptionGroup var options: FitOptions
    func validate() throws {
        if rate != nil && oscar != nil { throw ValidationError("give --rate or --oscar, not both") }
    }
    func run() throws {
        try options.run(
            .slope(oscar.map { .line(to: $0) } ?? .falseDiscoveries(rate: rate ?? 0.1)), family.family,
            event: family.event)
    }
}

/// How many features: a number, or as many as cross-validation chooses.
struct SubsetSize: CustomStringConvertible {
    /// Nil for cross-validation.
    let count: Int?

    var description: String { count.map { String($0) } ?? "cv" }
}

struct FitL0: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "l0", abstract: "Every feature has a price; or exactly so many features.",
        discussion: """
            With --size exactly so many features are chosen, those with which an unpenalised fit loses least; --size cv lets \
            cross-validation choose how many. For least squares no exchange of one feature for another fits better, and where there \
            are more rows than features it is often proven that no other set does; the output says which. (Zhu and others, PNAS \
            2020; Furnival and Wilson, Technometrics 1974.)

            With --private the best --size features are chosen among all sets of that size, then their coefficients, \
            both by the exponential mechanism on bounded losses: ε in all, δ = 0, robust to outliers. There is no \
            intercept and no standardisation then; a field that is no number counts as 0, so that no row decides what the \
            columns are; choices are made with floating-point numbers by a fast generator, not a cryptographic one. (After Asi, Ullman and Zakynthinou, arXiv:2302.01855.)

              lacuna fit l0 survey.csv --target score --private 2 --size 2 --feature-bound 3 --target-bound 5
            """)
    @Option(
        in: 1...1000, or: "cv",
        help: ArgumentHelp("How many features, or cv; with --private 2 if not given.", valueName: "n|cv"))
    var size: SubsetSize?
    @Option(
        within: .above(0),
        help: ArgumentHelp("With --private: the longest vector of coefficients; 2 if not given.", valueName: "x"))
    var radius: Double?
    @OptionGroup var privacy: PrivacyOptions
    @OptionGroup var family: FamilyOptions
    @OptionGroup var options: FitOptions
    func validate() throws {
        if radius != nil && privacy.epsilon == nil { throw ValidationError("--radius belongs to --private") }
        if privacy.delta ?? 0 > 0 {
            throw ValidationError("--delta is spent by 'fit lasso --private'; l0 spends ε alone")
        }
        guard let size, privacy.epsilon == nil else { return }
        if size.count != nil { try options.refuseChoice("is for cross-validation; --size says how many features") }
        if options.ratio != nil || options.count != nil {
            throw ValidationError("--ratio and --count are for strengths; --size counts features")
        }
    }
    func run() throws {
        guard privacy.epsilon != nil else {
            let regularizer: Regularizer = size.map { .subset(size: $0.count) } ?? .l0
            return try options.run(regularizer, family.family, event: family.event)
        }
        try family.requireGaussian()
        if let size, size.count == nil {
            throw LacunaError.invalidArgument("--size", reason: "cv would look at the rows that --private hides")
        }
        let progress = try options.prepare()
        defer { progress.clear() }
        try PrivateFit(options, privacy).subset(size: size?.count ?? 2, radius: radius ?? 2, progress: progress)
    }
}
