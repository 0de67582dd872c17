import LacunaIO
import LacunaRegress
import LacunaTensor

/// A model, and what led to it unless it was read from a file.
final class FitObject: @unchecked Sendable {
    let model: LinearModel
    let path: RegularizationPath?
    let chosen: Int
    let maximumStrength: Double
    let mixing: Double?
    let validation: CrossValidation?
    /// Coefficients of the columns as they are, [outputs, columns], at a place of the path.
    private let coefficientsAt: (Int) -> [Double]

    init(_ fit: Fit) {
        model = fit.model
        path = fit.path
        chosen = fit.chosen
        maximumStrength = fit.maximumStrength
        mixing = fit.mixing
        validation = fit.validation
        coefficientsAt = { fit.coefficients(at: $0) }
    }

    /// A path whose chosen solution is the last.
    init(_ path: RegularizationPath, of estimator: Estimator, design: any Design) {
        self.path = path
        chosen = path.solutions.count - 1
        (maximumStrength, validation) = (.nan, nil)
        if case .elasticNet(let share) = estimator.regularizer { mixing = share } else { mixing = nil }
        coefficientsAt = { path.solutions[$0].unscaled(design).coefficients }
        let last = path.solutions[chosen].unscaled(design)
        model = LinearModel(
            method: estimator.regularizer.name, family: estimator.family,
            features: FeatureList(counting: design.columns),
            coefficients: [last.coefficients], intercepts: last.intercepts, strength: path.strengths[chosen],
            classes: estimator.family == .binomial ? ["0", "1"] : nil,
            hasNumericClasses: estimator.family == .binomial)
    }

    init(_ model: LinearModel) {
        self.model = model
        (path, chosen, maximumStrength, mixing, validation) = (nil, 0, .nan, nil, nil)
        coefficientsAt = { _ in [] }
    }

    private var solution: Solution? { path?.solutions[chosen] }

    func number(_ name: String) throws -> Double {
        switch name {
        case "columns": Double(model.features.count)
        case "outputs": Double(model.coefficients.count)
        case "chosen": Double(chosen)
        case "strength": model.strength
        case "maximum_strength": maximumStrength
        case "mixing": mixing ?? .nan
        case "objective": solution?.objective ?? .nan
        case "gap": solution.flatMap(Self.gap) ?? .nan
        case "distance":
            if case .stationarity(let distance, _) = solution?.certificate { distance } else { .nan }
        case "certificate": solution?.certificate.relative ?? .nan
        case "passes": solution.map { Double($0.passes) } ?? .nan
        case "converged": solution.map { $0.converged ? 1 : 0 } ?? .nan
        default: throw refused("name", "'\(name)' is no number of a fit")
        }
    }

    private static func gap(_ solution: Solution) -> Double? {
        if case .dualityGap(let absolute, _) = solution.certificate { absolute } else { nil }
    }

    func array(_ name: String) throws -> NumberArray {
        let solutions = path?.solutions ?? []
        return switch name {
        case "coefficients": NumberArray(Array(model.coefficients.joined()))
        case "intercepts": NumberArray(model.intercepts)
        case "strengths": NumberArray(path?.strengths ?? [])
        case "path_coefficients": NumberArray(Array(solutions.indices.map(coefficientsAt).joined()))
        case "path_intercepts": NumberArray(Array(solutions.map(\.intercepts).joined()))
        case "path_gaps": NumberArray(solutions.map { Self.gap($0) ?? .nan })
        case "path_certificates": NumberArray(solutions.map(\.certificate.relative))
        case "path_objectives": NumberArray(solutions.map(\.objective))
        case "path_explained": NumberArray(path?.explained ?? [])
        case "path_passes": NumberArray(solutions.map { Double($0.passes) })
        case "path_converged": NumberArray(solutions.map { $0.converged ? 1.0 : 0.0 })
        case "validation_losses": NumberArray(validation?.losses ?? [])
        case "validation_errors": NumberArray(validation?.standardErrors ?? [])
        default: throw refused("name", "'\(name)' is no array of a fit")
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_fit_number")
public func lacunaFitNumber(
    _ fit: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ number: UnsafeMutablePointer<Double>?
) -> Int32 {
    guarded {
        let value = try Objects.get(fit, FitObject.self, "fit").number(Arguments.text(name, "name"))
        guard let number else { throw refused("number", "is NULL") }
        number.pointee = value
    }
}

/// See lacuna.h.
@_cdecl("lacuna_fit_array")
public func lacunaFitArray(
    _ fit: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ array: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        try give(
            Objects.get(fit, FitObject.self, "fit").array(Arguments.text(name, "name")), array, "array")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_fit_predict")
public func lacunaFitPredict(
    _ fit: OpaquePointer?, _ table: OpaquePointer?, _ what: UnsafePointer<CChar>?,
    _ array: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let model = try Objects.get(fit, FitObject.self, "fit").model
        let table = try Objects.get(table, TableObject.self, "table").table
        let what = try Arguments.text(what, "what")
        switch what {
        case "predictors": try give(NumberArray(Array(model.predictors(table).joined())), array, "array")
        case "values": try give(NumberArray(model.predict(table)), array, "array")
        case "probabilities": try give(NumberArray(Array(model.probabilities(table).joined())), array, "array")
        default: throw refused("what", "'\(what)' is not predictors, values or probabilities")
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_fit_save")
public func lacunaFitSave(_ fit: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> Int32 {
    guarded { try Objects.get(fit, FitObject.self, "fit").model.save(to: Arguments.text(path, "path")) }
}

/// See lacuna.h.
@_cdecl("lacuna_fit_load")
public func lacunaFitLoad(_ path: UnsafePointer<CChar>?, _ fit: UnsafeMutablePointer<OpaquePointer?>?) -> Int32 {
    guarded { try give(FitObject(LinearModel(contentsOf: Arguments.text(path, "path"))), fit, "fit") }
}

/// See lacuna.h.
@_cdecl("lacuna_table_intervals")
public func lacunaTableIntervals(
    _ table: OpaquePointer?, _ coefficients: UnsafePointer<Double>?, _ intercept: Double,
    _ columns: UnsafePointer<Int64>?, _ count: Int64,
    _ progress: ProgressCallback?,
    _ context: UnsafeMutableRawPointer?, _ array: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let table = try Objects.get(table, TableObject.self, "table")
        let coefficients = try Arguments.copy(coefficients, Int64(table.design.columns), "coefficients")
        guard coefficients.allSatisfy(\.isFinite), intercept.isFinite else {
            throw refused("coefficients", "have a number that is not finite")
        }
        guard let target = table.target else { throw refused("target", "is needed: lacuna_table_set") }
        guard target.allSatisfy(\.isFinite) else { throw refused("target", "has a number that is not finite") }
        if table.weights != nil { throw LacunaError.unsupported(file: nil, what: "intervals of weighted rows") }
        try table.table.requireFinite()
        let features = try Arguments.tokens(columns, count)
        if let bad = features.first(where: { !(0..<table.design.columns).contains($0) }) {
            throw refused("columns", "\(bad) is not below \(table.design.columns)")
        }
        let found = try DebiasedLasso(progress: CallbackProgress(progress, context)).intervals(
            table.design, target: target, coefficients: coefficients, intercept: intercept, features: features)
        // Columns may be asked for twice; constant ones are missing.
        let byColumn = Dictionary(found.map { ($0.feature, $0) }, uniquingKeysWith: { first, _ in first })
        let numbers = features.flatMap { column in
            byColumn[column].map { [$0.estimate, $0.lower, $0.upper] } ?? [.nan, .nan, .nan]
        }
        try give(NumberArray(numbers), array, "array")
    }
}
