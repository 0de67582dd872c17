import Foundation
import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaStructure

@Suite struct OnlineTests {
    @Test func codesAreCellCorners() throws {
        var random = SeededGenerator(seed: 1)
        let encoding = LocalitySensitiveEncoding(inputs: 3, groups: 6, bins: 4, perGroup: 2, using: &random)
        #expect(encoding.features == 6 * 36 && encoding.active == 24)
        for trial in 0..<50 {
            let x = (0..<3).map { _ in (trial < 25 ? 1 : 40) * random.normal() }
            let code = try encoding.encode(x)
            #expect(zip(code.places.dropFirst(), code.places).allSatisfy { $0 > $1 })
            for group in 0..<6 {
                let own = group * 4..<group * 4 + 4
                #expect(code.places[own].allSatisfy { Int($0) / 36 == group })
                #expect(code.weights[own].allSatisfy { $0 >= 0 && $0 <= 1 })
                #expect(abs(code.weights[own].reduce(0, +) - 1) < 1e-12)
                // The weighted mean of the corners is the point itself.
                for axis in 0..<2 {
                    var (mean, h) = (0.0, 0.0)
                    for k in own {
                        let cell = Int(code.places[k]) % 36
                        mean += code.weights[k] * Double(axis == 0 ? cell / 6 : cell % 6)
                    }
                    for i in 0..<3 { h += x[i] * encoding.projection[i, group * 2 + axis] }
                    #expect(abs(mean - 4 / (1 + exponential(-h))) < 1e-9)
                }
            }
        }
        // Neighbours share most features, strangers few.
        func shared(_ a: [Double], _ b: [Double]) throws -> Int {
            Set(try encoding.encode(a).places).intersection(try encoding.encode(b).places).count
        }
        #expect(try shared([0.1, 0.2, 0.3], [0.1001, 0.2, 0.3]) >= 22)
        #expect(try shared([3, 3, 3], [-3, -3, -3]) <= 12)
        // Sums that would overflow saturate.
        let far = try encoding.encode([1e308, -1e308, 1e308])
        #expect(far.weights.allSatisfy { $0 == 0 || $0 == 1 } && far.weights.reduce(0, +) == 6)
    }

    /// Normal entries over the root of the inputs, none beyond two standard deviations.
    @Test func projectionsAreTruncatedNormal() {
        var random = SeededGenerator(seed: 1)
        let entries = LocalitySensitiveEncoding(inputs: 16, groups: 500, bins: 3, scale: 3, using: &random)
            .projection.scalars
        #expect(entries.allSatisfy { abs($0) <= 1.5 } && entries.contains { abs($0) > 1.45 })
        let square = entries.reduce(0) { $0 + $1 * $1 } / 16_000
        // Variance of a standard normal number within ±2: 1 - 4 φ(2) / (2 Φ(2) - 1).
        #expect(abs(square / (9.0 / 16) - 0.7737) < 0.03)
    }

    /// Ridge regression on everything at once: (A/t + εI) W = B/t.
    private static func ridge(
        _ codes: [LocalitySensitiveEncoding.Code], _ targets: [[Double]], features: Int, ridge: Double
    ) throws -> [Double] {
        let outputs = targets[0].count
        var phi = Tensor<Double>(zeros: [codes.count, features])
        for (i, code) in codes.enumerated() {
            for (place, weight) in zip(code.places, code.weights) { phi[i, Int(place)] = weight }
        }
        var gram = phi.multiplied(by: phi, transposed: true)
        let t = Double(codes.count)
        gram.withMutablePointer { for j in 0..<features { $0[j * features + j] += ridge * t } }
        return try gram.solvePositiveDefinite(
            phi.multiplied(by: Tensor(targets.flatMap { $0 }, shape: [codes.count, outputs]), transposed: true)
        ).scalars
    }

    private static func stream(_ count: Int, seed: UInt64) throws -> (
        codes: [LocalitySensitiveEncoding.Code], y: [[Double]], features: Int
    ) {
        var random = SeededGenerator(seed: seed)
        let encoding = LocalitySensitiveEncoding(inputs: 2, groups: 4, bins: 3, using: &random)
        let inputs = (0..<count).map { _ in [random.normal(), random.normal()] }
        return (
            try inputs.map(encoding.encode), inputs.map { [sine(2 * $0[0]) + $0[1], cosine($0[0] * $0[1])] },
            encoding.features
        )
    }

    @Test func sweepsConvergeToRidgeRegression() throws {
        let (codes, y, features) = try Self.stream(120, seed: 2)
        var learner = SparseFollowTheLeader(features: features, outputs: 2, ridge: 1e-2)
        for (code, target) in zip(codes, y) { try learner.update(code, target: target) }
        for _ in 0..<400 { for code in codes { try learner.refit(code.places) } }
        let expected = try Self.ridge(codes, y, features: features, ridge: 1e-2)
        #expect(largestDifference(learner.coefficients, expected) < 1e-9)
        #expect(learner.count == 120)
        let prediction = learner.predict(codes[7])
        #expect(abs(prediction[0] - y[7][0]) < 0.3)
    }

    @Test func allActiveIsRecursiveLeastSquares() throws {
        var random = SeededGenerator(seed: 3)
        let places = (0..<5).map { UInt32($0) }
        var learner = SparseFollowTheLeader(features: 5, outputs: 1, ridge: 1e-3)
        var (codes, targets): ([LocalitySensitiveEncoding.Code], [[Double]]) = ([], [])
        for _ in 0..<12 {
            codes.append(.init(places: places, weights: (0..<5).map { _ in random.normal() }))
            targets.append([random.normal()])
            try learner.update(codes[codes.count - 1], target: targets[targets.count - 1])
            let expected = try Self.ridge(codes, targets, features: 5, ridge: 1e-3)
            #expect(largestDifference(learner.coefficients, expected) < 1e-9)
        }
    }

    /// The rows that grow against a dense matrix.
    @Test func rowsGrow() {
        var random = SeededGenerator(seed: 4)
        var rows = GrowingRows(count: 12)
        var dense = [Double](repeating: 0, count: 144)
        for _ in 0..<60 {
            let s = (0..<12).filter { _ in random.uniform() < 0.3 }
            let v = s.map { _ in random.uniform() < 0.2 ? 0 : random.normal() }
            rows.addOuter(s.map { UInt32($0) }, v)
            for (a, i) in s.enumerated() { for (b, j) in s.enumerated() { dense[i * 12 + j] += v[a] * v[b] } }
        }
        var found = [Double](repeating: 0, count: 144)
        for i in 0..<12 {
            var last = -1
            rows.forEach(in: i) { column, value in
                #expect(column > last)
                last = column
                found[i * 12 + column] = value
            }
        }
        #expect(largestDifference(found, dense) < 1e-12)
        #expect(rows.entries == dense.count { $0 != 0 })
    }

    /// What an update touches: the other coefficients keep their values, and old places are remembered.
    @Test func updatesAreLocal() throws {
        let (codes, y, features) = try Self.stream(60, seed: 5)
        var learner = SparseFollowTheLeader(features: features, outputs: 2)
        for (code, target) in zip(codes, y) {
            let before = learner.coefficients
            try learner.update(code, target: target)
            let own = Set(code.places.map { Int($0) })
            for f in 0..<features where !own.contains(f) {
                #expect(learner.coefficients[2 * f] == before[2 * f])
            }
        }
        #expect(learner.storedEntries <= 60 * 16 * 16 && learner.storedEntries > 0)
    }

    @Test func worldModelsLearnDynamics() throws {
        var random = SeededGenerator(seed: 6)
        var model = OnlineWorldModel(
            states: [-1...1, -1...1], actions: [-1...1], groups: 30, bins: 5, ridge: 1e-6, using: &random)
        func step(_ s: [Double], _ a: [Double]) -> ([Double], Double) {
            ([s[0] + 0.1 * s[1], s[1] + 0.1 * (a[0] - s[0])], -s[0] * s[0])
        }
        // Experience ordered from left to right: the left must not be forgotten.
        for i in 0..<600 {
            let s = [-1 + Double(i) / 300, 2 * random.uniform() - 1]
            let a = [2 * random.uniform() - 1]
            let (next, reward) = step(s, a)
            try model.learn(state: s, action: a, next: next, reward: reward)
        }
        var error = 0.0
        for _ in 0..<200 {
            let s = [1.6 * random.uniform() - 0.8, 1.6 * random.uniform() - 0.8]
            let a = [1.6 * random.uniform() - 0.8]
            let (next, reward) = step(s, a)
            let found = try model.predict(state: s, action: a)
            error = max(error, abs(found.state[0] - next[0]), abs(found.state[1] - next[1]), abs(found.reward - reward))
        }
        #expect(error < 0.1)
    }

    /// Units do not matter: in others, with their ranges, the same is learnt.
    @Test func rangesAreScaledAway() throws {
        func learned(_ shift: Double, _ unit: Double) throws -> (state: [Double], reward: Double) {
            var random = SeededGenerator(seed: 8)
            func range(_ from: Double, _ to: Double) -> ClosedRange<Double> {
                shift + unit * from...shift + unit * to
            }
            var model = OnlineWorldModel(
                states: [range(-1, 2)], actions: [range(0, 1)], groups: 10, bins: 4, using: &random)
            for _ in 0..<40 {
                let (s, a) = (3 * random.uniform() - 1, random.uniform())
                try model.learn(
                    state: [shift + unit * s], action: [shift + unit * a], next: [shift + unit * (s + 0.1 * a)],
                    reward: s * a)
            }
            let found = try model.predict(state: [shift + unit * 0.7], action: [shift + unit * 0.4])
            return ([(found.state[0] - shift) / unit], found.reward)
        }
        let (plain, other) = (try learned(0, 1), try learned(100, 8))
        #expect(abs(plain.state[0] - other.state[0]) < 1e-8 && abs(plain.reward - other.reward) < 1e-8)
        #expect(abs(plain.state[0] - 0.74) < 0.02 && abs(plain.reward - 0.28) < 0.1)
    }

    @Test func unusableInput() throws {
        var learner = SparseFollowTheLeader(features: 4, outputs: 1)
        #expect(throws: LacunaError.self) { try learner.update(.init(places: [2, 1], weights: [1, 1]), target: [1]) }
        #expect(throws: LacunaError.self) { try learner.update(.init(places: [4], weights: [1]), target: [1]) }
        #expect(throws: LacunaError.self) { try learner.update(.init(places: [1], weights: [.nan]), target: [1]) }
        #expect(throws: LacunaError.self) { try learner.update(.init(places: [1], weights: [1]), target: [1, 2]) }
        #expect(throws: LacunaError.self) { try learner.refit([3, 4]) }
        #expect(throws: LacunaError.self) { try learner.refit([1, 1]) }
        #expect(learner.count == 0 && learner.coefficients == [0, 0, 0, 0] && learner.storedEntries == 0)
        try learner.update(.init(places: [], weights: []), target: [1])
        #expect(learner.count == 1)
        // The sum of targets overflows: an error, and coefficients that can be used.
        let large = LocalitySensitiveEncoding.Code(places: [0], weights: [1e10])
        #expect(throws: LacunaError.self) { try learner.update(large, target: [1e300]) }
        #expect(learner.coefficients == [0, 0, 0, 0] && learner.count == 2)
        var random = SeededGenerator(seed: 1)
        var model = OnlineWorldModel(states: [-1...1], actions: [-1...1], groups: 2, using: &random)
        #expect(throws: LacunaError.self) { try model.predict(state: [.nan], action: [0]) }
        #expect(throws: LacunaError.self) { try model.predict(state: [0, 0], action: []) }
        #expect(throws: LacunaError.self) { try model.learn(state: [0], action: [0], next: [], reward: 0) }
        #expect(throws: LacunaError.self) { try model.learn(state: [0], action: [.infinity], next: [0], reward: 0) }
    }

    // MARK: Files

    private func temporary(_ body: (String) throws -> Void) throws {
        let path = FileSystem.join(
            ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp", "lacuna-world-\(UInt64.random(in: 0 ... .max))")
        defer { try? FileSystem.remove(path) }
        try body(path)
    }

    private func trained() throws -> OnlineWorldModel {
        var random = SeededGenerator(seed: 3)
        var model = OnlineWorldModel(
            states: [-1...1, 0...5], actions: [-2...1], groups: 4, bins: 3, ridge: 1.0 / 3e5, using: &random)
        try teach(&model, 25, seed: 4)
        return model
    }

    private func teach(_ model: inout OnlineWorldModel, _ steps: Int, seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<steps {
            let (s, a) = ([2 * random.uniform() - 1, 5 * random.uniform()], [3 * random.uniform() - 2])
            try model.learn(state: s, action: a, next: [s[0] + 0.1 * a[0], s[1] * 0.9], reward: s[0] * a[0])
        }
    }

    /// Read back, a model is the same, and stays so while both learn on.
    @Test func modelsOutliveTheirProgram() throws {
        try temporary { path in
            var model = try trained()
            try model.save(to: path)
            var other = try OnlineWorldModel(contentsOf: path)
            #expect(other.learner.count == 25 && other.learner.ridge == model.learner.ridge)
            #expect(other.encoding.projection.scalars == model.encoding.projection.scalars)
            for round in 0..<2 as Range<UInt64> {
                #expect(other.learner.coefficients == model.learner.coefficients)
                #expect(other.learner.storedEntries == model.learner.storedEntries)
                let (one, two) = (
                    try model.predict(state: [0.3, 2], action: [-0.4]),
                    try other.predict(state: [0.3, 2], action: [-0.4])
                )
                #expect(one.state == two.state && one.reward == two.reward)
                try teach(&model, 15, seed: 9 + round)
                try teach(&other, 15, seed: 9 + round)
            }
            #expect(other.learner.coefficients == model.learner.coefficients && other.learner.count == 55)
            // A model that has seen nothing.
            var random = SeededGenerator(seed: 3)
            let fresh = OnlineWorldModel(states: [-1...1], actions: [], groups: 2, using: &random)
            try fresh.save(to: path)
            #expect(try OnlineWorldModel(contentsOf: path).predict(state: [0.5], action: []).state == [0.5])
        }
    }

    /// A file that lies about itself is refused, wherever it lies.
    @Test func filesOfModelsAreChecked() throws {
        try temporary { path in
            let model = try trained()
            let good: [String: String] = [
                "format": OnlineWorldModel.format, "version": "1", "states": "2", "groups": "4", "perGroup": "2",
                "bins": "3", "ridge": "1e-5", "count": "25",
            ]
            let features = 4 * 25
            /// Writes a file with one thing changed, and reads it.
            func read(
                _ metadata: [String: String] = [:], ranges: [Double] = [0, 1, 2.5, 2.5, -0.5, 1.5],
                coefficients: [Double]? = nil, lengths: [Int32]? = nil, columns: [Int32] = [1, 3, 2]
            ) throws -> OnlineWorldModel {
                let writer = try SafetensorsWriter(path, metadata: good.merging(metadata) { $1 })
                try writer.write("ranges", type: .f64, shape: [ranges.count / 2, 2], values: ranges)
                try writer.write(
                    "projection", type: .f64, shape: [3, 8], values: model.encoding.projection.scalars)
                let w = coefficients ?? [Double](repeating: 0.5, count: features * 3)
                try writer.write("coefficients", type: .f64, shape: [w.count / 3, 3], values: w)
                try writer.write("targets", type: .f64, shape: [w.count / 3, 3], values: w)
                let lengths = lengths ?? [2, 1] + [Int32](repeating: 0, count: features - 2)
                try writer.write("gram.lengths", type: .i32, shape: [lengths.count], values: lengths)
                try writer.write("gram.columns", type: .i32, shape: [columns.count], values: columns)
                try writer.write("gram.values", type: .f64, shape: [columns.count], values: columns.map { Double($0) })
                try writer.finish()
                return try OnlineWorldModel(contentsOf: path)
            }
            #expect(try read().learner.storedEntries == 3)
            let zeros = [Int32](repeating: 0, count: features - 2)
            for attempt in [
                { try read(["format": "other"]) }, { try read(["version": "2"]) }, { try read(["states": "0"]) },
                { try read(["states": "4"]) }, { try read(["states": "1"]) }, { try read(["groups": "-4"]) },
                { try read(["groups": "2147483647", "bins": "2147483647"]) }, { try read(["perGroup": "9"]) },
                { try read(["bins": "4"]) }, { try read(["ridge": "0"]) }, { try read(["ridge": "nan"]) },
                { try read(["count": "-1"]) }, { try read(ranges: [0, 1, 2.5, 0, -0.5, 1.5]) },
                { try read(ranges: [0, 1, 2.5, 2.5]) }, { try read(ranges: [0, 1, .nan, 2.5, -0.5, 1.5]) },
                { try read(coefficients: [Double](repeating: 0.5, count: features * 3 - 3)) },
                { try read(coefficients: [.infinity] + [Double](repeating: 0.5, count: features * 3 - 1)) },
                { try read(lengths: [3, 1] + zeros) }, { try read(lengths: [4, -1] + zeros) },
                { try read(lengths: [2, 1]) }, { try read(columns: [3, 1, 2]) }, { try read(columns: [1, 1, 2]) },
                { try read(columns: [1, 100, 2]) }, { try read(columns: [-1, 3, 2]) },
            ] as [() throws -> OnlineWorldModel] {
                #expect(throws: LacunaError.self) { try attempt() }
            }
            try AtomicFile.write("none", to: path)
            #expect(throws: LacunaError.self) { try OnlineWorldModel(contentsOf: path) }
        }
    }
}
