/// Student's t with some degrees of freedom.
package struct StudentDistribution {
    private let degrees: Double

    /// - Parameter degrees: Above 0.
    package init(_ degrees: Double) { self.degrees = degrees }

    /// P(|T| ≥ |t|).
    package func twoSidedTail(_ t: Double) -> Double {
        GammaFunction.incompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5)
    }

    /// The t with P(|T| ≥ t) = `tail`.
    package func twoSidedQuantile(_ tail: Double) -> Double {
        var (low, high) = (0.0, 1.0)
        while twoSidedTail(high) > tail { high *= 2 }
        for _ in 0..<200 {
            let middle = (low + high) / 2
            if middle == low || middle == high { break }
            if twoSidedTail(middle) > tail { low = middle } else { high = middle }
        }
        return high
    }
}
