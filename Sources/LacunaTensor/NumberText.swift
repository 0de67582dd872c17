/// Text of numbers in descriptions of tensors, matrices and vectors.
package enum NumberText {
    /// Up to five significant digits; whole numbers without a point.
    package static func number(_ value: some Any) -> String {
        switch value {
        case let x as Float: text(Double(x))
        case let x as Double: text(x)
        case let x as Bool: x ? "1" : "0"
        default: "\(value)"
        }
    }

    private static func text(_ x: Double) -> String {
        if !x.isFinite { return x.isNaN ? "nan" : x < 0 ? "-inf" : "inf" }
        if x == x.rounded() && abs(x) < 1e6 { return String(Int(x)) }
        if x == 0 { return "0" }
        var exponent = 0
        var scaled = abs(x)
        while scaled >= 10 { (scaled, exponent) = (scaled / 10, exponent + 1) }
        while scaled < 1 { (scaled, exponent) = (scaled * 10, exponent - 1) }
        if (-3..<6).contains(exponent) {
            let digits = 4 - exponent
            var unit = 1.0
            for _ in 0..<max(digits, 0) { unit *= 10 }
            return String((x * unit).rounded() / unit)
        }
        return "\(x < 0 ? "-" : "")\((scaled * 1e4).rounded() / 1e4)e\(exponent)"
    }

    package static func padded(_ text: String, to width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}
