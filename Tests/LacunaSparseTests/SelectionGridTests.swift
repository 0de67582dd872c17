import LacunaSparse
import LacunaTensor
import Testing

/// Every unit with every competition and every amount, against sets that are sorted one by one.
@Suite struct SelectionGridTests {
    private static let units: [Pattern.Unit] = [
        .entry, .block(rows: 2, columns: 3), .rows(1), .rows(3), .columns(1), .columns(4),
    ]
    private static let competitions: [Pattern.Competition] = [
        .scope(.row), .scope(.layer), .every(3, along: .input), .every(4, along: .input), .every(2, along: .output),
        .every(5, along: .output), .every(64, along: .input), .every(100, along: .input),
    ]
    private static let amounts: [Amount] = [
        .sparsity(0), .sparsity(0.4), .sparsity(1), .count(0), .count(1), .count(2), .above(2), .above(-1), .mass(0),
        .mass(0.3), .mass(0.9), .mass(1),
    ]

    /// The whole selection spelled out on dictionaries.
    private func reference(
        _ scores: Tensor<Float>, _ pattern: Pattern, _ amount: Amount, _ unit: Selection.UnitScore,
        within: SparsePattern
    ) -> SparsePattern {
        let (rows, columns) = (scores.rows, scores.columns)
        let sides: (Int, Int) =
            switch pattern.unit {
            case .entry: (1, 1)
            case .block(let height, let width): (height, width)
            case .rows(let size): (size, columns)
            case .columns(let size): (rows, size)
            }
        struct Place: Hashable { var r: Int, c: Int }
        var members: [Place: [(Int, Int)]] = [:]
        for r in 0..<rows {
            for c in 0..<columns { members[Place(r: r / sides.0, c: c / sides.1), default: []].append((r, c)) }
        }
        var value: [Place: Float] = [:]
        for (place, entries) in members {
            let numbers = entries.map { Double(scores[$0.0, $0.1]) }
            let sum = numbers.reduce(0, +)
            let isOut = !entries.contains { within[$0.0, $0.1] }
            if isOut {
                value[place] = -.infinity
            } else if sides == (1, 1) {
                value[place] = Float(sum)
            } else {
                switch unit {
                case .mean: value[place] = Float(sum / Double(numbers.count))
                case .sum: value[place] = Float(sum)
                case .norm:
                    var square = 0.0
                    for x in numbers { square += x * x }
                    value[place] = Float(square.squareRoot())
                }
            }
        }
        var sets: [[Int]: [Place]] = [:]
        for place in members.keys {
            let key: [Int] =
                switch pattern.competition {
                case .scope(.row): [place.r]
                case .scope: []
                case .every(let m, .input): [place.r, place.c / m]
                case .every(let m, .output): [place.r / m, place.c]
                }
            sets[key, default: []].append(place)
        }
        var mask = SparsePattern(rows: rows, columns: columns)
        for set in sets.values {
            // Last to go first.
            let order = set.sorted { a, b in
                let (x, y) = (value[a]!, value[b]!)
                return x != y ? x > y : (a.r, a.c) > (b.r, b.c)
            }
            let kept: ArraySlice<Place>
            switch (amount, pattern.competition) {
            case (.sparsity(let s), .every(let m, _)):
                let n = m - Int(s * Double(m) + 1e-9)
                kept = order.prefix(Int((Double(n * set.count) / Double(m)).rounded(.up)))
            case (.count(let n), .every(let m, _)):
                kept = order.prefix(Int((Double(n * set.count) / Double(m)).rounded(.up)))
            case (.sparsity(let s), _): kept = order.prefix(set.count - Int(s * Double(set.count) + 1e-9))
            case (.count(let n), _): kept = order.prefix(n)
            case (.above(let t), _): kept = order.filter { value[$0]! > t }[...]
            case (.mass(let share), _):
                var total = 0.0
                for place in order { total += Double(max(value[place]!, 0)) }
                var (sum, n) = (0.0, 0)
                while n < order.count && sum < share * total * (1 - 1e-12) {
                    sum += Double(value[order[n]]!)
                    n += 1
                }
                kept = order.prefix(n)
            }
            for place in kept { for (r, c) in members[place]! where within[r, c] { mask[r, c] = true } }
        }
        return mask
    }

    @Test(arguments: SelectionGridTests.units, SelectionGridTests.competitions)
    func everyCombination(unit: Pattern.Unit, competition: Pattern.Competition) throws {
        let pattern = Pattern(unit, competition)
        guard (try? pattern.validate()) != nil else { return }
        var generator = SeededGenerator(seed: 7)
        for shape in [[1, 1], [7, 10], [9, 66], [12, 130]] {
            var scores = tiedScores(shape[0], shape[1], seed: UInt64(shape[1]), levels: 3)
            let some = SparsePattern(rows: shape[0], columns: shape[1]) { _, _ in generator.uniform() < 0.6 }
            for amount in Self.amounts {
                if case .mass = amount {
                    for r in 0..<shape[0] { for c in 0..<shape[1] { scores[r, c] = scores[r, c].magnitude } }
                }
                for (unitScore, within) in [
                    (Selection.UnitScore.mean, nil), (.sum, nil), (.norm, nil), (.mean, some),
                ] as [(Selection.UnitScore, SparsePattern?)] {
                    func select() throws -> SparsePattern {
                        try Selection.mask(
                            scores: scores, pattern: pattern, amount: amount, unitScore: unitScore, within: within)
                    }
                    if isTooMany(amount, pattern, shape) {
                        #expect(throws: LacunaError.self) { try select() }
                        continue
                    }
                    let all = SparsePattern(rows: shape[0], columns: shape[1], keepingAll: true)
                    let expected = reference(scores, pattern, amount, unitScore, within: within ?? all)
                    #expect(try select() == expected, "\(pattern) \(amount) \(unitScore) \(shape)")
                }
            }
        }
    }

    /// Whether a count asks for more units than compete.
    private func isTooMany(_ amount: Amount, _ pattern: Pattern, _ shape: [Int]) -> Bool {
        guard case .count(let n) = amount else { return false }
        func pieces(_ length: Int, _ side: Int) -> Int { (length + side - 1) / side }
        let grid: (Int, Int) =
            switch pattern.unit {
            case .entry: (shape[0], shape[1])
            case .block(let height, let width): (pieces(shape[0], height), pieces(shape[1], width))
            case .rows(let size): (pieces(shape[0], size), 1)
            case .columns(let size): (1, pieces(shape[1], size))
            }
        return switch pattern.competition {
        case .scope(.row): n > grid.1
        case .scope: n > grid.0 * grid.1
        case .every(let m, _): n > m
        }
    }

    @Test func matricesCompeteByAnyAmount() throws {
        let a = tiedScores(4, 100, seed: 1)
        let b = tiedScores(3, 100, seed: 2)
        let joined = Tensor<Float>(a.scalars + b.scalars, shape: [7, 100])
        let inUse = SparsePattern(rows: 4, columns: 100) { ($0 + $1) % 3 != 0 }
        let both = SparsePattern(rows: 7, columns: 100) { $0 >= 4 || inUse[$0, $1] }
        for amount: Amount in [.sparsity(0.6), .count(123), .above(1), .count(0)] {
            let masks = try Selection.masks(scores: ["a": a, "b": b], amount: amount, within: ["a": inUse])
            let expected = reference(joined, .unstructured(.layer), amount, .mean, within: both)
            #expect(masks["a"] == SparsePattern(rows: 4, columns: 100) { expected[$0, $1] })
            #expect(masks["b"] == SparsePattern(rows: 3, columns: 100) { expected[$0 + 4, $1] })
        }
        #expect(throws: LacunaError.self) {
            try Selection.masks(scores: ["a": a], amount: .count(1), within: ["c": inUse])
        }
        #expect(throws: LacunaError.self) {
            try Selection.masks(scores: ["b": b], amount: .count(1), within: ["b": inUse])
        }
        #expect(throws: LacunaError.self) { try Selection.masks(scores: ["b": b], amount: .mass(0.5)) }
        #expect(throws: LacunaError.self) {
            try Selection.masks(scores: ["b": b], pattern: .anyOf(4), amount: .count(1))
        }
    }

    /// The support of a proximal step is what the proximal operator leaves.
    @Test func proximalAmountsAreSupportsOfSteps() throws {
        let v: [Float] = [0.5, -1, 1, 2, -3, 0, 0.99, 1.5]
        let magnitudes = v.map(abs)
        for weight: Float in [0, 0.5, 1, 1.125] {
            for penalty in [Proximal.Penalty.l1, .l0] {
                var moved = v
                moved.withUnsafeMutableBufferPointer { p in
                    switch penalty {
                    case .l1: Proximal.softThreshold(p.baseAddress!, count: 8, threshold: weight)
                    default: Proximal.hardThreshold(p.baseAddress!, count: 8, threshold: (2 * weight).squareRoot())
                    }
                }
                let kept = try Selection.indices(.proximal(penalty, weight: weight), of: magnitudes)
                #expect(kept == moved.indices.filter { moved[$0] != 0 }, "\(penalty) \(weight)")
            }
        }
        // Groups of two by their norms: √1.25, √5, 3, √(0.9801 + 2.25).
        let groups = try Selection.mask(
            scores: Tensor(v, shape: [1, 8]), pattern: .heads(2, axis: .input),
            amount: .proximal(.groupLasso, weight: 2), unitScore: .norm)
        #expect(Array(groups.keptColumns(row: 0)) == [2, 3, 4, 5])
    }

    @Test func indicesOfTheLargest() throws {
        #expect(try Selection.indices(.count(2), of: [3, 1, 3, 3]) == [2, 3])
        #expect(try Selection.indices(.count(0), of: []) == [])
        #expect(try Selection.indices(.mass(0.5), of: [1, 5, 2, 2]) == [1])
        #expect(try Selection.indices(.mass(0.51), of: [1, 5, 2, 2]) == [1, 3])
        #expect(throws: LacunaError.self) { try Selection.indices(.count(3), of: [1, 2]) }
        #expect(throws: LacunaError.self) { try Selection.indices(.count(1), of: [1, .nan]) }
    }

    @Test func amountsAreChecked() throws {
        let scores = tiedScores(4, 8, seed: 1)
        for amount: Amount in [
            .sparsity(-0.1), .sparsity(.nan), .mass(1.1), .mass(-1), .count(-1), .count(33), .above(.nan),
        ] {
            #expect(throws: LacunaError.self, "\(amount)") {
                try Selection.mask(scores: scores, pattern: .unstructured(.layer), amount: amount)
            }
        }
        #expect(throws: LacunaError.self) {
            try Selection.mask(scores: scores, pattern: .nm(n: 2, m: 4), amount: .count(3))
        }
        #expect(throws: LacunaError.self) { try Selection.mask(scores: scores, pattern: .anyOf(4), amount: .count(5)) }
        #expect(throws: LacunaError.self) {
            try Selection.mask(
                scores: scores, pattern: .rows, sparsity: 0.5,
                within: SparsePattern(rows: 8, columns: 4, keepingAll: true))
        }
        // Masses of numbers below 0 mean nothing, whatever competes.
        for pattern: Pattern in [.unstructured(.layer), .unstructured(.row), .anyOf(4), .anyOf(2, axis: .output)] {
            #expect {
                try Selection.mask(scores: scores, pattern: pattern, amount: .mass(0.5))
            } throws: { error in
                if case LacunaError.numerical = error { true } else { false }
            }
        }
    }

    @Test func magnitudesSelectAsTheirScoresDo() throws {
        var weight = normalTensor(9, 70, seed: 2)
        weight[3, 5] = .nan
        var scores = weight
        for r in 0..<9 { for c in 0..<70 { scores[r, c] = weight[r, c].isNaN ? 0 : abs(weight[r, c]) } }
        for pattern: Pattern in [.nm(n: 2, m: 4), .nm(n: 2, m: 4, axis: .output), .nm(n: 1, m: 100), .nm(n: 3, m: 7)] {
            let mask = try Selection.mask(magnitudesOf: weight, pattern: pattern)
            let all = SparsePattern(rows: 9, columns: 70, keepingAll: true)
            #expect(mask == reference(scores, pattern, .count(pattern.keep!), .mean, within: all))
        }
        let rows = try Selection.mask(magnitudesOf: weight, pattern: .rows, sparsity: 0.5)
        #expect(rows == (try Selection.mask(scores: scores, pattern: .rows, sparsity: 0.5)))
        #expect(throws: LacunaError.self) { try Selection.mask(magnitudesOf: weight, pattern: .rows) }
        #expect(throws: LacunaError.self) { try Selection.mask(magnitudesOf: Tensor([1]), pattern: .nm(n: 2, m: 4)) }
    }
}
