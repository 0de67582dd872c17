import LacunaTensor

/// A moment, as the caller's calendar has it, for templates that write the date.
public struct ChatClock: Sendable, Equatable {
    /// Of the Gregorian calendar.
    public var year: Int
    /// 1 to 12.
    public var month: Int
    /// 1 to 31.
    public var day: Int
    /// 0 to 23.
    public var hour: Int
    /// 0 to 59.
    public var minute: Int
    /// 0 to 60.
    public var second: Int

    /// A moment, midnight unless it is said.
    ///
    /// - Precondition: `month` and `day` are those of a calendar.
    public init(year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0) {
        require((1...12).contains(month) && (1...31).contains(day), "no day of a calendar")
        (self.year, self.month, self.day) = (year, month, day)
        (self.hour, self.minute, self.second) = (hour, minute, second)
    }

    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    private static let days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

    /// Days since Sunday (Zeller's congruence).
    private var weekday: Int {
        let (y, m) = month < 3 ? (year - 1, month + 12) : (year, month)
        let days = day + 13 * (m + 1) / 5 + y + y / 4 - y / 100 + y / 400
        return (days + 6) % 7
    }

    /// The moment in a format of `strftime`, with English names.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for directives other than `%Y %y %m %d %e %B %b %A %a %H %I %M %S
    ///   %p %j %F %T %%` and those with a hyphen, such as `%-d`.
    public func formatted(_ format: String) throws -> String {
        var result = ""
        var scalars = format.unicodeScalars.makeIterator()
        func padded(_ value: Int, _ width: Int = 2, _ filler: String = "0") -> String {
            let digits = String(value)
            return String(repeating: filler, count: max(width - digits.count, 0)) + digits
        }
        while let scalar = scalars.next() {
            guard scalar == "%" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            var directive = scalars.next()
            let isShort = directive == "-"
            if isShort { directive = scalars.next() }
            let (number, width): (Int?, Int) =
                switch directive {
                case "m": (month, 2)
                case "d": (day, 2)
                case "H": (hour, 2)
                case "I": ((hour + 11) % 12 + 1, 2)
                case "M": (minute, 2)
                case "S": (second, 2)
                case "y": (year % 100, 2)
                case "Y": (year, 4)
                case "j": (dayOfYear, 3)
                default: (nil, 0)
                }
            if let number {
                result += isShort ? String(number) : padded(number, width)
                continue
            }
            switch (directive, isShort) {
            case ("e", false): result += padded(day, 2, " ")
            case ("B", false): result += Self.months[month - 1]
            case ("b", false): result += Self.months[month - 1].prefix(3)
            case ("A", false): result += Self.days[weekday]
            case ("a", false): result += Self.days[weekday].prefix(3)
            case ("p", false): result += hour < 12 ? "AM" : "PM"
            case ("F", false): result += "\(padded(year, 4))-\(padded(month))-\(padded(day))"
            case ("T", false): result += "\(padded(hour)):\(padded(minute)):\(padded(second))"
            case ("%", false): result += "%"
            default:
                throw LacunaError.unsupported(
                    file: nil, what: "'%\(isShort ? "-" : "")\(directive.map(String.init) ?? "")' in a date's format")
            }
        }
        return result
    }

    private var dayOfYear: Int {
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        return lengths[..<(month - 1)].reduce(day, +)
    }
}
