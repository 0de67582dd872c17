import LacunaIO

/// How a column of a table becomes a feature, so that prediction repeats what fitting did.
public struct FeatureCoding: Sendable, Equatable, Hashable, Codable {
    /// What the column holds for this feature.
    public enum Kind: String, Sendable, Codable {
        /// The number that is written.
        case number
        /// 1 where the field is ``FeatureCoding/level``, letter by letter, and 0 elsewhere.
        case level
        /// Days since 1 January 1970.
        case date
        /// Parts of a date.
        case year, month, weekday
    }

    /// The column's name in the file, or its number as the file counts where it has no names.
    public var column: String
    /// What of the column it is.
    public var kind: Kind
    /// The word that this feature indicates, as it is written in the file.
    public var level: String?
    /// What stands in for missing values.
    public var filler: Double?

    /// - Parameter level: Makes the kind ``Kind/level``.
    public init(column: String, kind: Kind = .number, level: String? = nil, filler: Double? = nil) {
        self.column = column
        self.kind = level == nil ? kind : .level
        self.level = level
        self.filler = filler
    }

    /// What reports call it: the column, with the word or the part of a date.
    public var name: String {
        switch kind {
        case .level: "\(column)=\(level ?? "")"
        case .number, .date: column
        case .year, .month, .weekday: "\(column).\(kind.rawValue)"
        }
    }

    /// The number for days since 1970.
    func number(days: Double) -> Double {
        let day = Int(days.rounded(.down))
        switch kind {
        // 1 January 1970 was a Thursday; Monday is 1.
        case .weekday: return Double(((day + 3) % 7 + 7) % 7 + 1)
        case .year, .month:
            // Years of 400 and of 1 that begin in March.
            let z = day + 719_468
            let era = (z >= 0 ? z : z - 146_096) / 146_097
            let ofEra = z - era * 146_097
            let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
            let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
            let month = (5 * ofYear + 2) / 153
            let isLate = month >= 10
            if kind == .month { return Double(isLate ? month - 9 : month + 3) }
            return Double(yearOfEra + era * 400 + (isLate ? 1 : 0))
        default: return days
        }
    }
}

/// What of a table is what, and what becomes of fields that are no numbers.
public struct TableLayout: Sendable, Equatable {
    /// What becomes of fields without a value.
    public enum Missing: String, Sendable, CaseIterable {
        /// They are an error that names the row.
        case error
        /// The mean of the column stands in.
        case mean
        /// Rows with a gap are left out.
        case drop
    }

    /// What becomes of columns of words.
    public enum Text: String, Sendable, CaseIterable {
        /// They are an error that names the word.
        case error
        /// A feature for each word.
        case oneHot = "one-hot"
        /// Columns of text are left out.
        case drop
    }

    /// What becomes of columns of dates.
    public enum Dates: String, Sendable, CaseIterable {
        /// As any other text.
        case text
        /// Days since 1970.
        case days
        /// Days, and the year, month and weekday beside them.
        case parts
    }

    /// The target: a column's name or number; for .npz an array; for .npy, .npz and .mtx also a file of one number a line,
    /// .npy, or .mtx. Several for several responses.
    public var targets: [String] = []
    /// A column of sample weights.
    public var weights: String?
    /// What is added to the linear predictor, known beforehand.
    public var offset: String?
    /// Which rows had the event that their target is the time of: 1 or 0, `true` or `false`, `yes` or `no`; or 2 and 1, as R's
    /// tables have it, where there is a 2.
    public var event: String?
    /// Labels of rows that belong together; for other files than CSV a file of one label a line.
    public var group: String?
    /// Which fold of a cross-validation each row is in.
    public var fold: String?
    /// Columns that are left out, by name or number.
    public var drop: [String] = []
    /// Columns whose numbers are labels.
    public var categories: [String] = []
    /// What becomes of missing values, of text, and of dates; and how the file is written.
    public var missing = Missing.error
    /// What becomes of columns of text.
    public var text = Text.error
    /// What becomes of dates.
    public var dates = Dates.text
    /// How the file spells its cells.
    public var csv = CSVTable.Options(header: .auto)

    /// A table whose target is this column; nil for none.
    public init(target: String? = nil) { targets = target.map { [$0] } ?? [] }
}
