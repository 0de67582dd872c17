import LacunaTensor

/// What kind of table a file is, by the ending of its name.
enum TableFormat {
    case csv, svmlight, npy, npz, matrixMarket

    /// Without the dot.
    static let endings = ["csv", "tsv", "txt", "svm", "libsvm", "svmlight", "npy", "npz", "mtx"]

    /// - Throws: ``LacunaError/unsupported(file:what:)`` for another ending.
    init(_ path: String) throws {
        switch path.split(separator: ".").last?.lowercased() {
        case "csv", "tsv", "txt": self = .csv
        case _ where path == "/dev/stdin": self = .csv
        case "svm", "libsvm", "svmlight": self = .svmlight
        case "npy": self = .npy
        case "npz": self = .npz
        case "mtx": self = .matrixMarket
        default:
            throw LacunaError.unsupported(
                file: path, what: "the ending; .csv, .tsv, .svm, .npy, .npz and .mtx are read")
        }
    }
}
