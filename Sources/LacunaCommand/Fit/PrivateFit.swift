import ArgumentParser
import LacunaIO
import LacunaRegress
import LacunaTensor

/// What a private fit takes beside the data.
struct PrivacyOptions: ParsableArguments {
    @Option(
        name: .customLong("private"), within: .above(0),
        help: ArgumentHelp("Fit with differential privacy of this ε for every row.", valueName: "epsilon"))
    var epsilon: Double?

    @Option(
        within: .from(0, below: 1),
        help: ArgumentHelp(
            "With --private: δ of the privacy; 1e-6 if not given, and 0 for l0, which takes none.", valueName: "x"))
    var delta: Double?

    @Option(
        within: .above(0),
        help: ArgumentHelp("With --private: magnitude to which features are clipped.", valueName: "x"))
    var featureBound: Double?

    @Option(
        within: .above(0),
        help: ArgumentHelp("With --private: magnitude to which the target is clipped.", valueName: "x"))
    var targetBound: Double?

    @Option(
        seed: ArgumentHelp(
            "Seed of the privacy noise, for tests: whoever knows it can undo the privacy.", valueName: "n"))
    var noiseSeed: UInt64?

    func validate() throws {
        guard epsilon != nil else {
            if featureBound != nil || targetBound != nil || noiseSeed != nil || delta != nil {
                throw ValidationError("--feature-bound, --target-bound, --delta and --noise-seed belong to --private")
            }
            return
        }
        if featureBound == nil || targetBound == nil {
            throw ValidationError(
                "--private needs --feature-bound and --target-bound; they must come from knowledge of the "
                    + "subject, not from these rows")
        }
    }
}

/// A private fit and how it is shown.
struct PrivateFit {
    let data: LacunaRegress.Table
    let path: String
    let options: FitOptions
    let privacy: PrivacyOptions
    let target: [Double]

    init(_ options: FitOptions, _ privacy: PrivacyOptions) throws {
        let source = options.source
        try options.refuseChoice("would look at the rows that --private hides")
        if options.count != nil { throw ValidationError("--count is for a path, of which --private has none") }
        for (option, reason, isGiven) in [
            ("--report", "would show what --private hides", options.report != nil),
            ("--coefficients", "would show what --private hides", options.coefficients != nil),
            (
                "--missing", "mean and drop depend on which of the rows that --private hides have gaps",
                source.columns.missing != .error
            ),
            ("--text", "shows or depends on values of the rows that --private hides", source.words.text != .error),
            ("--category", "shows values of the rows that --private hides", source.category != nil),
            ("--dates", "depends on the rows that --private hides", source.dates != .text),
            ("--weights", "cannot be used with --private", options.weights != nil),
            ("--offset", "cannot be used with --private", options.offset != nil),
            ("--group", "cannot be used with --private", options.group != nil),
            ("--stability", "would show what --private hides", options.certainty.stability != nil),
            ("--intervals", "would show what --private hides", options.certainty.intervals != nil),
        ] where isGiven { throw LacunaError.invalidArgument(option, reason: reason) }
        // Which columns there are, the header alone decides.
        data = try LacunaRegress.Table(numbersOf: source.data.path, source.layout)
        guard let values = data.responses.first?.numbers, data.responses.count == 1 else {
            throw LacunaError.invalidArgument("--target", reason: "one column is needed")
        }
        guard data.design.columns > 0 else {
            throw LacunaError.malformed(
                file: source.data.path, location: "columns", reason: "there is none beside the target")
        }
        path = source.data.path
        target = values
        self.options = options
        self.privacy = privacy
    }

    private var generator: SeededGenerator { privacy.noiseSeed.map { SeededGenerator(seed: $0) } ?? .unpredictable() }
    private var bounds: (feature: Double, target: Double) { (privacy.featureBound ?? 0, privacy.targetBound ?? 0) }

    /// The sums of clipped rows with the noise that randomising every row would add; soft thresholding.
    func lasso() throws {
        let model = try LocalSparseRegression(
            columns: data.design.columns,
            budget: PrivacyBudget(epsilon: privacy.epsilon ?? 0, delta: privacy.delta ?? 1e-6),
            featureBound: bounds.feature, targetBound: bounds.target)
        var generator = generator
        let sums = try model.aggregate(data.design, target, using: &generator)
        let estimate = try model.estimate(sums, threshold: options.strength.map { .fixed($0) } ?? .universal)
        try show(
            "lasso", estimate.coefficients, strength: estimate.thresholds.max() ?? 0, model.account,
            notes: estimate.isNoiseDominated
                ? [
                    "The noise is larger than the features' covariance: with \(data.design.columns) columns and this ε far "
                        + "more rows are needed. Do not rely on these numbers."
                ] : [])
    }

    /// A support and its coefficients by the exponential mechanism.
    func subset(size: Int, radius: Double, progress: ProgressDisplay) throws {
        if options.strength != nil {
            throw LacunaError.invalidArgument("--lambda", reason: "has no meaning with --private, where --size counts")
        }
        let model = try PrivateSubsetRegression(
            epsilon: privacy.epsilon ?? 0, size: size, featureBound: bounds.feature, targetBound: bounds.target,
            radius: radius, progress: progress)
        var generator = generator
        let estimate = try model.fit(data.design, target, using: &generator)
        var coefficients = [Double](repeating: 0, count: data.design.columns)
        for (j, value) in zip(estimate.support, estimate.values) { coefficients[j] = value }
        progress.clear()
        try show(
            "l0", coefficients, strength: 0, model.account,
            notes: [
                "\(Quantities.grouped(estimate.candidates)) supports; coefficients are multiples of "
                    + Quantities.significant(estimate.spacing, 3)
            ])
    }

    private func show(
        _ method: String, _ coefficients: [Double], strength: Double, _ account: PrivacyAccount, notes: [String]
    ) throws {
        var notes = notes
        if privacy.noiseSeed != nil {
            notes.append("The noise can be drawn again from --noise-seed: this is not private.")
        }
        let model = LinearModel(
            method: method, family: .gaussian, features: data.features, coefficients: [coefficients], intercepts: [0],
            strength: strength, isZeroBased: data.isZeroBased)
        notes.append(
            "Noise is made of floating-point numbers by a generator that is fast, not cryptographic; sums are rounded to a grid "
                + "after it, so that low bits tell nothing of a row.")
        var releases = Table([.left("release"), .left("mechanism"), .right("ε"), .right("δ")])
        func row(_ name: String, _ mechanism: String, _ budget: PrivacyBudget) {
            releases.append([
                name, mechanism, Quantities.significant(budget.epsilon, 4),
                budget.delta == 0 ? "0" : "\(budget.delta)",
            ])
        }
        for release in account.releases { row(release.name, release.mechanism, release.budget) }
        row("together", "", account.total)
        let selected = coefficients.indices.filter { coefficients[$0] != 0 }
            .sorted { (abs(coefficients[$0]), $1) > (abs(coefficients[$1]), $0) }
        var table = Table([.left("feature"), .right("coefficient")])
        for j in selected.prefix(options.top) {
            table.append([data.features[j].name, Quantities.significant(coefficients[j], 6)])
        }
        let rows = Quantities.grouped(data.design.rows)
        let text =
            [
                "\(path): \(rows) rows, \(data.features.count) features; \(selected.count) selected, without intercept",
                account.model == .local
                    ? "privacy of every row, with the noise of rows that are randomised one by one; the rows themselves are "
                        + "trusted to this program:"
                    : "privacy of every row, the rows themselves being "
                        + "trusted to this program:",
                releases.text(console: .output), "", table.text(console: .output),
            ] + (notes.isEmpty ? [] : [""]) + notes
        var json = model.heading
        json["features"] = .array(
            selected.map { ["name": .string(data.features[$0].name), "coefficient": .number(coefficients[$0])] })
        json["rows"] = JSONValue(data.design.rows)
        json["privacy"] = [
            "model": .string(account.model.rawValue), "epsilon": .number(account.total.epsilon),
            "delta": .number(account.total.delta), "isPrivate": .bool(privacy.noiseSeed == nil),
            "releases": .array(
                account.releases.map {
                    [
                        "name": .string($0.name), "mechanism": .string($0.mechanism),
                        "epsilon": .number($0.budget.epsilon), "delta": .number($0.budget.delta),
                    ]
                }),
        ]
        json["notes"] = .array(notes.map { .string($0) })
        printResult(
            json: options.form.json, .object(json), text: text.joined(separator: "\n"), files: [options.model])
        try options.model?.write { try model.serialize(to: $0) }
    }
}
