import LacunaTensor

/// The argument of `--sparsities`: fractions separated by commas.
enum SparsityList {
    /// The fractions in ascending order, each once.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` naming what is no fraction of at least 0 and below 1, and for an
    ///   empty list.
    static func parse(_ list: String) throws -> [Double] {
        let values = try list.split(separator: ",").map { item in
            guard let value = Double(item.filter { $0 != " " }), value >= 0, value < 1 else {
                throw LacunaError.invalidArgument(
                    "--sparsities", reason: "'\(item)' is no fraction of at least 0 and below 1")
            }
            return value
        }
        guard !values.isEmpty else { throw LacunaError.invalidArgument("--sparsities", reason: "names none") }
        return Set(values).sorted()
    }
}
