import LacunaTensor

/// A problem without the means of its columns and targets: what solvers work on.
struct ProblemCore<F: Datafit>: Sendable {
    let columns: Conditioning
    let datafit: F
    /// What was subtracted from the targets of each output.
    let targetShifts: [Double]
    let hasIntercept: Bool

    var design: any Design { columns.design }

    init(_ design: any Design, _ datafit: F, hasIntercept: Bool) {
        self.hasIntercept = hasIntercept
        columns = Conditioning(design, weights: datafit.weights, hasIntercept: hasIntercept)
        (self.datafit, targetShifts) =
            hasIntercept ? datafit.centered() : (datafit, [Double](repeating: 0, count: datafit.outputs))
    }

    /// Intercepts of the problem as it was given, from those of the core, or back.
    func intercepts(
        _ intercepts: [Double], _ beta: UnsafePointer<Double>, toCore: Bool = false
    ) -> [Double] {
        guard hasIntercept else { return intercepts }
        let p = columns.design.columns
        return intercepts.indices.map { k in
            var (sum, rest) = (0.0, 0.0)
            func add(_ term: Double) {
                let next = sum + term
                rest += abs(sum) >= abs(term) ? (sum - next) + term : (term - next) + sum
                sum = next
            }
            let sign = toCore ? -1.0 : 1.0
            add(intercepts[k])
            add(sign * targetShifts[k])
            if let shifts = columns.shifts {
                for j in 0..<p where beta[k * p + j] != 0 && shifts[j] != 0 {
                    let product = beta[k * p + j] * shifts[j]
                    add(-sign * product)
                    rest += -sign * (-product).addingProduct(beta[k * p + j], shifts[j])
                }
            }
            return sum + rest
        }
    }
}
