import LacunaRegress
import LacunaTensor
import Testing

@Suite struct ScreeningTests {
    private static func normalPair(_ n: Int, _ rho: Double, seed: UInt64 = 1) -> (x: [Double], y: [Double]) {
        var random = SeededGenerator(seed: seed)
        let x = (0..<n).map { _ in random.normal() }
        return (x, x.map { rho * $0 + (1 - rho * rho).squareRoot() * random.normal() })
    }

    /// The information of two normal variables is known; smoothing and counting come near it in their own ways.
    @Test func normalVariables() throws {
        for rho in [0.0, 0.5, -0.5] {
            let (x, y) = Self.normalPair(4000, rho)
            let truth = -0.5 * logarithm(1 - rho * rho)
            #expect(abs(try KernelDensityInformation().information(x, y) - truth) < 0.02)
            #expect(abs(try HistogramInformation().information(x, y) - truth) < 0.06)
        }
        // Strong dependence is smoothed away in part, and the more so the wider the kernel.
        let (x, y) = Self.normalPair(4000, 0.9)
        let values = try [0.5, 1, 2].map { try KernelDensityInformation(multiplier: $0).information(x, y) }
        #expect(values[0] > values[1] && values[1] > values[2] && values[0] < 0.85 && values[1] > 0.55)
    }

    /// Against sums over all observations and cells, written down from the definition.
    @Test func equalsTheDefinition() throws {
        let (x, y) = Self.normalPair(40, 0.6)
        let cells = 24
        func scaled(_ v: [Double]) -> (values: [Double], spread: Double) {
            let sorted = v.sorted()
            func quantile(_ q: Double) -> Double {
                let place = q * Double(v.count - 1)
                let low = Int(place)
                return sorted[low] + (place - Double(low)) * (sorted[min(low + 1, v.count - 1)] - sorted[low])
            }
            let scale = (quantile(0.75) - quantile(0.25)) / 1.3489795003921634
            let values = v.map { ($0 - quantile(0.5)) / scale }
            let mean = values.reduce(0, +) / Double(v.count)
            let deviation = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(v.count)).squareRoot()
            return (values, min(1, deviation))
        }
        /// Mass that each observation gives to each cell: shared by two cells, then spread by the kernel.
        func masses(_ v: [Double]) -> [[Double]] {
            let (values, spread) = scaled(v)
            let reach = 5.0.squareRoot() * spread * power(Double(v.count), -1.0 / 6)
            let origin = values.min()! - reach
            let width = (values.max()! - values.min()! + 2 * reach) / Double(cells - 1)
            func kernel(_ distance: Int) -> Double { max(0, 1 - power(Double(distance) * width / reach, 2)) }
            let total = (-cells...cells).reduce(0) { $0 + kernel($1) }
            return values.map { value in
                let place = (value - origin) / width
                return (0..<cells).map { cell in
                    (0..<cells).reduce(0) { sum, corner in
                        sum + max(0, 1 - abs(place - Double(corner))) * kernel(cell - corner) / total
                    }
                }
            }
        }
        let (a, b) = (masses(x), masses(y))
        var joint = [[Double]](repeating: [Double](repeating: 0, count: cells), count: cells)
        for i in x.indices { for r in 0..<cells { for c in 0..<cells { joint[r][c] += a[i][r] * b[i][c] / 40 } } }
        let rows = joint.map { $0.reduce(0, +) }
        let columns = (0..<cells).map { c in joint.reduce(0) { $0 + $1[c] } }
        var expected = 0.0
        for r in 0..<cells {
            for c in 0..<cells where joint[r][c] > 0 {
                expected += joint[r][c] * logarithm(joint[r][c] / (rows[r] * columns[c]))
            }
        }
        let found = try KernelDensityInformation(cells: cells).information(x, y)
        #expect(abs(found - expected) < 1e-10)
    }

    @Test func discreteVariables() throws {
        var random = SeededGenerator(seed: 3)
        let x = (0..<600).map { _ in Double(random.next() % 3) }
        // y copies x half of the time: counted by hand below.
        let y = x.map { random.next() % 2 == 0 ? $0 : Double(random.next() % 3) }
        var table = [[Double]](repeating: [0, 0, 0], count: 3)
        for (a, b) in zip(x, y) { table[Int(a)][Int(b)] += 1.0 / 600 }
        var expected = 0.0
        for a in 0..<3 {
            for b in 0..<3 where table[a][b] > 0 {
                let margin = table[a].reduce(0, +) * (table[0][b] + table[1][b] + table[2][b])
                expected += table[a][b] * logarithm(table[a][b] / margin)
            }
        }
        for estimator in [KernelDensityInformation(), HistogramInformation()] as [any MutualInformationEstimator] {
            #expect(abs(try estimator.information(x, y) - expected) < 1e-12)
            #expect(abs(try estimator.information(x, x) - entropy(x)) < 1e-12, "a variable tells all about itself")
        }
        // A class that moves the mean by 2: between none and the whole entropy of the class, and symmetric.
        let value = x.map { 2 * $0 + random.normal() }
        let estimator = KernelDensityInformation()
        let mixed = try estimator.information(x, value)
        #expect(mixed > 0.3 && mixed < entropy(x))
        #expect(abs(try estimator.information(value, x) - mixed) < 1e-12)
        // Independent of the class: only the smoothing's noise is left.
        #expect(try estimator.information(x, (0..<600).map { _ in random.normal() }) < 0.03)
    }

    private func entropy(_ x: [Double]) -> Double {
        Dictionary(grouping: x, by: { $0 }).values.reduce(0) {
            let share = Double($1.count) / Double(x.count)
            return $0 - share * logarithm(share)
        }
    }

    @Test(arguments: [0, 1]) func identities(kind: Int) throws {
        let estimator: any MutualInformationEstimator =
            kind == 0 ? KernelDensityInformation(cells: 60) : HistogramInformation()
        let (x, y) = Self.normalPair(300, 0.7)
        let value = try estimator.information(x, y)
        #expect(abs(try estimator.information(y, x) - value) < 1e-10, "symmetric")
        #expect(abs(try estimator.information(x.map { 1000 - 7 * $0 }, y) - value) < 1e-9, "no scale, no sign")
        #expect(try estimator.information([Double](repeating: 2, count: 300), y) == 0)
        // One wild observation changes little: scales are robust and values are held.
        var wild = x
        wild[0] = 1e12
        #expect(abs(try estimator.information(wild, y) - value) < 0.35 * value)
        #expect(throws: LacunaError.self) { try estimator.information(x, [1, 2]) }
        #expect(throws: LacunaError.self) { try estimator.information([1], [2]) }
        #expect(throws: LacunaError.self) { try estimator.information([1, .nan], [2, 3]) }
    }

    @Test func histogramsHaveAsManyBinsAsTheDataBear() {
        var random = SeededGenerator(seed: 6)
        let flat = (0..<500).map { _ in random.uniform() }
        #expect(HistogramInformation().bestBinCount(flat) == 1)
        let two = (0..<500).map { $0 % 2 == 0 ? random.uniform() : 9 + random.uniform() }
        #expect(HistogramInformation().bestBinCount(two) >= 3)
    }

    /// A square, a wave and a line: information finds all three, correlation only the line.
    @Test func findsWhatCorrelationMisses() throws {
        var random = SeededGenerator(seed: 12)
        let (n, p) = (400, 120)
        let values = (0..<n * p).map { _ in random.normal() }
        let design = DenseDesign(columnMajor: values, rows: n)
        let y = (0..<n).map { i in
            values[i] * values[i] + 2 * sine(3 * values[n + i]) + values[2 * n + i] + 0.5 * random.normal()
        }
        let screen = InformationScreen(estimator: KernelDensityInformation(cells: 80), permutations: 19, seed: 4)
        let ranked = try screen.rank(design, target: y)
        #expect(Set(ranked.prefix(3).map(\.column)) == [0, 1, 2] && ranked.count == p)
        #expect(ranked.prefix(3).allSatisfy { $0.pValue == 0.05 })
        #expect(ranked.dropFirst(3).count { ($0.pValue ?? 0) <= 0.05 } <= 1, "one false alarm in twenty screens")
        #expect(zip(ranked, ranked.dropFirst()).allSatisfy { $0.information >= $1.information })
        let byCorrelation = ranked.sorted { abs($0.correlation) > abs($1.correlation) }.prefix(3).map(\.column)
        #expect(byCorrelation.contains(2) && Set(byCorrelation) != [0, 1, 2])
        // Sparse storage, another number of threads and no permutations give the same numbers.
        let before = Parallel.threads
        defer { Parallel.threads = before }
        Parallel.threads = 1
        let again = try InformationScreen(estimator: KernelDensityInformation(cells: 80)).rank(
            try SparseDesign(design), target: y)
        #expect(again.map(\.information) == ranked.map(\.information) && again[0].pValue == nil)
        for column in ranked.prefix(3) {
            #expect(abs(column.dependence - (1 - exponential(-2 * column.information)).squareRoot()) < 1e-15)
        }
    }

    @Test func clumpsKeepOneOfEach() throws {
        var random = SeededGenerator(seed: 2)
        let n = 300
        let (a, b) = ((0..<n).map { _ in random.normal() }, (0..<n).map { _ in random.normal() })
        let copy = a.map { $0 + 0.05 * random.normal() }
        let design = DenseDesign(columnMajor: a + copy + b, rows: n)
        let y = (0..<n).map { 2 * a[$0] + b[$0] + 0.5 * random.normal() }
        let screen = InformationScreen(estimator: KernelDensityInformation(cells: 80))
        let ranked = try screen.rank(design, target: y)
        #expect(Set(ranked.prefix(2).map(\.column)) == [0, 1])
        let kept = try screen.clumped(ranked, design)
        #expect(kept.count == 2 && kept[0] == ranked[0] && kept[1].column == 2)
        #expect(throws: LacunaError.self) { try screen.rank(design, target: [1, 2]) }
        #expect(throws: LacunaError.self) { try screen.rank(DenseDesign(columnMajor: [1], rows: 1), target: [1]) }
    }
}
