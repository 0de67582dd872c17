/// Matrices that a token passes one after the other; those of a group have the same input.
struct Shapes {
    struct Matrix: Hashable {
        var rows: Int
        var columns: Int
    }

    var name: String
    var groups: [[Matrix]]

    var weightCount: Int { groups.joined().reduce(0) { $0 + $1.rows * $1.columns } }

    /// One matrix that no cache holds.
    static let square = Shapes(name: "4096 × 4096", groups: [[Matrix(rows: 4096, columns: 4096)]])

    /// The linear layers of SmolLM2-135M: 30 blocks of query, key and value; output; gate and up; down.
    static let smolLM2 = Shapes(
        name: "SmolLM2-135M's 210 linear layers",
        groups: [[Matrix]](repeating: [], count: 30).flatMap { _ in
            [
                [Matrix(rows: 576, columns: 576), Matrix(rows: 192, columns: 576), Matrix(rows: 192, columns: 576)],
                [Matrix(rows: 576, columns: 576)],
                [Matrix(rows: 1536, columns: 576), Matrix(rows: 1536, columns: 576)],
                [Matrix(rows: 576, columns: 1536)],
            ]
        })
}
