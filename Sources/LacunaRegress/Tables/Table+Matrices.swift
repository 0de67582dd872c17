import LacunaIO
import LacunaSparse
import LacunaTensor

/// Files of numbers alone.
extension Table {
    static func svmlight(_ path: String, _ features: FeatureList?, _ isZeroBased: Bool?) throws -> Table {
        let indices = try features.map { features in
            try features.map { feature in
                guard let index = Int(feature.column) else {
                    throw LacunaError.malformed(
                        file: path, location: "features",
                        reason: "are numbered, the model's have names such as '\(feature.column)'")
                }
                return index
            }
        }
        let file = try SvmlightFile(contentsOf: path, columns: indices)
        if file.isZeroBased, isZeroBased == false {
            throw LacunaError.malformed(
                file: path, location: "index 0", reason: "the model counts features from 1")
        }
        var table = Table(
            file: path, design: SparseDesign(file.features),
            features: features ?? FeatureList(numbers: file.indices))
        table.responses = [Response(name: "label", numbers: file.labels)]
        table.isZeroBased = isZeroBased ?? file.isZeroBased
        return table
    }

    static func matrixMarket(_ path: String, _ target: String?, _ features: FeatureList?) throws -> Table {
        let file = try MatrixMarketFile(contentsOf: path)
        var table: Table
        switch file.content {
        case .sparse(let matrix): table = sparse(matrix, path, features)
        case .dense(let values): table = Table(file: path, design: DenseDesign(columnMajor: values, rows: file.rows))
        }
        table.responses = try target.map { [try response($0)] } ?? []
        return table
    }

    /// An array `X`, or the only one, beside an array of targets; or a sparse matrix.
    static func archive(_ path: String, _ target: String?, _ features: FeatureList?) throws -> Table {
        let archive = try NumPyArchive(contentsOf: path)
        if archive.names.contains("format") && archive.names.contains("shape") && archive.names.contains("data") {
            var table = sparse(try SparseMatrix<Double>(npz: path), path, features)
            table.responses = try target.map { [try response($0)] } ?? []
            return table
        }
        var name = archive.names.count == 1 ? archive.names[0] : "X"
        if archive.names.count == 2, let target, archive.names.contains(target) {
            name = archive.names[0] == target ? archive.names[1] : archive.names[0]
        }
        guard let matrix = try archive.array(name) ?? archive.array("x") else {
            throw LacunaError.malformed(
                file: path, location: "arrays", reason: "there is no array 'X' among \(archive.names)")
        }
        guard let target, let y = try archive.array(target) else { return try array(matrix, path, target) }
        var table = Table(file: path, design: DenseDesign(columnMajor: matrix.columnMajor, rows: matrix.rows))
        table.responses = [Response(name: target, numbers: y.columnMajor)]
        return table
    }

    /// Columns of doubles stay on disk; nil where the file or the choice of the target does not allow it.
    static func mapped(_ path: String, _ target: String?) throws -> Table? {
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
        var table = Table(file: path, design: try design(0..<header.columns))
        guard let target else { return table }
        guard let number = Int(target) else {
            table.responses = [try response(target)]
            return table
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
        table = Table(file: path, design: try design(rest), features: names(header.columns, without: number))
        table.responses = [Response(name: target, numbers: y)]
        return table
    }

    /// Columns are called by their numbers in the file, of which the target's is left out.
    private static func names(_ count: Int, without number: Int) -> FeatureList {
        FeatureList(numbers: (1...count).filter { $0 != number })
    }

    /// A matrix by its entries. What a file announces costs nothing: where it has many more columns than entries, those with
    /// entries are the features, and for a model that was fitted to such a file the columns that it knows.
    private static func sparse(_ matrix: SparseMatrix<Double>, _ path: String, _ features: FeatureList?) -> Table {
        if let known = features?.scattered, let last = known.last, known[0] > 0, last <= matrix.columns {
            let columns = OccupiedColumns(known.map { $0 - 1 }, of: matrix.columns)
            return Table(file: path, design: SparseDesign(columns.selected(of: matrix)))
        }
        guard features?.count != matrix.columns, matrix.columns > matrix.count + 1 << 16 else {
            return Table(file: path, design: SparseDesign(matrix))
        }
        let occupied = OccupiedColumns(of: matrix)
        return Table(
            file: path, design: SparseDesign(occupied.selected(of: matrix)),
            features: FeatureList(numbers: occupied.indices.map { $0 + 1 }))
    }

    static func array(_ array: NumPyArray, _ path: String, _ target: String?) throws -> Table {
        func table(_ values: [Double], _ features: FeatureList? = nil) -> Table {
            Table(file: path, design: DenseDesign(columnMajor: values, rows: array.rows), features: features)
        }
        guard let target else { return table(array.columnMajor) }
        guard let number = Int(target) else {
            var result = table(array.columnMajor)
            result.responses = [try response(target)]
            return result
        }
        guard array.rows > 0, (1...max(array.columns, 1)).contains(number) else {
            throw LacunaError.invalidArgument(
                "--target", reason: "'\(target)' is no column from 1 to \(array.columns)")
        }
        var values = array.columnMajor
        let range = (number - 1) * array.rows..<number * array.rows
        let y = Array(values[range])
        values.removeSubrange(range)
        var result = table(values, names(array.columns, without: number))
        result.responses = [Response(name: target, numbers: y)]
        return result
    }

    /// A target that is a file of its own.
    private static func response(_ path: String) throws -> Response {
        guard FileSystem.exists(path) else {
            throw LacunaError.invalidArgument(
                "--target",
                reason:
                    "'\(path)' is no file; the target of .npy, .npz and .mtx data is a file of its own: .npy, .mtx, or one "
                    + "number a line" + (Int(path) == nil ? "" : " (only .npy data can have it as a column, by number)")
            )
        }
        return Response(name: FileSystem.name(of: path), numbers: try vector(path))
    }

    private static func vector(_ path: String) throws -> [Double] {
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
        guard file.columns == 1 else {
            throw LacunaError.malformed(
                file: path, location: "size", reason: "a target has 1 column, not \(file.columns)")
        }
        switch file.content {
        case .dense(let values): return values
        case .sparse(let matrix):
            let design = SparseDesign(matrix)
            var values = [Double](repeating: 0, count: design.rows)
            design.add(1, column: 0, to: &values)
            return values
        }
    }
}
