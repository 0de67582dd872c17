import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Named options of a method, from wherever they come.
public protocol MethodOptions {
    func number(_ name: String) throws -> Double?
    func integer(_ name: String) throws -> Int?
    func text(_ name: String) throws -> String?
}

/// Every method that trains sparse networks, by name.
public enum TrainingMethods {
    private typealias Maker = @Sendable (any MethodOptions) throws -> any TrainingMethod

    private static func layers(_ options: any MethodOptions, default choice: LayerChoice) throws -> LayerChoice {
        guard let text = try options.text("layers") else { return choice }
        switch text {
        case "all": return .all
        case "all-but-last": return .allButLast
        default: return .named(text.split(separator: ",").map(String.init))
        }
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

    private static func budget(_ options: any MethodOptions) throws -> SparsityBudget {
        try .named(options.text("budget") ?? "erk", sparsity: sparsity(options))
    }

    private static func storage(_ options: any MethodOptions) throws -> SparseStorage {
        try SparseStorage(options.text("storage") ?? "csr")
    }

    private static func pattern(_ options: any MethodOptions) throws -> Pattern {
        try Pattern(options.text("pattern") ?? "2:4")
    }

    private static func dropAndGrow(_ growth: DropAndGrow.Growth) -> Maker {
        { options in
            var settings = DropAndGrow.Settings(budget: try budget(options), growth: growth)
            settings.layers = try layers(options, default: .all)
            settings.storage = try storage(options)
            if let value = try options.integer("interval") { settings.interval = value }
            if let value = try options.number("fraction") { settings.fraction = value }
            if let value = try options.number("end") { settings.end = value }
            return try DropAndGrow(settings)
        }
    }

    private static let makers: [(name: String, make: Maker)] = [
        (
            "static",
            { options in
                try StaticRandomSparsity(
                    budget: budget(options), layers: layers(options, default: .all), storage: storage(options))
            }
        ),
        ("set", dropAndGrow(.random)), ("rigl", dropAndGrow(.gradient)),
        (
            "sr-ste",
            { options in
                try SRSTE(
                    pattern: pattern(options), decay: options.number("decay") ?? 2e-4,
                    layers: layers(options, default: .allButLast))
            }
        ),
        (
            "sltrain",
            { options in
                try SLTrain(
                    rank: options.integer("rank") ?? 16, alpha: options.number("alpha") ?? 16,
                    density: options.number("density") ?? 0.03, layers: layers(options, default: .allButLast))
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
                    n: n, m: m, flow: flow, layers: layers(options, default: .allButLast))
            }
        ),
        (
            "bdwp",
            { options in
                let (n, m) = try group(options)
                return try BDWP(n: n, m: m, layers: layers(options, default: .allButLast))
            }
        ),
        (
            "cast",
            { options in
                try CAST(
                    pattern: pattern(options), lambda: options.number("decay") ?? 1e-3,
                    interval: options.integer("interval") ?? 10, layers: layers(options, default: .allButLast))
            }
        ),
        (
            "gradual",
            { options in
                let (from, to) = (try options.number("start") ?? 0.25, try options.number("end") ?? 0.75)
                guard from <= to else { throw LacunaError.invalidArgument("end", reason: "\(to) lies before \(from)") }
                return try GradualPruning(
                    sparsity: sparsity(options), window: from...to, layers: layers(options, default: .allButLast))
            }
        ),
        (
            "wgsef",
            { options in
                try EnvelopeRegularization(
                    keep: options.number("keep") ?? 0.5, lambda: options.number("lambda") ?? 0.1,
                    layers: layers(options, default: .allButLast))
            }
        ),
    ]

    /// N and M of a pattern along the inputs.
    private static func group(_ options: any MethodOptions) throws -> (n: Int, m: Int) {
        guard case .nm(let n, let m, .input) = try pattern(options) else {
            throw LacunaError.invalidArgument("pattern", reason: "is not N:M along the inputs")
        }
        return (n, m)
    }

    public static var names: [String] { makers.map(\.name) }

    /// The method of a name.
    ///
    /// - Throws: `LacunaError.invalidArgument` for an unknown name and for options out of range, named as in files.
    public static func make(_ name: String, options: any MethodOptions) throws -> any TrainingMethod {
        guard let entry = makers.first(where: { $0.name == name }) else {
            throw LacunaError.invalidArgument(
                "name", reason: "there is no method '\(name)'; there are \(names.joined(separator: ", "))")
        }
        return try entry.make(options)
    }
}
