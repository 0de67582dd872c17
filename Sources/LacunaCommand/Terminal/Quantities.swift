/// Numbers as people read them.
enum Quantities {
    /// `digits` digits after the point; no exponent.
    static func fixed(_ value: Double, _ digits: Int) -> String {
        guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        guard abs(value) * scale < 9e15 else { return "\(value)" }
        let rounded = Int((abs(value) * scale).rounded())
        let sign = value < 0 && rounded > 0 ? "-" : ""
        guard digits > 0 else { return "\(sign)\(rounded)" }
        let whole = rounded / Int(scale)
        let fraction = String(rounded % Int(scale))
        return "\(sign)\(whole)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    /// About `digits` significant digits, with an exponent where a number is far from 1: for axes and for numbers of
    /// unknown size.
    static func significant(_ value: Double, _ digits: Int = 4) -> String {
        guard value.isFinite, value != 0 else { return fixed(value, 0) }
        var magnitude = 0
        var rest = abs(value)
        while rest >= 10 && magnitude < 400 {
            rest /= 10
            magnitude += 1
        }
        while rest < 1 && magnitude > -400 {
            rest *= 10
            magnitude -= 1
        }
        if magnitude >= 15 || magnitude < -6 {
            // Rounding may carry: 9.9996 becomes 10.
            let mantissa = fixed(rest, digits - 1)
            let carried = mantissa.hasPrefix("10")
            return (value < 0 ? "-" : "") + (carried ? fixed(1, digits - 1) : mantissa)
                + "e\(magnitude + (carried ? 1 : 0))"
        }
        return fixed(value, max(0, digits - 1 - magnitude))
    }

    /// Decimal units, as disks and registries count: `93.4 MB`.
    static func bytes(_ count: Int) -> String {
        let units = ["B", "kB", "MB", "GB", "TB"]
        var value = Double(count)
        var unit = 0
        while abs(value) >= 999.5 && unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return unit == 0 ? "\(count) B" : "\(fixed(value, abs(value) < 10 ? 2 : 1)) \(units[unit])"
    }

    static func duration(_ seconds: Double) -> String {
        guard seconds.isFinite, seconds >= 0 else { return "?" }
        if seconds < 10 { return "\(fixed(seconds, 1)) s" }
        let whole = Int(seconds.rounded())
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
        return "\(whole / 3600) h \(whole % 3600 / 60) min"
    }

    static func percent(_ fraction: Double, _ digits: Int = 1) -> String { "\(fixed(fraction * 100, digits)) %" }

    static func grouped(_ count: Int) -> String {
        let digits = Array(String(count.magnitude))
        var result = count < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0 && (digits.count - index) % 3 == 0 { result.append(",") }
            result.append(digit)
        }
        return result
    }
}
