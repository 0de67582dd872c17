import LacunaTensor

/// Activations of recent classes in 8 bits a number, between the smallest and the largest of the class.
///
/// A number comes back within half a step, (largest - smallest) / 510.
public struct ActivationMemory: Sendable, Hashable {
    private struct Entry: Sendable, Hashable {
        var age: Int
        var lowest, step: Float
        var width: Int
        var codes: [UInt8]
    }

    private var entries: [Int32: Entry] = [:]

    /// An empty one.
    public init() {}

    /// How many tasks ago each class was learned.
    public var ages: [(label: Int32, age: Int)] { entries.keys.sorted().map { ($0, entries[$0]!.age) } }

    /// Activations [n, width] of a class that has just been learned.
    public mutating func add(_ label: Int32, _ activations: Tensor<Float>) {
        let values = activations.scalars
        let (lowest, highest) = (values.min() ?? 0, values.max() ?? 0)
        let step = (highest - lowest) / 255
        entries[label] = Entry(
            age: 0, lowest: lowest, step: step, width: activations.columns,
            codes: values.map { step > 0 ? UInt8(min(max((($0 - lowest) / step).rounded(), 0), 255)) : 0 })
    }

    /// The activations of a class, [n, width]; nil if there are none.
    public subscript(label: Int32) -> Tensor<Float>? {
        guard let entry = entries[label], !entry.codes.isEmpty else { return nil }
        return Tensor(
            entry.codes.map { entry.lowest + entry.step * Float($0) },
            shape: [entry.codes.count / entry.width, entry.width])
    }

    /// A task has ended.
    mutating func grow() { for label in entries.keys { entries[label]!.age += 1 } }

    mutating func forget(olderThan age: Int) { entries = entries.filter { $0.value.age <= age } }

    /// `count` activations, drawn with replacement from all that there are, with their classes; nil if there are none.
    public func sample(
        _ count: Int, using generator: inout SeededGenerator
    ) -> (activations: Tensor<Float>, labels: [Int32])? {
        let filled = entries.keys.sorted().filter { !entries[$0]!.codes.isEmpty }
        let sizes = filled.map { entries[$0]!.codes.count / entries[$0]!.width }
        let total = sizes.reduce(0, +)
        guard total > 0, count > 0, let width = entries[filled[0]]?.width else { return nil }
        var (values, labels) = ([Float](), [Int32]())
        for _ in 0..<count {
            var (place, index) = (Int.random(in: 0..<total, using: &generator), 0)
            while place >= sizes[index] {
                place -= sizes[index]
                index += 1
            }
            let entry = entries[filled[index]]!
            values += entry.codes[place * width..<(place + 1) * width].map { entry.lowest + entry.step * Float($0) }
            labels.append(filled[index])
        }
        return (Tensor(values, shape: [count, width]), labels)
    }

    // MARK: In files

    /// For each class: the class, its age, two numbers' bits, how many codes, the codes.
    var integers: [Int32] {
        entries.keys.sorted().flatMap { label -> [Int32] in
            let entry = entries[label]!
            return [label, Int32(entry.age)] + IntegerCoding.integers([entry.lowest, entry.step])
                + [Int32(entry.codes.count)] + entry.codes.map { Int32($0) }
        }
    }

    init(integers: [Int32], width: Int, file: String) throws {
        let bad = LacunaError.malformed(file: file, location: "codes", reason: "are not activations of \(width) units")
        var rest = integers[...]
        while !rest.isEmpty {
            let head = Array(rest.prefix(5))
            guard head.count == 5, head[1] >= 0, head[1] <= Int32.max / 2, head[4] >= 0, rest.count >= 5 + Int(head[4]),
                Int(head[4]) % width == 0
            else { throw bad }
            let codes = rest.dropFirst(5).prefix(Int(head[4]))
            let numbers = IntegerCoding.floats(head[2...3])
            guard codes.allSatisfy({ 0...255 ~= $0 }), numbers.allSatisfy(\.isFinite) else { throw bad }
            entries[head[0]] = Entry(
                age: Int(head[1]), lowest: numbers[0], step: numbers[1], width: width, codes: codes.map { UInt8($0) })
            rest = rest.dropFirst(5 + Int(head[4]))
        }
    }
}

/// Embeddings of classes, each class seen through some units alone, and the classes of the nearest of them.
public struct ExemplarMemory: Sendable, Hashable {
    /// What is known of a class.
    public struct Entry: Sendable, Hashable {
        /// The units that are compared, ascending.
        public var units: [Int]
        /// Embeddings on those units, each of length 1 or 0: [n · units].
        public var values: [Float]
        /// How many embeddings there are, also of no unit.
        public var count: Int
    }

    private var entries: [Int32: Entry] = [:]

    /// An empty one.
    public init() {}

    /// The classes, ascending.
    public var labels: [Int32] { entries.keys.sorted() }
    /// What is known of a class.
    public subscript(label: Int32) -> Entry? { entries[label] }

    /// Keeps embeddings [n, width] of a class on some units.
    public mutating func set(_ label: Int32, _ embeddings: Tensor<Float>, units: [Int]) {
        entries[label] = Entry(
            units: units, values: (0..<embeddings.rows).flatMap { Self.seen(embeddings, $0, units) },
            count: embeddings.rows)
    }

    /// A row on some units, with length 1; zeros if it is 0 there.
    private static func seen(_ rows: Tensor<Float>, _ row: Int, _ units: [Int]) -> [Float] {
        let values = units.map { rows[row, $0] }
        let norm = values.reduce(0.0) { $0 + Double($1 * $1) }.squareRoot()
        return norm > 0 ? values.map { Float(Double($0) / norm) } : values
    }

    /// The class of each embedding [n, width]: that of most of the `neighbours` nearest exemplars, whatever their class, of
    /// equally many the one with the nearest; 0 if nothing is known. Of a class that is known by no unit nothing is.
    ///
    /// - Complexity: O(n · exemplars · units).
    public func predictions(_ embeddings: Tensor<Float>, neighbours: Int) -> [Int32] {
        let known = labels.filter { entries[$0]!.count > 0 && !entries[$0]!.units.isEmpty }
        return (0..<embeddings.rows).map { row in
            var found: [(distance: Double, label: Int32)] = []
            for label in known {
                let entry = entries[label]!
                let query = Self.seen(embeddings, row, entry.units)
                for number in 0..<entry.count {
                    var distance = 0.0
                    for (place, value) in query.enumerated() {
                        let difference = Double(value - entry.values[number * query.count + place])
                        distance += difference * difference
                    }
                    found.append((distance, label))
                }
            }
            // Equal distances keep the order of classes.
            let nearest = found.enumerated().sorted {
                $0.element.distance != $1.element.distance
                    ? $0.element.distance < $1.element.distance : $0.offset < $1.offset
            }.prefix(neighbours).map(\.element.label)
            var votes: [Int32: Int] = [:]
            for label in nearest { votes[label, default: 0] += 1 }
            let most = votes.values.max() ?? 0
            return nearest.first { votes[$0] == most } ?? 0
        }
    }

    // MARK: In files

    /// For each class: the class, how many units, how many embeddings, the units, the bits of the values.
    var integers: [Int32] {
        labels.flatMap { label -> [Int32] in
            let entry = entries[label]!
            return [label, Int32(entry.units.count), Int32(entry.count)] + entry.units.map { Int32($0) }
                + IntegerCoding.integers(entry.values)
        }
    }

    init(integers: [Int32], width: Int, file: String) throws {
        let bad = LacunaError.malformed(
            file: file, location: "exemplars", reason: "are not embeddings of \(width) units")
        var rest = integers[...]
        while !rest.isEmpty {
            let head = Array(rest.prefix(3))
            guard head.count == 3, head[1] >= 0, head[2] >= 0, Int(head[1]) <= width else { throw bad }
            let (count, numbers) = (Int(head[1]), Int(head[1]) * Int(head[2]))
            guard rest.count >= 3 + count + numbers else { throw bad }
            let units = rest.dropFirst(3).prefix(count).map { Int($0) }
            let values = IntegerCoding.floats(rest.dropFirst(3 + count).prefix(numbers))
            guard units.allSatisfy({ (0..<width).contains($0) }), values.allSatisfy(\.isFinite) else { throw bad }
            entries[head[0]] = Entry(units: units, values: values, count: Int(head[2]))
            rest = rest.dropFirst(3 + count + numbers)
        }
    }
}
