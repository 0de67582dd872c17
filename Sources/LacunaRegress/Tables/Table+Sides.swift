import LacunaIO
import LacunaTensor

/// Tables beside a table, and tables whose rows may decide nothing.
extension Table {
    /// Reads every field as a number, and as 0 where it is none: which columns there are, and what they are, the header alone
    /// decides, so that a private release depends on rows by their numbers only. Columns without a name are left out.
    ///
    /// - Parameter layout: Targets, columns to leave out, and how a CSV file is written; the rest does not count.
    /// - Throws: As ``init(contentsOf:_:)``.
    public init(numbersOf path: String, _ layout: TableLayout) throws {
        guard try TableFormat(path) == .csv else {
            var plain = TableLayout()
            (plain.targets, plain.drop) = (layout.targets, layout.drop)
            try self.init(contentsOf: path, plain)
            return
        }
        var options = layout.csv
        if options.header == .auto { options.header = .yes }
        let csv = try CSVTable(contentsOf: path, options)
        guard csv.rows > 0 else { throw LacunaError.malformed(file: path, location: "rows", reason: "there is none") }
        let spelling = NumberSpelling(decimal: options.decimal ?? .point)
        func numbers(_ column: CSVTable.Column) -> [Double] {
            column.words.map { word in spelling.number(word).flatMap { $0.isFinite ? $0 : nil } ?? 0 }
        }
        func column(_ option: String, _ name: String) throws -> CSVTable.Column {
            if let found = csv[name] { return found }
            if let number = Int(name), (1...max(csv.columns.count, 1)).contains(number) {
                return csv.columns[number - 1]
            }
            throw LacunaError.invalidArgument(
                option,
                reason: "\(path) has no column '\(name)'" + Suggestion.phrase(name, among: csv.columns.map(\.name)))
        }
        let targets = try layout.targets.map { try column("--target", $0) }
        let away = try Set(layout.drop.map { try column("--drop", $0).name } + targets.map(\.name))
        let kept = csv.columns.filter { $0.isNamed && !away.contains($0.name) }
        self.init(
            file: path, design: DenseDesign(columnMajor: kept.flatMap(numbers), rows: csv.rows),
            features: FeatureList(kept.map { FeatureCoding(column: $0.name) }))
        responses = targets.map { Response(name: $0.name, numbers: numbers($0)) }
    }

    /// A number for each feature, from a table with the columns `feature` and another.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for a feature that is missing there.
    public func numbers(of table: CSVTable, column: String, file: String) throws -> [Double] {
        let names = try Self.words(of: table, "feature", file)
        guard case .numbers(let numbers)? = table[column]?.values else {
            throw LacunaError.malformed(
                file: file, location: "header", reason: "there is no column '\(column)' of numbers")
        }
        let byName = Dictionary(zip(names, numbers), uniquingKeysWith: { first, _ in first })
        return try features.map { feature in
            guard let number = byName[feature.name] ?? byName[feature.column], !number.isNaN else {
                throw LacunaError.malformed(
                    file: file, location: "rows", reason: "there is none of the feature '\(feature.name)'")
            }
            return number
        }
    }

    static func words(of table: CSVTable, _ name: String, _ file: String) throws -> [String] {
        guard let column = table[name] else {
            throw LacunaError.malformed(file: file, location: "header", reason: "there is no column '\(name)'")
        }
        return column.words
    }

    /// The first target as numbers; two classes as 0 and 1, in the order of the alphabet.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for text of more or fewer words than two, and for numbers that
    ///   are not finite.
    public func labelsOrNumbers() throws -> [Double] {
        guard let response = responses.first else {
            throw LacunaError.invalidArgument("--target", reason: "is needed for \(file)")
        }
        if let numbers = response.numbers {
            if let row = numbers.firstIndex(where: { !$0.isFinite }) {
                throw LacunaError.malformed(
                    file: file, location: "target, row \(number(ofRow: row))", reason: "is not a finite number")
            }
            return numbers
        }
        let classes = ClassNames(response)
        guard classes.names.count == 2 else {
            throw LacunaError.malformed(
                file: file, location: "target '\(response.name)'",
                reason: "is text of \(classes.names.count) values; numbers or 2 are needed")
        }
        return response.words.map { $0 == classes.names[1] ? 1 : 0 }
    }
}

extension Groups {
    /// Features of one column of a table are a group; what a table of `feature` and `group` names goes together as it says.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for a table without these columns.
    public init(of table: Table, names: CSVTable? = nil) throws {
        var given: [String: String] = [:]
        if let names {
            given = Dictionary(
                zip(try Table.words(of: names, "feature", "groups"), try Table.words(of: names, "group", "groups")),
                uniquingKeysWith: { first, _ in first })
        }
        var members: [String: [Int]] = [:]
        for (j, feature) in table.features.enumerated() {
            members[given[feature.name] ?? given[feature.column] ?? feature.column, default: []].append(j)
        }
        try self.init(members.values.sorted { $0[0] < $1[0] }, columns: table.features.count)
    }
}
