import Foundation

/// Numbers as people read them.
public enum Format {
    public static func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

    public static func integer(_ value: Double) -> String { fixed(value, 0) }

    public static func percent(_ value: Double) -> String { fixed(value * 100, 0) + " %" }

    /// Three significant digits, without an exponent.
    public static func significant(_ value: Double) -> String {
        switch abs(value) {
        case 100...: fixed(value, 0)
        case 10..<100: fixed(value, 1)
        case 1..<10: fixed(value, 2)
        default: fixed(value, 3)
        }
    }

    /// Seconds in the unit that suits them.
    public static func time(_ seconds: Double) -> String {
        switch abs(seconds) {
        case 1...: significant(seconds) + " s"
        case 1e-3..<1: significant(seconds * 1e3) + " ms"
        default: significant(seconds * 1e6) + " µs"
        }
    }
}
