import LacunaIO
import LacunaRegress
import LacunaTensor

/// How columns of a CSV file become features, so that prediction repeats what fitting did.
struct FeatureCoding: Equatable {
    /// The column's name in the file, or its number from 1 where the file has no names.
    var column: String
    /// The value that this feature indicates, for text columns.
    var level: String?
    /// What stands in for missing values.
    var filler: Double?

    var name: String { level.map { "\(column)=\($0)" } ?? column }
}

/// A design with the names of its columns, and a target where one was asked for.
struct FitData {
    var design: any Design
    var features: [FeatureCoding]
    var target: [Double]?
    var weights: [Double]?
    /// What the two values of a text target are, the one that counts as 0 first.
    var classes: [String]?
    /// What rows belong to, where that was asked for; empty for unknown.
    var groups: [String]?
    /// The column that says so, if it is one.
    var groupColumn: String?
    /// The rows of the file that are here, from 1; nil for all of them.
    var rowNumbers: [Int]?

    enum Missing: String, CaseIterable { case error, mean, drop }
    enum Text: String, CaseIterable {
        case error
        case oneHot = "one-hot"
        case drop
    }

    /// Reads a file by its ending: .csv and .tsv, .svm and .libsvm, .npy, .npz, .mtx.
    ///
    /// - Parameters:
    ///   - target: A column's name, its number from 1, or, for .npy and .mtx, a file of one number a line or .npy; in .npz
    ///     files an array. SVMlight files bring their own.
    ///   - group: A column of labels of rows that belong together; for other files than CSV a file of one label a line.
    ///   - coding: What a stored model needs, in its order; nil to take all columns. With it, the column of groups may be absent.
    static func read(
        _ path: String, target: String?, weights: String? = nil, group: String? = nil, drop: [String] = [],
        missing: Missing = .error, text: Text = .error, header: CSVTable.Header = .auto,
        coding: [FeatureCoding]? = nil
    ) throws -> FitData {
        let format = try TableFormat(path)
        if format == .csv {
            return try CSVFeatures(
                path, target, weights, group, drop, missing, text, header, isPrediction: coding != nil
            ).data(coding)
        }
        if weights != nil || !drop.isEmpty {
            throw LacunaError.invalidArgument("--weights and --drop", reason: "are for CSV files")
        }
        var data: FitData
        switch format {
        case .svmlight:
            let file = try SvmlightFile(contentsOf: path)
            data = FitData(design: try sparse(file.features, columns: coding?.count), features: [], target: file.labels)
        case .matrixMarket:
            let file = try MatrixMarketFile(contentsOf: path)
            switch file.content {
            case .sparse(let matrix): data = FitData(design: SparseDesign(matrix), features: [])
            case .dense(let values):
                data = FitData(design: DenseDesign(columnMajor: values, rows: file.rows), features: [])
            }
            data.target = try target.map(vector)
        case .npy:
            data = try mapped(path, target: target) ?? array(try NumPyArray(contentsOf: path), path, target: target)
        case .npz:
            let archive = try NumPyArchive(contentsOf: path)
            if archive.names.contains("indptr") {
                throw LacunaError.unsupported(
                    file: path,
                    what: "a sparse matrix of scipy.sparse.save_npz; scipy.io.mmwrite writes one that is read")
            }
            let name = archive.names.count == 1 ? archive.names[0] : "X"
            guard let matrix = try archive.array(name) ?? archive.array("x") else {
                throw LacunaError.malformed(
                    file: path, location: "arrays", reason: "there is no array 'X' among \(archive.names)")
            }
            if let target, let y = try archive.array(target) {
                data = FitData(
                    design: DenseDesign(columnMajor: matrix.columnMajor, rows: matrix.rows), features: [],
                    target: y.columnMajor)
            } else {
                data = try array(matrix, path, target: target)
            }
        case .csv: throw LacunaError.unsupported(file: path, what: "a table of text where numbers are read")
        }
        guard data.design.rows > 0 && data.design.columns > 0 else {
            throw LacunaError.malformed(
                file: path, location: "shape",
                reason:
                    "\(data.design.rows) rows and \(data.design.columns) columns beside the target leave nothing to fit"
            )
        }
        data.features = (0..<data.design.columns).map { FeatureCoding(column: String($0 + 1)) }
        if let y = data.target, y.count != data.design.rows {
            throw LacunaError.malformed(
                file: path, location: "target", reason: "has \(y.count) values for \(data.design.rows) rows")
        }
        if let group, coding == nil {
            let labels = try FileSystem.readText(group).split(whereSeparator: \.isNewline).map(String.init)
            guard labels.count == data.design.rows else {
                throw LacunaError.malformed(
                    file: group, location: "lines", reason: "\(labels.count) labels for \(data.design.rows) rows")
            }
            data.groups = labels
        }
        if let coding, coding.count != data.features.count {
            throw LacunaError.malformed(
                file: path, location: "columns",
                reason: "there are \(data.features.count), the model has \(coding.count)")
        }
        return data
    }

    private static func sparse(_ file: SparseMatrix<Double>, columns: Int? = nil) throws -> SparseDesign {
        // A file to predict may lack the last features altogether.
        let extra = max(0, (columns ?? 0) - file.columns)
        return SparseDesign(try .stackedHorizontally([file, SparseMatrix(zeros: file.rows, extra)]))
    }

    /// Columns of doubles stay on disk; nil where the file or the choice of the target does not allow it.
    private static func mapped(_ path: String, target: String?) throws -> FitData? {
        let file = try MappedFile(path)
        let header = try NumPyHeader(file)
        guard header.rows > 0 && header.columns > 0 else {
            throw LacunaError.malformed(
                file: path, location: "shape", reason: "\(header.rows) by \(header.columns) has no numbers")
        }
        guard header.isMappable else { return nil }
        func design(_ columns: Range<Int>) throws -> DenseDesign {
            try DenseDesign(
                mapping: file, offset: header.offset + columns.lowerBound * header.rows * 8, rows: header.rows,
                columns: columns.count)
        }
        guard let target else { return FitData(design: try design(0..<header.columns), features: []) }
        guard let number = Int(target) else {
            return FitData(design: try design(0..<header.columns), features: [], target: try vector(target))
        }
        // Without its first or last column the matrix is still one piece.
        let rest: Range<Int>
        switch number {
        case 1: rest = 1..<header.columns
        case header.columns: rest = 0..<header.columns - 1
        default:
            guard (1...max(header.columns, 1)).contains(number) else {
                throw LacunaError.invalidArgument(
                    "--target", reason: "'\(target)' is no column from 1 to \(header.columns)")
            }
            return nil
        }
        var y = [Double](repeating: 0, count: header.rows)
        try y.withUnsafeMutableBufferPointer { y in
            if let base = y.baseAddress { try design(number - 1..<number).add(1, column: 0, to: base) }
        }
        return FitData(design: try design(rest), features: [], target: y)
    }

    private static func array(_ array: NumPyArray, _ path: String, target: String?) throws -> FitData {
        guard let target else {
            return FitData(design: DenseDesign(columnMajor: array.columnMajor, rows: array.rows), features: [])
        }
        guard let number = Int(target) else {
            return FitData(
                design: DenseDesign(columnMajor: array.columnMajor, rows: array.rows), features: [],
                target: try vector(target))
        }
        guard array.rows > 0, (1...max(array.columns, 1)).contains(number) else {
            throw LacunaError.invalidArgument(
                "--target", reason: "'\(target)' is no column from 1 to \(array.columns)")
        }
        var values = array.columnMajor
        let range = (number - 1) * array.rows..<number * array.rows
        let y = Array(values[range])
        values.removeSubrange(range)
        return FitData(design: DenseDesign(columnMajor: values, rows: array.rows), features: [], target: y)
    }

    private static func vector(_ path: String) throws -> [Double] {
        guard FileSystem.exists(path) else {
            throw LacunaError.invalidArgument(
                "--target",
                reason:
                    "'\(path)' is no file; the target of .npy and .mtx data is a file of its own: .npy, .mtx, or one "
                    + "number a line" + (Int(path) == nil ? "" : " (only .npy data can have it as a column, by number)")
            )
        }
        if path.hasSuffix(".npy") { return try NumPyArray(contentsOf: path).columnMajor }
        if path.hasSuffix(".mtx") { return try vector(MatrixMarketFile(contentsOf: path), path) }
        return try FileSystem.readText(path).split(whereSeparator: \.isNewline).enumerated().map { index, line in
            guard let value = Double(line.filter { $0 != " " && $0 != "\t" }), value.isFinite else {
                throw LacunaError.malformed(
                    file: path, location: "line \(index + 1)", reason: "'\(line.prefix(40))' is not a finite number")
            }
            return value
        }
    }

    /// The one column of a MatrixMarket file.
    private static func vector(_ file: MatrixMarketFile, _ path: String) throws -> [Double] {
        func requireColumn(_ columns: Int) throws {
            guard columns == 1 else {
                throw LacunaError.malformed(
                    file: path, location: "size", reason: "a target has 1 column, not \(columns)")
            }
        }
        switch file.content {
        case .dense(let values):
            try requireColumn(file.columns)
            return values
        case .sparse(let matrix):
            try requireColumn(matrix.columns)
            let design = SparseDesign(matrix)
            var values = [Double](repeating: 0, count: design.rows)
            design.add(1, column: 0, to: &values)
            return values
        }
    }
}

/// Makes features of a CSV file's columns.
private struct CSVFeatures {
    let path: String
    let table: CSVTable
    let target: CSVTable.Column?
    let weights: CSVTable.Column?
    let group: CSVTable.Column?
    let columns: [CSVTable.Column]
    let missing: FitData.Missing
    let text: FitData.Text

    init(
        _ path: String, _ target: String?, _ weights: String?, _ group: String?, _ drop: [String],
        _ missing: FitData.Missing, _ text: FitData.Text, _ header: CSVTable.Header, isPrediction: Bool
    ) throws {
        let table: CSVTable
        do {
            table = try CSVTable(contentsOf: path, header: header)
        } catch LacunaError.malformed(path, let place, let reason) where reason.hasSuffix("is there no header?") {
            throw LacunaError.malformed(file: path, location: place, reason: reason + " --header no or yes says so")
        }
        func column(_ option: String, _ name: String) throws -> CSVTable.Column {
            if let found = table[name] { return found }
            if let number = Int(name), (1...table.columns.count).contains(number) { return table.columns[number - 1] }
            throw LacunaError.invalidArgument(
                option,
                reason: "\(path) has no column '\(name)'; it has "
                    + table.columns.prefix(20).map(\.name).joined(separator: ", ")
                    + Suggestion.phrase(name, among: table.columns.map(\.name)))
        }
        self.path = path
        self.table = table
        self.target = try target.map { try column("--target", $0) }
        self.weights = try weights.map { try column("--weights", $0) }
        self.group = try isPrediction ? group.flatMap { table[$0] } : group.map { try column("--group", $0) }
        let away = try Set(drop.map { try column("--drop", $0).name })
        let own = Set([self.target?.name, self.weights?.name, self.group?.name].compactMap { $0 })
        columns = table.columns.filter { !away.contains($0.name) && !own.contains($0.name) }
        self.missing = missing
        self.text = text
    }

    private func malformed(_ column: CSVTable.Column, _ reason: String) -> LacunaError {
        .malformed(file: path, location: "column '\(column.name)'", reason: reason)
    }

    func data(_ coding: [FeatureCoding]?) throws -> FitData {
        var dropped: Set<Int> = []
        if missing == .drop && coding == nil {
            let used = columns.filter { if case .text = $0.values { text != .drop } else { true } }
            for column in used + [group, target, weights].compactMap({ $0 }) { dropped.formUnion(column.missing) }
        }
        for (column, what) in [(target, "target"), (weights, "weight"), (coding == nil ? group : nil, "group")] {
            guard let column, let row = column.missing.first(where: { !dropped.contains($0) }) else { continue }
            let advice = coding == nil ? "; --missing drop leaves such rows out" : ""
            throw malformed(column, "the \(what) is missing in row \(row + 1)\(advice)")
        }
        let kept = (0..<table.rows).filter { !dropped.contains($0) }
        if kept.isEmpty { throw LacunaError.malformed(file: path, location: "rows", reason: "none is left") }
        let features = try coding ?? self.coding(kept)
        var values: [Double] = []
        values.reserveCapacity(features.count * kept.count)
        for feature in features {
            guard let column = table[feature.column] else {
                throw LacunaError.malformed(
                    file: path, location: "header", reason: "the model's column '\(feature.column)' is missing")
            }
            switch (column.values, feature.level) {
            case (.numbers(let numbers), nil):
                for row in kept {
                    guard !numbers[row].isNaN else {
                        guard let filler = feature.filler else {
                            throw malformed(
                                column,
                                "a value is missing in row \(row + 1), and the model has none to fill in; fitted with "
                                    + "--missing mean it would")
                        }
                        values.append(filler)
                        continue
                    }
                    values.append(numbers[row])
                }
            case (.text(let words), let level?):
                if let row = kept.first(where: { words[$0].isEmpty }) {
                    throw malformed(column, "a value is missing in row \(row + 1), and it is one of words")
                }
                for row in kept { values.append(words[row] == level ? 1 : 0) }
            case (.numbers(let numbers), let level?):
                // The model saw words among these numbers.
                for row in kept { values.append("\(numbers[row])" == level ? 1 : 0) }
            case (.text(let words), nil):
                let row = kept.first { Double(words[$0]) == nil } ?? kept[0]
                throw malformed(column, "'\(words[row].prefix(40))' in row \(row + 1) is not a number")
            }
        }
        var data = FitData(design: DenseDesign(columnMajor: values, rows: kept.count), features: features)
        if features.isEmpty { data.design = SparseDesign(SparseMatrix(zeros: kept.count, 0)) }
        if let target {
            switch target.values {
            case .numbers(let numbers): data.target = kept.map { numbers[$0] }
            case .text(let words):
                let classes = Set(kept.map { words[$0] }).sorted()
                guard classes.count == 2 else {
                    throw malformed(target, "the target is text of \(classes.count) values; numbers or 2 are needed")
                }
                data.classes = classes
                data.target = kept.map { words[$0] == classes[1] ? 1 : 0 }
            }
        }
        if kept.count < table.rows { data.rowNumbers = kept.map { $0 + 1 } }
        if let group {
            data.groupColumn = group.name
            switch group.values {
            case .text(let words): data.groups = kept.map { words[$0] }
            case .numbers(let numbers):
                data.groups = kept.map { row in
                    numbers[row].isNaN ? "" : Int(exactly: numbers[row]).map { String($0) } ?? "\(numbers[row])"
                }
            }
        }
        if let weights {
            guard case .numbers(let numbers) = weights.values else { throw malformed(weights, "is not of numbers") }
            data.weights = kept.map { numbers[$0] }
        }
        return data
    }

    private func coding(_ kept: [Int]) throws -> [FeatureCoding] {
        try columns.flatMap { column -> [FeatureCoding] in
            switch column.values {
            case .numbers(let numbers):
                guard let hole = column.missing.first, missing != .drop else {
                    return [FeatureCoding(column: column.name)]
                }
                guard missing == .mean else {
                    throw malformed(
                        column,
                        "a value is missing in row \(hole + 1); --missing mean fills in, --missing drop leaves rows out"
                    )
                }
                let known = numbers.filter { !$0.isNaN }
                let mean = known.isEmpty ? 0 : known.reduce(0, +) / Double(known.count)
                return [FeatureCoding(column: column.name, filler: mean)]
            case .text(let words):
                switch text {
                case .drop: return []
                case .error:
                    let row = words.firstIndex { Double($0) == nil && !$0.isEmpty } ?? 0
                    throw malformed(
                        column,
                        "'\(words[row].prefix(40))' in row \(row + 1) is not a number; --text one-hot makes "
                            + "features of it, --text drop leaves the column out")
                case .oneHot:
                    let levels = Set(kept.map { words[$0] }).subtracting([""]).sorted()
                    // No mean stands in for a word, and leaving it 0 would make it the baseline.
                    if let row = kept.first(where: { words[$0].isEmpty }) {
                        throw malformed(
                            column, "a word is missing in row \(row + 1); --missing drop leaves such rows out")
                    }
                    guard levels.count <= 1000 else { throw malformed(column, "has \(levels.count) different values") }
                    return levels.map { FeatureCoding(column: column.name, level: $0) }
                }
            }
        }
    }
}
