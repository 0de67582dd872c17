import ArgumentParser

// Numbers of the command line: every one has a range, which is checked where it is parsed and named in the message. A
// value is taken as it stands, so that `--top -1` is a number out of range and not an unknown option.

/// Where a number has to lie. Infinities and NaN never do.
struct NumberRange: Sendable, CustomStringConvertible {
    private let lower: Double
    private let includesLower: Bool
    private let upper: Double
    private let includesUpper: Bool

    private init(_ lower: Double, _ includesLower: Bool, _ upper: Double, _ includesUpper: Bool) {
        (self.lower, self.includesLower) = (lower, includesLower)
        (self.upper, self.includesUpper) = (upper, includesUpper)
    }

    static func atLeast(_ lower: Double) -> NumberRange { NumberRange(lower, true, .infinity, false) }
    static func above(_ lower: Double) -> NumberRange { NumberRange(lower, false, .infinity, false) }
    static func above(_ lower: Double, atMost upper: Double) -> NumberRange { NumberRange(lower, false, upper, true) }
    static func above(_ lower: Double, below upper: Double) -> NumberRange { NumberRange(lower, false, upper, false) }
    static func from(_ lower: Double, to upper: Double) -> NumberRange { NumberRange(lower, true, upper, true) }
    static func from(_ lower: Double, below upper: Double) -> NumberRange { NumberRange(lower, true, upper, false) }

    func contains(_ value: Double) -> Bool {
        value.isFinite && (includesLower ? value >= lower : value > lower)
            && (includesUpper ? value <= upper : value < upper)
    }

    var description: String {
        let from = includesLower ? "at least \(Self.plain(lower))" : "above \(Self.plain(lower))"
        if upper == .infinity { return "a number \(from)" }
        return "a number \(from) and \(includesUpper ? "at most" : "below") \(Self.plain(upper))"
    }

    private static func plain(_ value: Double) -> String { Int(exactly: value).map { String($0) } ?? "\(value)" }
}

private func integer<T: FixedWidthInteger & Sendable>(in range: ClosedRange<T>) -> @Sendable (String) throws -> T {
    { text in
        guard let value = T(text), range.contains(value) else {
            throw ValidationError("must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }
}

private func number(in range: NumberRange) -> @Sendable (String) throws -> Double {
    { text in
        guard let value = Double(text), range.contains(value) else { throw ValidationError("must be \(range)") }
        return value
    }
}

extension Option {
    /// A whole number with a default.
    init(wrappedValue: Int, name: NameSpecification = .long, in range: ClosedRange<Int>, help: ArgumentHelp)
    where Value == Int {
        self.init(
            wrappedValue: wrappedValue, name: name, parsing: .unconditional, help: help, transform: integer(in: range))
    }

    /// A whole number that has to be given.
    init(name: NameSpecification = .long, in range: ClosedRange<Int>, help: ArgumentHelp) where Value == Int {
        self.init(name: name, parsing: .unconditional, help: help, transform: integer(in: range))
    }

    /// A whole number that may be absent.
    init(name: NameSpecification = .long, in range: ClosedRange<Int>, help: ArgumentHelp) where Value == Int? {
        self.init(name: name, parsing: .unconditional, help: help, transform: integer(in: range))
    }

    /// A whole number or a word that stands for one, which may be absent.
    init(name: NameSpecification = .long, in range: ClosedRange<Int>, or word: String, help: ArgumentHelp)
    where Value == SubsetSize? {
        self.init(name: name, parsing: .unconditional, help: help) { text in
            if text == word { return SubsetSize(count: nil) }
            guard let count = Int(text), range.contains(count) else {
                throw ValidationError(
                    "must be a whole number from \(range.lowerBound) to \(range.upperBound), or \(word)")
            }
            return SubsetSize(count: count)
        }
    }

    /// A seed: any number that fits.
    init(wrappedValue: UInt64, name: NameSpecification = .long, seed help: ArgumentHelp) where Value == UInt64 {
        self.init(
            wrappedValue: wrappedValue, name: name, parsing: .unconditional, help: help,
            transform: integer(in: 0...UInt64.max))
    }

    /// A seed that may be absent.
    init(name: NameSpecification = .long, seed help: ArgumentHelp) where Value == UInt64? {
        self.init(name: name, parsing: .unconditional, help: help, transform: integer(in: 0...UInt64.max))
    }

    /// A number with a default.
    init(wrappedValue: Double, name: NameSpecification = .long, within range: NumberRange, help: ArgumentHelp)
    where Value == Double {
        self.init(
            wrappedValue: wrappedValue, name: name, parsing: .unconditional, help: help, transform: number(in: range))
    }

    /// A number that may be absent.
    init(name: NameSpecification = .long, within range: NumberRange, help: ArgumentHelp) where Value == Double? {
        self.init(name: name, parsing: .unconditional, help: help, transform: number(in: range))
    }
}
