import LacunaIO
import LacunaTensor

/// A model in a file, with all that it needs to learn on: a saved model and the one it was saved from stay the same to the last
/// bit, whatever both learn afterwards.
extension OnlineWorldModel {
    /// What the file's metadata say under `format`.
    public static let format = "lacuna-world-model"

    /// Writes the model to a safetensors file, which appears whole or not at all.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)``.
    public func save(to path: String) throws {
        let writer = try SafetensorsWriter(
            path,
            metadata: [
                "format": Self.format, "version": "1", "states": "\(states)", "groups": "\(encoding.groups)",
                "perGroup": "\(encoding.perGroup)", "bins": "\(encoding.bins)", "ridge": "\(learner.ridge)",
                "count": "\(learner.count)",
            ])
        func write(_ name: String, _ values: [Double], _ shape: [Int]) throws {
            try writer.write(name, type: .f64, shape: shape, values: values)
        }
        try write("ranges", ranges.flatMap { [$0.middle, $0.half] }, [ranges.count, 2])
        try write("projection", encoding.projection.scalars, encoding.projection.shape)
        try write("coefficients", learner.coefficients, [learner.features, learner.outputs])
        try write("targets", learner.targets, [learner.features, learner.outputs])
        // Rows of the Gram matrix, one after another.
        let gram = learner.gram
        try writer.write(
            "gram.lengths", type: .i32, shape: [learner.features], values: gram.columns.map { Int32($0.count) })
        let columns = gram.columns.joined().map { Int32(bitPattern: $0) }
        try writer.write("gram.columns", type: .i32, shape: [columns.count], values: columns)
        try write("gram.values", Array(gram.values.joined()), [columns.count])
        try writer.finish()
    }

    /// Reads what ``save(to:)`` has written.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)`` and ``LacunaError/malformed(file:location:reason:)`` for a file that cannot be
    ///   read, is of another kind, or contradicts itself.
    public init(contentsOf path: String) throws {
        let file = try SafetensorsFile(path)
        func wrong(_ place: String, _ reason: String) -> LacunaError {
            .malformed(file: path, location: place, reason: reason)
        }
        guard file.metadata["format"] == Self.format, file.metadata["version"] == "1" else {
            throw wrong("metadata", "this is no world model of version 1")
        }
        func number(_ key: String, _ range: ClosedRange<Int>) throws -> Int {
            guard let value = file.metadata[key].flatMap({ Int($0) }), range.contains(value) else {
                throw wrong("metadata", "'\(key)' is \(file.metadata[key] ?? "missing")")
            }
            return value
        }
        func values<T: BitwiseCopyable>(_ name: String, _ type: ElementType, _ shape: [Int]?, _: T.Type) throws -> [T] {
            guard let tensor = file.find(name), tensor.type == .scalar(type), shape == nil || tensor.shape == shape
            else {
                throw wrong("'\(name)'", "is missing, or not of type \(type.rawValue) and shape \(shape ?? [])")
            }
            return try Array(file.bytes(of: name).bindMemory(to: T.self))
        }
        func finite(_ name: String, _ shape: [Int]) throws -> [Double] {
            let found = try values(name, .f64, shape, Double.self)
            guard found.allSatisfy(\.isFinite) else { throw wrong("'\(name)'", "has numbers that are not finite") }
            return found
        }
        let most = Int(Int32.max)
        let (states, groups) = (try number("states", 1...most), try number("groups", 1...most))
        let (perGroup, bins) = (try number("perGroup", 1...8), try number("bins", 1...most))
        let count = try number("count", 0...Int.max)
        guard let ridge = file.metadata["ridge"].flatMap({ Double($0) }), ridge > 0, ridge.isFinite else {
            throw wrong("metadata", "'ridge' is \(file.metadata["ridge"] ?? "missing")")
        }
        guard let inputs = file.find("ranges")?.shape.first, inputs >= states else {
            throw wrong("'ranges'", "are fewer than the \(states) numbers of a state")
        }
        let bounds = try finite("ranges", [inputs, 2])
        guard (0..<inputs).allSatisfy({ bounds[2 * $0 + 1] > 0 }) else { throw wrong("'ranges'", "one is empty") }
        let (axes, axesOverflow) = groups.multipliedReportingOverflow(by: perGroup)
        var (features, overflow) = (groups, axesOverflow)
        for _ in 0..<perGroup where !overflow && features <= most {
            (features, overflow) = features.multipliedReportingOverflow(by: bins + 2)
        }
        guard !overflow, features <= most else { throw wrong("metadata", "there are too many features") }
        let outputs = states + 1
        let projection = try finite("projection", [inputs, axes])
        let coefficients = try finite("coefficients", [features, outputs])
        let targets = try finite("targets", [features, outputs])
        let lengths = try values("gram.lengths", .i32, [features], Int32.self)
        let entries = lengths.reduce(0) { $0 + max(0, Int($1)) }
        let columns = try values("gram.columns", .i32, [entries], Int32.self)
        let gram = try finite("gram.values", [entries])
        var rows = GrowingRows(count: 0)
        var place = 0
        for length in lengths {
            let end = place + Int(length)
            guard length >= 0, end <= entries else { throw wrong("'gram.lengths'", "one is negative") }
            let own = columns[place..<end]
            guard own.allSatisfy({ $0 >= 0 && Int($0) < features }), zip(own.dropFirst(), own).allSatisfy({ $0 > $1 })
            else { throw wrong("'gram.columns'", "do not ascend below \(features)") }
            rows.append(own.map { UInt32($0) }, Array(gram[place..<end]))
            place = end
        }
        self.init(
            ranges: (0..<inputs).map { (bounds[2 * $0], bounds[2 * $0 + 1]) }, states: states,
            encoding: LocalitySensitiveEncoding(
                groups: groups, perGroup: perGroup, bins: bins,
                projection: Tensor(projection, shape: [inputs, axes])),
            learner: SparseFollowTheLeader(
                count: count, ridge: ridge, outputs: outputs, coefficients: coefficients, targets: targets, gram: rows))
    }
}
