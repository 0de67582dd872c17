import LacunaTensor

/// What kind of table a file is, by the ending of its name.
public enum TableFormat: Sendable {
    /// Text: by commas, semicolons or tabs; SVMlight; NumPy's array and archive of arrays; MatrixMarket.
    case csv, svmlight, npy, npz, matrixMarket

    /// Without the dot.
    public static let endings = ["csv", "tsv", "txt", "gz", "svm", "libsvm", "svmlight", "npy", "npz", "mtx"]

    /// - Throws: ``LacunaError/unsupported(file:what:)`` for another ending.
    public init(_ path: String) throws {
        var words = path.lowercased().split(separator: "/").last?.split(separator: ".").map(String.init) ?? []
        // A gzipped table has its own ending before that.
        let isPacked = words.count > 1 && words.last == "gz"
        if isPacked { words.removeLast() }
        switch words.count > 1 ? words.last : nil {
        case "csv", "tsv", "txt": self = .csv
        case _ where path == "/dev/stdin": self = .csv
        case "svm" where !isPacked, "libsvm" where !isPacked, "svmlight" where !isPacked: self = .svmlight
        case "npy" where !isPacked: self = .npy
        case "npz" where !isPacked: self = .npz
        case "mtx" where !isPacked: self = .matrixMarket
        case "parquet", "feather", "arrow", "xls", "xlsx", "sas7bdat", "rds":
            throw LacunaError.unsupported(
                file: path, what: "a .\(words.last ?? "") file; write it as .csv or .npz where it was made")
        default:
            throw LacunaError.unsupported(
                file: path,
                what: "the ending; .csv, .tsv, .csv.gz, .svm, .npy, .npz and .mtx are read")
        }
    }
}
