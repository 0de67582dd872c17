import LacunaIO
import LacunaTensor

/// What an ``Estimator`` found: the model, and the path that led to it.
public struct Fit: Sendable {
    /// What predicts, and what is kept.
    public internal(set) var model: LinearModel
    /// The solutions for each strength, of the columns per standard deviation where those were standardised; strengths are
    /// those for the table as it is.
    public let path: RegularizationPath
    /// Place on the path.
    public let chosen: Int
    /// The smallest strength at which nothing is selected.
    public let maximumStrength: Double
    /// The cross-validation that chose the strength; nil where one was given.
    public let validation: CrossValidation?
    /// Coefficients per standard deviation of their columns, [columns, outputs]; as the model's where columns were not
    /// standardised.
    public let effects: [Double]
    /// What columns were multiplied by for the fit.
    let scales: [Double]?
    /// The share of the L1 penalty of an elastic net, for the target as it is: with this and ``strength`` the same model comes
    /// out again. Nil for other regularizers.
    public var mixing: Double?
    /// What a mixed model says beyond coefficients.
    public internal(set) var mixed: MixedOutcome?

    /// What is known of a best subset beside its fit.
    public internal(set) var standing: BestSubset.Standing?
    /// What a reader should know beside the certificate.
    public var remarks: [String] {
        switch standing {
        case .best: return ["no other set of \(solution.support.count) features fits better, which was proven"]
        case .exchanged:
            return [
                "no exchange of one feature for another fits better; sets that differ in more were not all looked at"
            ]
        case .spliced:
            return [
                "no exchange of the features that matter least for those that promise most fits better; not all sets were "
                    + "looked at"
            ]
        case nil: break
        }
        guard model.family.hasClasses, path.explained[chosen] > 0.999_999 else { return [] }
        return [
            "the columns tell the classes apart without error: without a penalty coefficients have no bound, and these ended "
                + "where the tolerance let them"
        ]
    }

    /// The chosen solution of the path.
    public var solution: Solution { path.solutions[chosen] }
    /// The chosen strength, for the table as it is.
    public var strength: Double { path.strengths[chosen] }

    /// Coefficients of the columns as they are, [columns, outputs], at each strength of the path.
    public func coefficients(at place: Int) -> [Double] {
        let solution = path.solutions[place]
        var result = solution.coefficients
        for i in result.indices { result[i] *= scales?[i % solution.columns] ?? 1 }
        return result
    }
}

extension Fit {
    /// Calls the method by another name.
    public mutating func rename(_ method: String) { model.method = method }

    /// The coefficients at every strength of the path, as a CSV file: a row for each strength (and output), the intercept and
    /// then every feature that is selected somewhere.
    public var pathTable: String {
        let columns = model.features.count
        let outputs = model.coefficients.count
        let selected = Set(path.solutions.flatMap(\.selectedColumns)).sorted()
        var lines = [
            (["strength"] + (outputs > 1 ? ["output"] : []) + ["intercept"]
                + selected.map { model.features[$0].name }).map(CSVTable.field).joined(separator: ",")
        ]
        for (place, strength) in path.strengths.enumerated() {
            let all = coefficients(at: place)
            for k in 0..<outputs {
                let name = model.outputs.isEmpty ? "\(k + 1)" : model.outputs[k]
                lines.append(
                    (["\(strength)"] + (outputs > 1 ? [CSVTable.field(name)] : [])
                        + ["\(path.solutions[place].intercepts[k])"]
                        + selected.map { "\(all[k * columns + $0])" }).joined(separator: ","))
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
