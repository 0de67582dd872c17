import LacunaIO
import LacunaTensor

/// A first look at a table: what each column was taken for.
public struct TableSummary: Sendable {
    /// What one column was taken for.
    public struct Column: Sendable {
        /// As the header has it, or the number.
        public let name: String
        /// `numbers`, `whole numbers`, `text`, `dates`, `constant` or `empty`.
        public let kind: String
        /// How many rows lack a value.
        public let missing: Int
        /// How many different values there are; nil where they were not counted.
        public let distinct: Int?
        /// The smallest and the largest number, in text the first word and the last of the alphabet.
        public let range: (from: String, to: String)?
        /// What may need a decision.
        public let remark: String?
    }

    /// Where it was read.
    public let file: String
    /// How many rows there are.
    public let rows: Int
    /// One for each column, in the order of the file.
    public let columns: Columns
    /// What is unusual about the file.
    public let remarks: [String]

    /// What columns were taken for. Files of numbers alone may have millions; of these each is described when it is asked for.
    public struct Columns: Sendable, RandomAccessCollection {
        fileprivate enum Storage {
            case listed([Column])
            case numbers(FeatureList, ColumnMoments)
        }

        fileprivate let storage: Storage

        public var startIndex: Int { 0 }
        public var endIndex: Int {
            switch storage {
            case .listed(let columns): columns.count
            case .numbers(let features, _): features.count
            }
        }

        public subscript(position: Int) -> Column {
            switch storage {
            case .listed(let columns): return columns[position]
            case .numbers(let features, let moments):
                let (mean, variance) = (moments.means[position], moments.variances[position])
                return Column(
                    name: features[position].name, kind: moments.isConstant[position] ? "constant" : "numbers",
                    missing: 0, distinct: nil, range: nil,
                    remark: variance.isFinite
                        ? "mean \(TableSummary.short(mean)), standard deviation \(TableSummary.short(variance.squareRoot()))"
                        : "has numbers that are not finite, or whose squares are not")
            }
        }
    }

    /// - Throws: As ``CSVTable`` and the readers of other formats.
    public init(contentsOf path: String, _ options: CSVTable.Options = .init(header: .auto)) throws {
        file = path
        var layout = TableLayout()
        layout.csv = options
        if try TableFormat(path) == .csv {
            let features = try CSVFeatures(path, layout, isPrediction: false)
            rows = features.csv.rows
            remarks = features.csv.remarks
            columns = Columns(storage: .listed(features.csv.columns.map(Self.column)))
            return
        }
        let table = try Table(contentsOf: path, layout)
        rows = table.rows
        remarks = table.isZeroBased == true ? ["features are counted from 0"] : []
        let moments = table.design.moments(weights: [Double](repeating: 1 / Double(table.rows), count: table.rows))
        columns = Columns(storage: .numbers(table.features, moments))
    }

    private static func short(_ value: Double) -> String {
        guard value != 0, value.isFinite else { return value == 0 ? "0" : "\(value)" }
        let digits = 4 - Int(logarithm(abs(value)) / logarithm(10))
        guard (0...12).contains(digits) else { return "\(Float(value))" }
        let unit = power(10, Double(digits))
        let rounded = (value * unit).rounded() / unit
        return Int(exactly: rounded).map { String($0) } ?? "\(rounded)"
    }

    private static func column(_ column: CSVTable.Column) -> Column {
        let missing = column.missing.count
        switch column.values {
        case .numbers(let all):
            let numbers = all.filter { !$0.isNaN }
            let distinct = Set(numbers).count
            guard let low = numbers.min(), let high = numbers.max() else {
                return Column(name: column.name, kind: "empty", missing: missing, distinct: 0, range: nil, remark: nil)
            }
            let isWhole = numbers.allSatisfy { $0 == $0.rounded() && abs($0) < 0x1p53 }
            var remark = column.spelling.map { $0.remarks.joined(separator: ", ") } ?? ""
            let words = column.words
            let isCode =
                words.contains { $0.count > 1 && $0.first == "0" && !$0.contains(".") && !$0.contains(",") }
                || (isWhole && words.contains { $0.count >= 16 })
            if isCode {
                remark = "looks like a code; --category makes words of its numbers"
            } else if isWhole && distinct <= 20 && distinct > 2 && numbers.count >= 5 * distinct {
                remark = remark.isEmpty ? "few different numbers; --category if they are labels" : remark
            }
            return Column(
                name: column.name, kind: distinct == 1 ? "constant" : isWhole ? "whole numbers" : "numbers",
                missing: missing, distinct: distinct, range: (short(low), short(high)),
                remark: remark.isEmpty ? nil : remark)
        case .text(let all):
            let words = all.filter { !$0.isEmpty }
            let distinct = Set(words)
            var (kind, remark): (String, String?) = (distinct.isEmpty ? "empty" : "text", nil)
            if NumberOrNot.areDates(all) {
                (kind, remark) = ("dates", "--dates days or parts makes numbers of them")
            } else if let row = NumberOrNot.strayWord(all) {
                remark =
                    "numbers but for words such as '\(all[row].prefix(40))' in row \(row + 1); --na, if it is a gap"
            } else if distinct.count == words.count && words.count > 20 {
                remark = "every row has its own word"
            } else if distinct.count > 1000 {
                remark = "too many words for --text one-hot"
            }
            let sorted = distinct.sorted()
            return Column(
                name: column.name, kind: kind, missing: missing, distinct: distinct.count,
                range: sorted.first.map { (String($0.prefix(30)), String((sorted.last ?? "").prefix(30))) },
                remark: remark)
        }
    }
}
