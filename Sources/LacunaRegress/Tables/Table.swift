import LacunaIO
import LacunaSparse
import LacunaTensor

/// A table ready to be fitted: a design with the names of its columns, and targets, weights and groups where they were asked
/// for.
///
///     let table = try Table(contentsOf: "houses.csv", TableLayout(target: "price"))
///     let fit = try Estimator(penalty: .lasso).fit(table)
///     try fit.model.save(to: "houses.json")
///     let prices = try LinearModel(contentsOf: "houses.json").predict(Table(contentsOf: "new.csv", for: fit.model))
public struct Table: Sendable {
    /// Where it was read.
    public let file: String
    /// The columns.
    public internal(set) var design: any Design
    /// One for each column of the design.
    public internal(set) var features: FeatureList
    /// The targets, one for each response that was asked for; empty for none.
    public internal(set) var responses: [Response] = []
    /// How much each row counts; nil for alike.
    public internal(set) var weights: [Double]?
    /// What is added to the predictor of each row.
    public internal(set) var offset: [Double]?
    /// The column that says so.
    public internal(set) var offsetColumn: String?
    /// Which rows had the event that their target is the time of; the others were lost from sight then.
    public internal(set) var events: [Bool]?
    /// The column that says so.
    public internal(set) var eventColumn: String?
    /// What rows belong to, as it is written; empty for unknown.
    public internal(set) var groups: [String]?
    /// The column that says so, if it is one.
    public internal(set) var groupColumn: String?
    /// Which fold each row is in, from 0.
    public internal(set) var folds: [Int]?
    /// The rows of the file that are here, from 1; nil for all of them.
    public internal(set) var rowNumbers: [Int]?
    /// Whether the file counts its features from 0; nil where they have names.
    public internal(set) var isZeroBased: Bool?
    /// What a reader should know of the file.
    public internal(set) var remarks: [String] = []

    /// A target as it is written and, where it is of numbers, as those.
    public struct Response: Sendable, Equatable {
        /// The column's name.
        public let name: String
        /// One for each row; nil where they are known as numbers only.
        let spellings: [String]?
        /// Nil for text.
        public let numbers: [Double]?

        /// A target of numbers.
        public init(name: String, numbers: [Double]) {
            self.name = name
            spellings = nil
            self.numbers = numbers
        }

        init(name: String, spellings: [String], numbers: [Double]?) {
            self.name = name
            self.spellings = spellings
            self.numbers = numbers
        }

        /// What is written in each row.
        public var words: [String] {
            spellings
                ?? (numbers ?? []).map { number in Int(exactly: number).map { String($0) } ?? "\(number)" }
        }
        /// How many rows it has.
        public var count: Int { numbers?.count ?? spellings?.count ?? 0 }
    }

    /// A table of your own making.
    ///
    /// - Parameters:
    ///   - names: One for each column; their numbers from 1 for nil.
    ///   - target: One number for each row.
    ///   - events: Whether the target is the time of an event, for the family ``Family/cox(ties:)``.
    ///   - folds: Which fold of cross-validation each row is in, from 0; at least two folds, and a row in each.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the lengths differ, and for other folds.
    public init(
        _ design: any Design, names: [String]? = nil, target: [Double]? = nil, events: [Bool]? = nil,
        weights: [Double]? = nil, folds: [Int]? = nil
    ) throws {
        for (what, count, expected) in [
            ("names", names?.count, design.columns), ("target", target?.count, design.rows),
            ("events", events?.count, design.rows), ("weights", weights?.count, design.rows),
            ("folds", folds?.count, design.rows),
        ] {
            if let count, count != expected {
                throw LacunaError.invalidArgument(what, reason: "are \(count), not \(expected)")
            }
        }
        file = "table"
        self.design = design
        features =
            names.map { FeatureList($0.map { FeatureCoding(column: $0) }) } ?? FeatureList(counting: design.columns)
        responses = target.map { [Response(name: "target", numbers: $0)] } ?? []
        self.events = events
        self.weights = weights
        if let folds {
            let found = Set(folds)
            guard found.count >= 2, found.min() == 0, found.max() == found.count - 1 else {
                throw LacunaError.invalidArgument("folds", reason: "are not two or more, counted from 0 without a gap")
            }
        }
        self.folds = folds
    }

    init(file: String, design: any Design, features: FeatureList? = nil) {
        self.file = file
        self.design = design
        self.features = features ?? FeatureList(counting: design.columns)
    }

    /// How many rows there are.
    public var rows: Int { design.rows }

    /// The number of a row in the file, from 1.
    public func number(ofRow row: Int) -> Int { rowNumbers?[row] ?? row + 1 }

    /// Reads a file by its ending: .csv and .tsv, plain or gzipped, .svm and .libsvm, .npy, .npz, .mtx.
    ///
    /// - Throws: ``LacunaError`` naming the file and the column, row or array for whatever cannot be used as the layout says.
    public init(contentsOf path: String, _ layout: TableLayout = TableLayout()) throws {
        try self.init(contentsOf: path, layout, features: nil, groupColumn: nil)
    }

    /// Reads a file like the one that a model was fitted to: its columns become features as they did then.
    ///
    /// - Parameters:
    ///   - layout: The target, to score predictions, and how the file is written; what concerns features is the model's.
    /// - Throws: As the other initialiser, and for columns that are missing and words that the model does not know.
    public init(
        contentsOf path: String, for model: LinearModel, _ layout: TableLayout = TableLayout()
    ) throws {
        var layout = layout
        if layout.offset == nil { layout.offset = model.offsetColumn }
        // Times are scored by who had an event.
        if layout.event == nil, !layout.targets.isEmpty { layout.event = model.eventColumn }
        try self.init(
            contentsOf: path, layout, features: model.features, groupColumn: model.groups?.column,
            isZeroBased: model.isZeroBased)
    }

    private init(
        contentsOf path: String, _ layout: TableLayout, features: FeatureList?, groupColumn: String?,
        isZeroBased: Bool? = nil
    ) throws {
        let format = try TableFormat(path)
        if format == .csv {
            self = try CSVFeatures(path, layout, groupColumn: groupColumn, isPrediction: features != nil).table(
                features)
            return
        }
        let own: [(String, Bool)] = [
            ("--weights", layout.weights != nil), ("--offset", layout.offset != nil), ("--drop", !layout.drop.isEmpty),
            ("--category", !layout.categories.isEmpty), ("--fold-column", layout.fold != nil),
            ("--event", layout.event != nil), ("--missing", layout.missing != .error),
            ("--text", layout.text != .error), ("--dates", layout.dates != .text),
            ("--header", layout.csv.header != .auto), ("--separator", layout.csv.separator != nil),
            ("--decimal", layout.csv.decimal != nil), ("--na", !layout.csv.missing.isEmpty),
        ]
        if let (option, _) = own.first(where: { $0.1 }) {
            throw LacunaError.invalidArgument(option, reason: "is for CSV files")
        }
        guard layout.targets.count <= 1 else {
            throw LacunaError.invalidArgument("--target", reason: "several are for CSV files")
        }
        let target = layout.targets.first
        switch format {
        case .csv: throw LacunaError.unsupported(file: path, what: "a table of text where numbers are read")
        case .svmlight:
            if target != nil {
                throw LacunaError.invalidArgument(
                    "--target", reason: "is not for \(path): an SVMlight file brings its own")
            }
            self = try Self.svmlight(path, features, isZeroBased)
        case .matrixMarket: self = try Self.matrixMarket(path, target, features)
        case .npy: self = try Self.mapped(path, target) ?? Self.array(NumPyArray(contentsOf: path), path, target)
        case .npz: self = try Self.archive(path, target, features)
        }
        guard design.rows > 0 && design.columns > 0 else {
            throw LacunaError.malformed(
                file: path, location: "shape",
                reason:
                    "\(design.rows) rows and \(design.columns) columns beside the target leave nothing to fit")
        }
        if let response = responses.first, response.count != design.rows {
            throw LacunaError.malformed(
                file: path, location: "target", reason: "has \(response.count) values for \(design.rows) rows")
        }
        if let group = layout.group, features == nil {
            let labels = try FileSystem.readText(group).split(whereSeparator: \.isNewline).map(String.init)
            guard labels.count == design.rows else {
                throw LacunaError.malformed(
                    file: group, location: "lines", reason: "\(labels.count) labels for \(design.rows) rows")
            }
            groups = labels
        }
        if let features, features.count != self.features.count {
            throw LacunaError.malformed(
                file: path, location: "columns",
                reason: "there are \(self.features.count), the model has \(features.count)")
        }
        if let features { self.features = features }
    }

    /// Throws for a design whose numbers, or their squares, are not finite.
    public func requireFinite() throws {
        // One pass over a table that may be larger than memory: any such number shows in its column's norm.
        var norms = [Double](repeating: 0, count: design.columns)
        design.squaredNorms(weights: [Double](repeating: 1, count: design.rows), into: &norms)
        guard let column = norms.firstIndex(where: { !$0.isFinite }) else { return }
        if let place = design.firstNonFinite() {
            throw LacunaError.malformed(
                file: file, location: "row \(number(ofRow: place.row)), feature \(features[place.column].name)",
                reason: "is not a finite number")
        }
        throw LacunaError.malformed(
            file: file, location: "feature \(features[column].name)", reason: "has numbers too large to be squared")
    }

    /// The design as a matrix [rows, columns].
    ///
    /// - Throws: ``LacunaError/resource(_:needed:available:)`` where memory does not suffice.
    public func matrix() throws -> Tensor<Double> {
        var columns = try Tensor<Double>(
            checking: [design.columns, rows], for: "\(rows) rows of \(design.columns) variables")
        columns.withMutablePointer { values in
            values.update(repeating: 0, count: design.columns * rows)
            for j in 0..<design.columns { design.add(1, column: j, to: values + j * rows) }
        }
        return columns.transposed()
    }
}
