import LacunaIO
import LacunaSparse
import LacunaTensor

/// Makes features of a CSV file's columns.
struct CSVFeatures {
    let path: String
    let csv: CSVTable
    let layout: TableLayout
    private let targets: [CSVTable.Column]
    private let weights, offset, event, group, fold: CSVTable.Column?
    /// What is left for features.
    let columns: [CSVTable.Column]
    private let categories: Set<String>

    init(_ path: String, _ layout: TableLayout, groupColumn: String? = nil, isPrediction: Bool) throws {
        let csv: CSVTable
        do {
            csv = try CSVTable(contentsOf: path, layout.csv)
        } catch LacunaError.malformed(path, let place, let reason) where reason.hasSuffix("is there no header?") {
            throw LacunaError.malformed(file: path, location: place, reason: reason + " --header no or yes says so")
        }
        func column(_ option: String, _ name: String) throws -> CSVTable.Column {
            if let found = csv[name] { return found }
            if let number = Int(name), (1...max(csv.columns.count, 1)).contains(number) {
                return csv.columns[number - 1]
            }
            throw LacunaError.invalidArgument(
                option,
                reason: "\(path) has no column '\(name)'; it has "
                    + csv.columns.prefix(20).map(\.name).joined(separator: ", ")
                    + Suggestion.phrase(name, among: csv.columns.map(\.name)))
        }
        self.path = path
        self.csv = csv
        self.layout = layout
        targets = try layout.targets.map { try column("--target", $0) }
        weights = try layout.weights.map { try column("--weights", $0) }
        // An offset is part of the model: a file without it cannot be predicted.
        offset = try layout.offset.map { try column("--offset", $0) }
        event = try layout.event.map { try column("--event", $0) }
        group = try isPrediction ? groupColumn.flatMap { csv[$0] } : layout.group.map { try column("--group", $0) }
        fold = try layout.fold.map { try column("--fold-column", $0) }
        let away = try Set(layout.drop.map { try column("--drop", $0).name })
        categories = try Set(layout.categories.map { try column("--category", $0).name })
        let own = Set((targets + [weights, offset, event, group, fold].compactMap { $0 }).map(\.name))
        columns = csv.columns.filter { !away.contains($0.name) && !own.contains($0.name) }
        if let name = categories.first(where: { away.contains($0) || own.contains($0) }) {
            throw LacunaError.invalidArgument("--category", reason: "'\(name)' is no feature")
        }
    }

    func malformed(_ column: CSVTable.Column, _ reason: String) -> LacunaError {
        .malformed(file: path, location: "column '\(column.name)'", reason: reason)
    }

    /// - Parameter coding: What a model needs, in its order; nil to take all columns.
    func table(_ coding: FeatureList?) throws -> Table {
        var dropped: Set<Int> = []
        if layout.missing == .drop && coding == nil {
            let used = columns.filter { !isLeftOut($0) }
            for column in used + targets + [weights, offset, event, group, fold].compactMap({ $0 }) {
                dropped.formUnion(column.missing)
            }
        }
        let needed =
            targets.map { ($0, "target") }
            + [
                (weights, "weight"), (offset, "offset"), (event, "event"), (coding == nil ? group : nil, "group"),
                (fold, "fold"),
            ]
            .compactMap { column, what in column.map { ($0, what) } }
        for (column, what) in needed {
            guard let row = column.missing.first(where: { !dropped.contains($0) }) else { continue }
            let advice = coding == nil ? "; --missing drop leaves such rows out" : ""
            throw malformed(column, "the \(what) is missing in row \(row + 1)\(advice)")
        }
        let kept = (0..<csv.rows).filter { !dropped.contains($0) }
        if kept.isEmpty { throw LacunaError.malformed(file: path, location: "rows", reason: "none is left") }
        let features = try coding ?? FeatureList(self.coding(kept))
        try MachineMemory.require(
            shape: [features.count, kept.count], of: Double.self, for: "\(features.count) features")
        var values: [Double] = []
        values.reserveCapacity(features.count * kept.count)
        var words: (column: String, words: [String])?
        for (index, feature) in features.enumerated() {
            guard let column = csv[feature.column] else {
                throw LacunaError.malformed(
                    file: path, location: "header",
                    reason: "the model's column '\(feature.column)' is missing"
                        + Suggestion.phrase(feature.column, among: csv.columns.map(\.name)))
            }
            switch feature.kind {
            case .number:
                guard case .numbers(let numbers) = column.values else {
                    guard case .text(let text) = column.values else { continue }
                    let row = kept.first { NumberOrNot.isWord(text[$0]) } ?? kept[0]
                    throw malformed(column, "'\(text[row].prefix(40))' in row \(row + 1) is not a number")
                }
                for row in kept { values.append(try filled(numbers[row], feature, column, row)) }
            case .level:
                if words?.column != column.name {
                    words = (column.name, column.words)
                    // Once for each column: every word must be one that the model knows.
                    if coding != nil {
                        let levels = Set(features[index...].filter { $0.column == column.name }.compactMap(\.level))
                        let own = words?.words ?? []
                        if let row = kept.first(where: { !own[$0].isEmpty && !levels.contains(own[$0]) }) {
                            throw malformed(
                                column,
                                "'\(own[row].prefix(40))' in row \(row + 1) is none of the words the model knows: "
                                    + levels.sorted().prefix(20).joined(separator: ", "))
                        }
                    }
                }
                let own = words?.words ?? []
                if let row = kept.first(where: { own[$0].isEmpty }) {
                    throw malformed(column, "a value is missing in row \(row + 1), and it is one of words")
                }
                for row in kept { values.append(own[row] == feature.level ? 1 : 0) }
            case .date, .year, .month, .weekday:
                let own = column.words
                for row in kept {
                    let days = own[row].isEmpty ? Double.nan : DateSpelling.days(own[row])
                    guard let days else {
                        throw malformed(column, "'\(own[row].prefix(40))' in row \(row + 1) is no date")
                    }
                    values.append(
                        try filled(days.isNaN ? .nan : feature.number(days: days), feature, column, row))
                }
            }
        }
        var design: any Design = DenseDesign(columnMajor: values, rows: kept.count)
        if features.isEmpty { design = SparseDesign(SparseMatrix(zeros: kept.count, 0)) }
        var table = Table(file: path, design: design, features: features)
        table.responses = targets.map { column in
            let own = column.words
            var numbers: [Double]?
            if case .numbers(let all) = column.values { numbers = kept.map { all[$0] } }
            return .init(name: column.name, spellings: kept.map { own[$0] }, numbers: numbers)
        }
        if kept.count < csv.rows { table.rowNumbers = kept.map { $0 + 1 } }
        if let group {
            table.groupColumn = group.name
            let own = group.words
            table.groups = kept.map { own[$0] }
        }
        func numbers(_ column: CSVTable.Column?) throws -> [Double]? {
            guard let column else { return nil }
            guard case .numbers(let numbers) = column.values else { throw malformed(column, "is not of numbers") }
            return kept.map { numbers[$0] }
        }
        table.weights = try numbers(weights)
        table.offset = try numbers(offset)
        table.offsetColumn = offset?.name
        if let event {
            table.eventColumn = event.name
            table.events = try events(event, kept)
        }
        if let fold {
            // Folds are labels; their order is that of their first rows.
            let own = fold.words
            let groups = RowGroups(kept.map { own[$0] })
            guard groups.count >= 2 else { throw malformed(fold, "has 1 fold, 2 are needed") }
            table.folds = groups.indices
        }
        table.remarks = csv.remarks
        return table
    }

    /// Whether each row had its event.
    private func events(_ column: CSVTable.Column, _ kept: [Int]) throws -> [Bool] {
        let words = column.words
        var isFromOne = false
        if case .numbers(let numbers) = column.values { isFromOne = kept.contains { numbers[$0] == 2 } }
        return try kept.map { row in
            let word = words[row].lowercased()
            if let number = Double(word) {
                if number == (isFromOne ? 1 : 0) { return false }
                if number == (isFromOne ? 2 : 1) { return true }
            }
            if ["true", "yes"].contains(word) { return true }
            if ["false", "no"].contains(word) { return false }
            throw malformed(
                column,
                "'\(words[row].prefix(40))' in row \(row + 1) does not say whether there was an event; 1 or 0, true or false, yes "
                    + "or no do, and 2 or 1 where there is a 2")
        }
    }

    private func filled(
        _ value: Double, _ feature: FeatureCoding, _ column: CSVTable.Column, _ row: Int
    ) throws -> Double {
        guard value.isNaN else { return value }
        guard let filler = feature.filler else {
            throw malformed(
                column,
                "a value is missing in row \(row + 1), and the model has none to fill in; fitted with --missing mean it would"
            )
        }
        return filler
    }

    /// Whether no feature comes of a column.
    private func isLeftOut(_ column: CSVTable.Column) -> Bool {
        if categories.contains(column.name) { return false }
        guard case .text(let words) = column.values else { return false }
        if layout.dates != .text && NumberOrNot.areDates(words) { return false }
        return layout.text == .drop
    }

    /// What each column becomes.
    private func coding(_ kept: [Int]) throws -> [FeatureCoding] {
        try columns.flatMap { column -> [FeatureCoding] in
            if categories.contains(column.name) { return try levels(column, column.words, kept) }
            switch column.values {
            case .numbers(let numbers):
                return [FeatureCoding(column: column.name, filler: try filler(column, kept.map { numbers[$0] }))]
            case .text(let words):
                if layout.dates != .text, NumberOrNot.areDates(words) {
                    let kinds: [FeatureCoding.Kind] =
                        layout.dates == .days ? [.date] : [.date, .year, .month, .weekday]
                    return try kinds.map { kind in
                        var feature = FeatureCoding(column: column.name, kind: kind)
                        feature.filler = try filler(
                            column, kept.map { DateSpelling.days(words[$0]).map { feature.number(days: $0) } ?? .nan })
                        return feature
                    }
                }
                switch layout.text {
                case .drop: return []
                case .error:
                    let row = words.firstIndex { NumberOrNot.isWord($0) } ?? 0
                    let isDate = NumberOrNot.areDates(words)
                    throw malformed(
                        column,
                        "'\(words[row].prefix(40))' in row \(row + 1) is not a number; "
                            + (isDate ? "--dates days or parts makes numbers of it, " : "")
                            + "--text one-hot makes features of it, --text drop leaves the column out")
                case .oneHot:
                    if let row = NumberOrNot.strayWord(words) {
                        throw malformed(
                            column,
                            "is of numbers but for words such as '\(words[row].prefix(40))' in row \(row + 1): --na says that "
                                + "it is a missing value, --category that every number is a word")
                    }
                    return try levels(column, words, kept)
                }
            }
        }
    }

    /// What stands in for a gap; the mean is kept for all columns, since new rows may have gaps where these have none.
    private func filler(_ column: CSVTable.Column, _ numbers: [Double]) throws -> Double? {
        if layout.missing == .mean {
            let known = numbers.filter { !$0.isNaN }
            guard let first = known.first else {
                throw malformed(column, "has no value at all; --drop leaves it out")
            }
            return known.reduce(0) { $0 + ($1 - first) } / Double(known.count) + first
        }
        if layout.missing == .error, let hole = column.missing.first {
            throw malformed(
                column,
                "a value is missing in row \(hole + 1); --missing mean fills in, --missing drop leaves rows out")
        }
        return nil
    }

    private func levels(_ column: CSVTable.Column, _ words: [String], _ kept: [Int]) throws -> [FeatureCoding] {
        // No mean stands in for a word, and leaving it 0 would make it the baseline.
        if let row = kept.first(where: { words[$0].isEmpty }) {
            throw malformed(column, "a word is missing in row \(row + 1); --missing drop leaves such rows out")
        }
        let levels = Set(kept.map { words[$0] }).sorted()
        guard levels.count <= 1000 else { throw malformed(column, "has \(levels.count) different values") }
        return levels.map { FeatureCoding(column: column.name, level: $0) }
    }
}

/// What words are.
enum NumberOrNot {
    static func isWord(_ word: String) -> Bool { !word.isEmpty && Double(word) == nil }

    /// Whether all words are dates.
    static func areDates(_ words: [String]) -> Bool {
        words.contains { !$0.isEmpty } && words.allSatisfy { $0.isEmpty || DateSpelling.days($0) != nil }
    }

    /// The first word among what are otherwise numbers, far too many of them for labels.
    static func strayWord(_ words: [String]) -> Int? {
        let numbers = words.filter { Double($0) != nil }
        let present = words.count { !$0.isEmpty }
        guard numbers.count * 10 >= present * 8, Set(numbers).count > 20 else { return nil }
        return words.firstIndex(where: isWord)
    }
}
