/// Dates and times as tables hold them: `2024-03-31`, `2024/03/31`, `31.03.2024`, and with a time `2024-03-31T18:05:09.5Z`.
///
/// A date of two numbers that could be either month or day, with slashes, is text: nothing says which it is.
public enum DateSpelling {
    /// Days since 1 January 1970, in the calendar of today carried backwards; a time of day, less its offset, is a fraction.
    public static func days(_ text: String) -> Double? {
        let words = text.split(whereSeparator: { $0 == " " || $0 == "T" || $0 == "t" })
        guard (1...2).contains(words.count), let day = date(words[0]) else { return nil }
        guard words.count == 2 else { return text.count == words[0].count ? Double(day) : nil }
        guard let seconds = time(words[1]) else { return nil }
        return Double(day) + seconds / 86_400
    }

    private static func number(_ text: Substring, _ range: ClosedRange<Int>, digits: ClosedRange<Int>) -> Int? {
        guard digits.contains(text.count), text.allSatisfy({ $0.isASCII && $0.isNumber }), let value = Int(text),
            range.contains(value)
        else { return nil }
        return value
    }

    private static func date(_ text: Substring) -> Int? {
        for separator in ["-", "/"] as [Character] {
            let parts = text.split(separator: separator, omittingEmptySubsequences: false)
            if parts.count == 3, let y = number(parts[0], 1...9999, digits: 4),
                let m = number(parts[1], 1...12, digits: 1...2), let d = number(parts[2], 1...31, digits: 1...2)
            {
                return days(y, m, d)
            }
        }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        if parts.count == 3, let d = number(parts[0], 1...31, digits: 1...2),
            let m = number(parts[1], 1...12, digits: 1...2), let y = number(parts[2], 1...9999, digits: 4)
        {
            return days(y, m, d)
        }
        return nil
    }

    private static func number(_ text: Substring, _ range: ClosedRange<Int>, digits: Int) -> Int? {
        number(text, range, digits: digits...digits)
    }

    /// Days since 1970; nil for a day that the month does not have.
    private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int? {
        let isLeap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
        let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard day <= lengths[month - 1] else { return nil }
        // Years that begin in March have their leap day at the end.
        let (y, m) = month > 2 ? (year, month - 3) : (year - 1, month + 9)
        let era = (y >= 0 ? y : y - 399) / 400
        let ofEra = y - era * 400
        let ofYear = (153 * m + 2) / 5 + day - 1
        return era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468
    }

    /// Seconds since midnight, less the offset from universal time.
    private static func time(_ text: Substring) -> Double? {
        var clock = text
        var offset = 0
        if clock.last == "Z" || clock.last == "z" {
            clock = clock.dropLast()
        } else if let sign = clock.lastIndex(where: { $0 == "+" || $0 == "-" }) {
            let digits = clock[clock.index(after: sign)...].filter { $0 != ":" }
            guard digits.count == 4 || digits.count == 2,
                let h = number(Substring(digits.prefix(2)), 0...14, digits: 2),
                let m = digits.count == 2 ? 0 : number(Substring(digits.suffix(2)), 0...59, digits: 2)
            else { return nil }
            offset = (clock[sign] == "-" ? -1 : 1) * (h * 3600 + m * 60)
            clock = clock[..<sign]
        }
        let parts = clock.split(separator: ":", omittingEmptySubsequences: false)
        guard (2...3).contains(parts.count), let h = number(parts[0], 0...24, digits: 1...2),
            let m = number(parts[1], 0...59, digits: 2)
        else { return nil }
        var seconds = 0.0
        if parts.count == 3 {
            guard parts[2].allSatisfy({ ($0.isASCII && $0.isNumber) || $0 == "." }), let value = Double(parts[2]),
                (0..<61).contains(value)
            else { return nil }
            seconds = value
        }
        return Double(h * 3600 + m * 60 - offset) + seconds
    }
}
