import LacunaTensor

/// Which values of an axis get a mark and a label.
struct AxisTicks: Equatable {
    enum Scale: Sendable { case linear, logarithmic }

    /// The interval that the axis shows; it contains the data.
    let range: ClosedRange<Double>
    let values: [Double]

    /// Values 1, 2 or 5 times a power of ten apart (on a logarithmic axis: 1, 2 and 5 times powers of ten), about
    /// `count` of them. A logarithmic axis needs positive data.
    init(covering data: ClosedRange<Double>, scale: Scale, count: Int = 6) {
        switch scale {
        case .linear:
            let span = data.upperBound - data.lowerBound
            let padded = span > 0 ? span : max(abs(data.upperBound), 1) * 0.2
            let step = Self.niceStep(padded / Double(max(count - 1, 1)))
            let lower = span > 0 ? data.lowerBound : data.lowerBound - padded / 2
            let upper = span > 0 ? data.upperBound : data.upperBound + padded / 2
            let first = (lower / step + 1e-9).rounded(.down)
            let last = (upper / step - 1e-9).rounded(.up)
            values = (0...Int(last - first)).map { (first + Double($0)) * step }
        case .logarithmic:
            require(data.lowerBound > 0, "a logarithmic axis shows positive values only")
            let log10 = { (x: Double) in logarithm(x) / logarithm(10) }
            let decades = log10(data.upperBound) - log10(data.lowerBound)
            let steps: [Double] = decades < 2.5 ? [1, 2, 5] : [1]
            var candidates: [Double] = []
            let first = Int(log10(data.lowerBound).rounded(.down)) - 1
            let last = Int(log10(data.upperBound).rounded(.up)) + 1
            for exponent in first...last {
                let decade = power(10, Double(exponent))
                candidates += steps.map { $0 * decade }
            }
            let lower = candidates.last { $0 <= data.lowerBound * (1 + 1e-9) } ?? candidates[0]
            let upper = candidates.first { $0 >= data.upperBound * (1 - 1e-9) && $0 > lower } ?? candidates.last!
            values = candidates.filter { $0 >= lower && $0 <= upper }
        }
        range = values.first!...max(values.last!, values.first!.nextUp)
    }

    private static func niceStep(_ raw: Double) -> Double {
        let decade = power(10, (logarithm(raw) / logarithm(10) + 1e-9).rounded(.down))
        let fraction = raw / decade
        return (fraction <= 1.001 ? 1 : fraction <= 2.001 ? 2 : fraction <= 5.001 ? 5 : 10) * decade
    }

    /// How far along the axis `value` lies, from 0 to 1.
    func position(of value: Double, scale: Scale) -> Double {
        switch scale {
        case .linear: (value - range.lowerBound) / (range.upperBound - range.lowerBound)
        case .logarithmic:
            (logarithm(value) - logarithm(range.lowerBound))
                / (logarithm(range.upperBound) - logarithm(range.lowerBound))
        }
    }

    /// Large round numbers become powers of ten: 2·10⁶.
    static func label(_ value: Double) -> String {
        // Steps come with rounding errors: 0.30000000000000004.
        if abs(value) < 1e-12 { return "0" }
        if abs(value) >= 1e5, let power = powerOfTen(value) { return power }
        let text = Quantities.significant(value, 6)
        guard text.contains(".") && !text.contains("e") else { return text }
        var trimmed = text
        while trimmed.last == "0" { trimmed.removeLast() }
        if trimmed.last == "." { trimmed.removeLast() }
        return trimmed
    }

    private static func powerOfTen(_ value: Double) -> String? {
        let exponent = Int((logarithm(abs(value)) / logarithm(10) + 1e-9).rounded(.down))
        let factor = value / power(10, Double(exponent))
        guard abs(factor - factor.rounded()) < 1e-6 else { return nil }
        let digits = Array("⁰¹²³⁴⁵⁶⁷⁸⁹")
        let raised = String(String(exponent).compactMap { $0.wholeNumberValue.map { digits[$0] } })
        return factor.rounded() == 1 ? "10\(raised)" : "\(Int(factor.rounded()))·10\(raised)"
    }
}
