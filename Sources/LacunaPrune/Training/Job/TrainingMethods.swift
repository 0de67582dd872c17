import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Named options of a method, from wherever they come.
public protocol MethodOptions {
    /// The number of a name, nil if nothing is said; throws for something else, as all of these.
    func number(_ name: String) throws -> Double?
    /// The whole number of a name, nil if nothing is said.
    func integer(_ name: String) throws -> Int?
    /// The words of a name, nil if nothing is said.
    func text(_ name: String) throws -> String?
    /// The truth value of a name, nil if nothing is said.
    func truth(_ name: String) throws -> Bool?
    /// The seed of the run.
    var seed: UInt64 { get }
}

extension MethodOptions {
    /// - Throws: `LacunaError.invalidArgument` for a number outside `range`.
    fileprivate func integer(_ name: String, in range: ClosedRange<Int>) throws -> Int? {
        guard let value = try integer(name) else { return nil }
        guard range.contains(value) else {
            throw LacunaError.invalidArgument(
                name, reason: "\(value) is not in \(range.lowerBound)...\(range.upperBound)")
        }
        return value
    }
}

/// Every method that trains sparse networks, by name.
public enum TrainingMethods {
    private typealias Maker = @Sendable (any MethodOptions) throws -> any TrainingMethod

    private static func layers(_ options: any MethodOptions, default choice: LayerChoice) throws -> LayerChoice {
        try options.text("layers").map { LayerChoice($0) } ?? choice
    }

    private static func sparsity(_ options: any MethodOptions) throws -> Double {
        guard let value = try options.number("sparsity") else {
            throw LacunaError.invalidArgument("sparsity", reason: "is missing")
        }
        guard (0...1).contains(value) else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(value) is not in 0...1")
        }
        return value
    }

    private static func budget(_ options: any MethodOptions) throws -> any SparsityBudget {
        let sparsity = try sparsity(options)
        switch try options.text("budget") ?? "erk" {
        case "uniform": return UniformBudget(sparsity)
        case "erk": return ErdosRenyiBudget(sparsity)
        case "erk+": return ErdosRenyiBudget(sparsity, lastDensity: 1)
        case "uniform+": return UniformPlusBudget(sparsity)
        case let name:
            throw LacunaError.invalidArgument("budget", reason: "'\(name)' is none of uniform, uniform+, erk, erk+")
        }
    }

    private static func storage(_ options: any MethodOptions) throws -> StorageLayout {
        try .trainable(options.text("storage") ?? "csr")
    }

    private static func pattern(_ options: any MethodOptions) throws -> Pattern {
        try Pattern(options.text("pattern") ?? "2:4")
    }

    /// One of the cases of an enumeration, by name.
    private static func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _ options: any MethodOptions, default value: Choice
    ) throws -> Choice {
        guard let text = try options.text(name) else { return value }
        guard let found = Choice(rawValue: text) else {
            let names = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            throw LacunaError.invalidArgument(name, reason: "'\(text)' is none of \(names)")
        }
        return found
    }

    private static func moves(
        _ growth: DropAndGrow.Growth, _ budget: any SparsityBudget, _ options: any MethodOptions
    ) throws -> DropAndGrow.Settings {
        var settings = DropAndGrow.Settings(budget: budget, growth: growth)
        settings.layers = try layers(options, default: .all)
        settings.storage = try storage(options)
        if let value = try options.integer("interval", in: 1...1_000_000_000) { settings.interval = value }
        if let value = try options.number("fraction") { settings.fraction = value }
        if let value = try options.number("end") { settings.end = value }
        return settings
    }

    private static func dropAndGrow(_ growth: DropAndGrow.Growth) -> Maker {
        { try DropAndGrow(moves(growth, budget($0), $0)) }
    }

    /// Pruning by what layers read, by the name of a method of `lacuna prune`.
    private static func calibrated(_ name: String, _ options: any MethodOptions) throws -> CalibratedPruning {
        var plan = PruningPlan(
            method: name, pattern: try options.text("pattern"), sparsity: try options.number("sparsity"), values: .f32,
            seed: options.seed)
        if let name = try options.text("budget") {
            guard let budget = PruningPlan.Budget(rawValue: name) else {
                let names = PruningPlan.Budget.allCases.map(\.rawValue).joined(separator: ", ")
                throw LacunaError.invalidArgument("budget", reason: "'\(name)' is none of \(names)")
            }
            plan.budget = budget
        }
        let pruner: Pruner
        do {
            pruner = try plan.pruner()
        } catch let LacunaError.invalidArgument("method", reason) {
            throw LacunaError.invalidArgument("by", reason: reason)
        }
        if pruner.pattern?.impliedSparsity == nil { _ = try sparsity(options) }
        return try CalibratedPruning(
            pruner, layers: layers(options, default: .allButOutput),
            storage: .trainable(options.text("storage") ?? "masked"),
            sequences: options.integer("sequences", in: 1...1_000_000) ?? CalibrationSet.defaultSequences,
            length: options.integer("length", in: 1...1_000_000))
    }

    /// Masks that move, for one task after the other.
    private static func subnetworks(_ options: any MethodOptions) throws -> IsolatedSubnetworks {
        let name = try options.text("growth") ?? "random"
        guard let growth = DropAndGrow.Growth(rawValue: name) else {
            let names = DropAndGrow.Growth.allCases.map(\.rawValue).joined(separator: ", ")
            throw LacunaError.invalidArgument("growth", reason: "'\(name)' is none of \(names)")
        }
        var settings = IsolatedSubnetworks.settings(budget: try budget(options), growth: growth)
        settings.layers = try layers(options, default: .all)
        if let value = try options.integer("interval", in: 1...1_000_000_000) { settings.interval = value }
        if let value = try options.number("fraction") { settings.fraction = value }
        if let value = try options.number("end") { settings.end = value }
        return try IsolatedSubnetworks(settings)
    }

    private static func sharp(_ options: any MethodOptions) throws -> SHARP {
        var settings = SHARP.Settings()
        if let value = try options.number("density") { settings.density = value }
        if let value = try options.integer("early", in: 1...1000) { settings.earlyLayers = value }
        if let value = try options.integer("phases", in: 1...100_000) { settings.phases = value }
        if let value = try options.number("share") { settings.leastShare = value }
        if let value = try options.number("temperature") { settings.temperature = value }
        if let value = try options.integer("replay", in: 0...1_000_000) { settings.replay = value }
        if let value = try options.integer("memory", in: 1...1000) { settings.memory = value }
        if let value = try options.integer("exemplars", in: 1...1_000_000) { settings.exemplars = value }
        if let value = try options.integer("neighbours", in: 1...1_000_000) { settings.neighbours = value }
        return try SHARP(settings)
    }

    private static let makers: [(name: String, make: Maker)] = [
        (
            "static",
            { options in
                let ratios = try options.text("budget").flatMap { SaliencyRatios(rawValue: $0) }
                return try StaticRandomSparsity(
                    budget: ratios == nil ? budget(options) : UniformBudget(sparsity(options)),
                    layers: layers(options, default: .all), storage: storage(options),
                    rescalesWeights: options.truth("rescale") ?? true, ratios: ratios)
            }
        ),
        (
            "prune",
            { options in
                if let name = try options.text("by"), name != "magnitude" { return try calibrated(name, options) }
                let pattern = try Pattern(options.text("pattern") ?? "unstructured")
                var budget: (any SparsityBudget)?
                if pattern.impliedSparsity == nil {
                    let sparsity = try sparsity(options)
                    let name = try options.text("budget") ?? "uniform"
                    budget =
                        name == "uniform"
                        ? UniformBudget(sparsity)
                        : name == "global" ? GlobalBudget(sparsity) : try Self.budget(options)
                }
                return try OneShotPruning(
                    pattern: pattern, budget: budget, layers: layers(options, default: .allButOutput),
                    storage: .trainable(options.text("storage") ?? "masked"))
            }
        ), ("densify", { _ in Densification() }),
        ("set", dropAndGrow(.random)), ("rigl", dropAndGrow(.gradient)),
        (
            "sr-ste",
            { options in
                try SRSTE(
                    pattern: pattern(options), decay: options.number("decay") ?? 2e-4,
                    isDecoupled: options.truth("decoupled") ?? false,
                    layers: layers(options, default: .allButOutput))
            }
        ),
        (
            "sltrain",
            { options in
                try SLTrain(
                    rank: options.integer("rank", in: 0...65_536) ?? 16, alpha: options.number("alpha"),
                    density: options.number("density") ?? 0.03,
                    product: choice("product", options, default: .factored),
                    layers: layers(options, default: .allButOutput))
            }
        ),
        (
            "lost",
            { options in
                var activation: Activation?
                if let name = try options.text("activation"), name != "none" {
                    guard let found = Activation(rawValue: name) else {
                        let names = (["none"] + Activation.allCases.map(\.rawValue)).joined(separator: ", ")
                        throw LacunaError.invalidArgument("activation", reason: "'\(name)' is none of \(names)")
                    }
                    activation = found
                }
                return try LOST(
                    rank: options.integer("rank", in: 1...65_536) ?? 16, density: options.number("density") ?? 0.01,
                    mix: options.number("mix") ?? 0.7, activation: activation,
                    start: choice("start", options, default: .weight), rescales: options.truth("rescale") ?? false,
                    layers: layers(options, default: .allButOutput))
            }
        ),
        (
            "maskllm",
            { options in
                var settings = MaskLLM.Settings()
                if let value = try options.number("strength") { settings.strength = value }
                if let value = try options.number("reward") { settings.reward = value }
                if let value = try options.number("temperature") { settings.temperature.from = value }
                if let value = try options.number("final_temperature") { settings.temperature.to = value }
                if let value = try options.number("scale") { settings.scale.from = value }
                if let value = try options.number("final_scale") { settings.scale.to = value }
                return try MaskLLM(
                    pattern: pattern(options), prior: .init(options.text("prior") ?? "magnitude"), settings: settings,
                    layers: layers(options, default: .allButOutput),
                    storage: options.text("storage").map { try StorageLayout.trainable($0) },
                    sequences: options.integer("sequences", in: 1...1_000_000) ?? CalibrationSet.defaultSequences,
                    length: options.integer("length", in: 1...1_000_000))
            }
        ),
        (
            "popup",
            { options in
                let pattern = try options.text("pattern").map { try Pattern($0) } ?? .unstructured(.layer)
                return try PopupScores(
                    sparsity: options.number("sparsity") ?? (pattern.impliedSparsity == nil ? 0.99 : nil),
                    pattern: pattern, start: choice("start", options, default: .scaled),
                    layers: layers(options, default: .all), storage: .trainable(options.text("storage") ?? "masked"))
            }
        ),
        (
            "pst",
            { options in
                var settings = PST.Settings()
                if let value = try options.integer("rank", in: 1...65_536) { settings.rank = value }
                if let value = try options.integer("score_rank", in: 1...65_536) { settings.scoreRank = value }
                if let value = try options.number("alpha") { settings.lowRank = value }
                if let value = try options.number("structure") { settings.structure = value }
                let (from, to) = (try options.number("start") ?? 0.1, try options.number("end") ?? 0.7)
                guard from <= to else { throw LacunaError.invalidArgument("end", reason: "\(to) lies before \(from)") }
                settings.window = from...to
                let pattern = try options.text("pattern").map { try Pattern($0) } ?? .unstructured(.layer)
                return try PST(
                    sparsity: options.number("sparsity") ?? (pattern.impliedSparsity == nil ? 0.9 : nil),
                    pattern: pattern, settings: settings, layers: layers(options, default: .allButOutput),
                    storage: .trainable(options.text("storage") ?? "masked"))
            }
        ),
        (
            "dsee",
            { options in
                var settings = DSEE.Settings()
                if let value = try options.integer("rank", in: 1...65_536) { settings.rank = value }
                if let value = try options.number("alpha") { settings.alpha = value }
                if let value = try options.integer("entries", in: 0...1_000_000_000) { settings.entries = value }
                if let value = try options.integer("decomposition_rank", in: 0...65_536) {
                    settings.decompositionRank = value
                }
                if let value = try options.number("prune_at") { settings.pruneAt = value }
                let (heads, neurons) = (try options.integer("heads", in: 0...65_536), try options.number("neurons"))
                let fraction = try options.number("sparsity")
                if fraction != nil, heads != nil || neurons != nil {
                    throw LacunaError.invalidArgument("sparsity", reason: "stands beside heads or neurons: give one")
                }
                let isStructured = heads != nil || neurons != nil
                return try DSEE(
                    settings: settings,
                    removal: isStructured
                        ? .units(heads: heads ?? 0, neurons: neurons ?? 0) : .weights(fraction ?? 0.2),
                    score: choice("score", options, default: .update),
                    layers: options.text("layers").map { LayerChoice($0) }, seed: options.seed)
            }
        ),
        (
            "s2ft",
            { options in
                var shares = S2FT.Shares()
                if let value = try options.number("down") { shares.down = value }
                if let value = try options.number("up") { shares.up = value }
                if let value = try options.number("output") { shares.output = value }
                if let value = try options.number("value") { shares.value = value }
                return try S2FT(shares: shares, choice: choice("choice", options, default: .random))
            }
        ),
        (
            "pgf",
            { options in
                let (n, m) = try group(options)
                let rate = try options.number("rate") ?? 6
                let flows: [String: ProgressiveGradientFlow.Flow] = [
                    "exponential": .exponential(rate), "linear": .linear(rate), "stepwise": .stepwise,
                    "geometric": .geometric,
                ]
                let name = try options.text("flow") ?? "exponential"
                guard let flow = flows[name] else {
                    throw LacunaError.invalidArgument(
                        "flow", reason: "'\(name)' is none of \(flows.keys.sorted().joined(separator: ", "))")
                }
                return try ProgressiveGradientFlow(
                    n: n, m: m, flow: flow, dense: options.number("dense") ?? 0,
                    fineTune: options.number("fine_tune") ?? 0, layers: layers(options, default: .allButOutput),
                    appliesChainRule: options.truth("chain_rule") ?? false)
            }
        ),
        (
            "bdwp",
            { options in
                let (n, m) = try group(options)
                return try BDWP(
                    n: n, m: m, decay: options.number("decay") ?? 0, layers: layers(options, default: .allButOutput))
            }
        ),
        (
            "cast",
            { options in
                try CAST(
                    pattern: pattern(options), lambda: options.number("decay") ?? 1e-3,
                    interval: options.integer("interval", in: 1...1_000_000_000) ?? 10,
                    scales: options.integer("scales", in: 0...65_536) ?? 2,
                    layers: layers(options, default: .allButOutput))
            }
        ),
        (
            "gradual",
            { options in
                let (from, to) = (try options.number("start") ?? 0.25, try options.number("end") ?? 0.75)
                guard from <= to else { throw LacunaError.invalidArgument("end", reason: "\(to) lies before \(from)") }
                return try GradualPruning(
                    sparsity: sparsity(options), window: from...to,
                    measure: choice("measure", options, default: .steps),
                    ramp: choice("ramp", options, default: .cubic), layers: layers(options, default: .allButOutput),
                    interval: options.integer("interval", in: 1...1_000_000_000) ?? 20)
            }
        ),
        (
            "granet",
            { options in
                let (from, to) = (try options.number("start") ?? 0.1, try options.number("end") ?? 0.8)
                guard from <= to else { throw LacunaError.invalidArgument("end", reason: "\(to) lies before \(from)") }
                return try NeuroRegeneration(
                    sparsity: sparsity(options), window: from...to,
                    regeneration: options.number("regeneration") ?? 0.5,
                    interval: options.integer("interval", in: 1...1_000_000_000) ?? 20,
                    layers: layers(options, default: .allButOutput))
            }
        ),
        (
            "wgsef",
            { options in
                try EnvelopeRegularization(
                    keep: options.number("keep") ?? 0.5, lambda: options.number("lambda") ?? 0.1,
                    fineTune: options.number("fine_tune") ?? 0.25,
                    scope: choice("scope", options, default: .layer),
                    penalty: choice("penalty", options, default: .envelope),
                    layers: layers(options, default: .allButOutput))
            }
        ),
        (
            "pq-index",
            { options in
                let name = try options.text("scope") ?? "global"
                guard let scope = AdaptivePruning.Scope(rawValue: name) else {
                    throw LacunaError.invalidArgument("scope", reason: "'\(name)' is none of global, layer")
                }
                return try AdaptivePruning(
                    index: PQIndex(p: options.number("p") ?? 1, q: options.number("q") ?? 2),
                    rounds: options.integer("rounds", in: 1...1000) ?? 5, eta: options.number("eta") ?? 0,
                    gamma: options.number("gamma") ?? 1, limit: options.number("limit") ?? 0.9,
                    rewinds: options.truth("rewind") ?? true, scope: scope,
                    looks: options.integer("looks", in: 0...1_000_000) ?? 0, layers: layers(options, default: .all))
            }
        ),
        (
            "imp",
            { options in
                try RewoundPruning(
                    rounds: options.integer("rounds", in: 1...1000) ?? 9, share: options.number("share") ?? 0.2,
                    rewind: options.integer("rewind", in: 0...1_000_000_000) ?? 0,
                    layers: layers(options, default: .allButOutput))
            }
        ),
        (
            "soup",
            { options in
                try SoupPruning(
                    sparsity: sparsity(options), rounds: options.integer("rounds", in: 1...1000) ?? 3,
                    copies: options.integer("copies", in: 1...1000) ?? 3,
                    isGreedy: options.truth("greedy") ?? false, recalibrates: options.truth("recalibrate") ?? true,
                    layers: layers(options, default: .all))
            }
        ),
        (
            "random-search",
            { options in
                try RandomSearch(
                    keep: options.number("keep") ?? 0.25, trials: options.integer("trials", in: 1...1_000_000) ?? 500,
                    batch: options.integer("batch", in: 1...1_000_000) ?? 256, seed: options.seed)
            }
        ),
        (
            "sparse-ift",
            { options in
                let sparsity = try sparsity(options)
                let name = try options.text("variant") ?? "wide"
                var settings = try moves(.gradient, UniformBudget(sparsity), options)
                if name == "wide" { return try IsoFLOPTraining(SparseIFT(sparsity: sparsity), settings: settings) }
                guard let variant = IsoFLOPLayers.Variant(rawValue: name) else {
                    let names = (["wide"] + IsoFLOPLayers.Variant.allCases.map(\.rawValue)).joined(separator: ", ")
                    throw LacunaError.invalidArgument("variant", reason: "'\(name)' is none of \(names)")
                }
                settings.layers = try layers(options, default: .allButOutput)
                return try IsoFLOPLayers(SparseIFT(sparsity: sparsity), variant: variant, settings: settings)
            }
        ),
        (
            "quick-selection",
            { options in
                var settings = QuickSelection()
                if let value = try options.integer("hidden", in: 1...65_536) { settings.hidden = value }
                if let value = try options.number("density") { settings.density = value }
                if let value = try options.number("exchange") { settings.exchange = value }
                if let value = try options.number("noise") { settings.noise = value }
                if let value = try options.number("dropout") { settings.dropout = value }
                if let value = try options.number("deviation") { settings.deviation = value }
                return try FeatureSelection(settings)
            }
        ),
        (
            "sequential",
            { options in
                let name = try options.text("scenario") ?? "task"
                guard let scenario = SequentialTraining.Scenario(rawValue: name) else {
                    throw LacunaError.invalidArgument("scenario", reason: "'\(name)' is none of task, class")
                }
                return SequentialTraining(scenario)
            }
        ), ("cl-dst", subnetworks), ("sharp", sharp),
        (
            "unlearn",
            { options in
                try SparseUnlearning(
                    gamma: options.number("gamma") ?? 1e-3, end: options.number("end") ?? 1,
                    isProximal: options.truth("proximal") ?? false)
            }
        ),
    ]

    /// N and M of a pattern along the inputs.
    private static func group(_ options: any MethodOptions) throws -> (n: Int, m: Int) {
        guard let (n, m, axis) = try pattern(options).group, axis == .input else {
            throw LacunaError.invalidArgument("pattern", reason: "is not N:M along the inputs")
        }
        return (n, m)
    }

    /// What methods are called in configurations, in the order of listings; `dense`, which is none, is not among them.
    public static var names: [String] { makers.map(\.name) }

    /// What each method is, with default settings.
    public static var cards: [MethodCard] {
        struct Defaults: MethodOptions {
            // The one option without a default.
            func number(_ name: String) -> Double? { name == "sparsity" ? 0.9 : nil }
            func integer(_ name: String) -> Int? { nil }
            func text(_ name: String) -> String? { nil }
            func truth(_ name: String) -> Bool? { nil }
            var seed: UInt64 { 0 }
        }
        return makers.compactMap { try? $0.make(Defaults()).card }
    }

    /// What the methods are whose networks no configuration makes: recurrent ones, graph and vision transformers, recommenders, networks
    /// of cells. They are used from Swift.
    public static var libraryCards: [MethodCard] {
        let settings = GraphTransformerSparsification.Settings()
        let methods: [(any TrainingMethod)?] = [
            try? DynamicSparseEmbeddings(), try? GraphTransformerSparsification(settings), try? AttentionPenalty(),
        ]
        return [recurrentCard] + methods.compactMap(\.self).map(\.card) + [
            GPUSQViT.card, DASS.card, OnceForBoth.card, TransferAudit.card,
        ]
    }

    private static let recurrentCard = MethodCard(
        name: "sparse-rnn", family: .sparseTraining,
        paper: .init(
            authors: "Harshil Jagadishbhai Darji", title: "Investigating Sparsity in Recurrent Neural Networks",
            arXiv: "2407.20601"),
        composition: ["|w| of recurrent matrices, or a random graph", "one competition", "fixed mask"],
        implements: [
            "RNN, GRU and LSTM cells, pruned by kind of matrix",
            "small-world and scale-free wirings, statistics of their graphs",
        ],
        leavesOut: ["regressions of accuracy on statistics of graphs"])

    /// The method of a name.
    ///
    /// - Throws: `LacunaError.invalidArgument` for an unknown name and for options out of range, named as in files.
    public static func make(_ name: String, options: any MethodOptions) throws -> any TrainingMethod {
        guard let entry = makers.first(where: { $0.name == name }) else {
            throw LacunaError.invalidArgument(
                "name",
                reason: "there is no method '\(name)'; there are \(names.joined(separator: ", "))"
                    + Suggestion.phrase(name, among: names))
        }
        return try entry.make(options)
    }
}
