import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaInfer

struct SparseTransportTests {
    private static func costs(_ m: Int, _ n: Int, seed: UInt64 = 1) -> Tensor<Double> {
        var generator = SeededGenerator(seed: seed)
        return Tensor((0..<m * n).map { _ in generator.uniform() }, shape: [m, n])
    }

    private static func even(_ n: Int) -> [Double] { [Double](repeating: 1 / Double(n), count: n) }

    private func solve(
        _ costs: Tensor<Double>, _ entries: Int, _ gamma: Double, _ form: SparseTransport.Form = .semiDual
    ) throws -> SparseTransport.Plan {
        try SparseTransport(entries: entries, regularization: gamma, form: form, iterations: 3000).solve(
            costs, rows: Self.even(costs.rows), columns: Self.even(costs.columns))
    }

    /// Two rows and columns: all on the diagonal as long as that is cheap enough, by hand.
    @Test(arguments: [SparseTransport.Form.semiDual, .dual]) func twoByTwo(_ form: SparseTransport.Form) throws {
        let costs = Tensor<Double>([0, 1, 1, 0], shape: [2, 2])
        let found = try solve(costs, 2, 0.5, form)
        #expect(abs(found.plan[0, 0] - 0.5) < 1e-6 && abs(found.plan[0, 1]) < 1e-6)
        #expect(abs(found.value - 0.5 / 2 * 0.5) < 1e-6 && found.cost < 1e-6)
        // γ = 4: the diagonal d minimises 2 (0.5 - d) + 4 (d² + (0.5 - d)²), so d = 3/8.
        let spread = try solve(costs, 2, 4, form)
        #expect(abs(spread.plan[0, 0] - 0.375) < 1e-5 && abs(spread.plan[1, 0] - 0.125) < 1e-5)
        #expect(spread.rowError < 1e-5 && spread.columnError < 1e-5)
    }

    /// With little regularisation the plan is the best assignment, found by trying all.
    @Test func assignments() throws {
        for seed: UInt64 in 1...4 {
            let costs = Self.costs(5, 5, seed: seed)
            var best = Double.infinity
            func permute(_ row: Int, _ used: Set<Int>, _ sum: Double) {
                if row == 5 {
                    best = min(best, sum / 5)
                    return
                }
                for j in 0..<5 where !used.contains(j) { permute(row + 1, used.union([j]), sum + costs[row, j]) }
            }
            permute(0, [], 0)
            let found = try solve(costs, 5, 0.005)
            #expect(abs(found.cost - best) < 2e-3 && found.rowError < 1e-2, "\(found.cost) \(best)")
            #expect(found.columnError < 1e-9 && found.value >= best - 1e-6 && found.value < best + 0.002)
        }
    }

    /// Both duals have one value where the entries suffice, which no fewer entries increase above; columns never have more.
    @Test func fewerEntries() throws {
        let costs = Self.costs(8, 12)
        let free = try solve(costs, 8, 1)
        let natural = (0..<12).map { j in (0..<8).count { free.plan[$0, j] > 1e-9 } }.max()!
        #expect(abs(try solve(costs, 8, 1, .dual).value - free.value) < 1e-4 && free.rowError < 1e-3)
        // The objective of the plan is the value of the dual.
        let squares = free.plan.scalars.reduce(0) { $0 + $1 * $1 }
        #expect(abs(free.cost + squares / 2 - free.value) < 1e-3)
        #expect(abs(try solve(costs, natural, 1).value - free.value) < 1e-4)
        var last = Double.infinity
        for entries in 1...8 {
            let found = try solve(costs, entries, 1)
            for j in 0..<12 { #expect((0..<8).count { found.plan[$0, j] > 0 } <= entries) }
            #expect(found.columnError < 1e-9 && found.value <= last + 1e-4)
            last = found.value
        }
        #expect(try solve(costs, 1, 1).rowError > 0.05)
    }

    @Test(arguments: [SparseTransport.Form.semiDual, .dual]) func gradient(_ form: SparseTransport.Form) throws {
        let transport = try SparseTransport(entries: 3, regularization: 0.3, form: form)
        let (c, a, b) = (Self.costs(6, 5).scalars, Self.even(6), Self.even(5))
        var generator = SeededGenerator(seed: 9)
        let x = (0..<(form == .dual ? 11 : 6)).map { _ in 0.3 + 0.3 * generator.normal() }
        let slope = transport.evaluate(x, c, a, b).gradient
        for i in x.indices {
            var (up, down) = (x, x)
            up[i] += 1e-6
            down[i] -= 1e-6
            let difference = transport.evaluate(up, c, a, b).value - transport.evaluate(down, c, a, b).value
            #expect(abs(difference / 2e-6 - slope[i]) < 1e-5)
        }
    }

    @Test func whatCannotBeIsRefused() throws {
        for (entries, gamma) in [(0, 1.0), (1, 0), (1, -1), (1, .nan), (1, .infinity)] {
            #expect(throws: LacunaError.self) { try SparseTransport(entries: entries, regularization: gamma) }
        }
        let transport = try SparseTransport(entries: 1)
        let costs = Self.costs(2, 2)
        for (a, b) in [([1.0], [0.5, 0.5]), ([0.5, 0.5], [0.5, 0.6]), ([1, 0], [0.5, 0.5])] {
            #expect(throws: LacunaError.self) { try transport.solve(costs, rows: a, columns: b) }
        }
    }

    /// A router that shares a batch out evenly where scores alone would send everything to one expert.
    @Test func routing() throws {
        var generator = SeededGenerator(seed: 2)
        var weight = Tensor<Float>(normal: [4, 6], using: &generator)
        for e in 0..<6 { weight[0, e] += 0.2 }
        let scores = LinearLayer(
            try WeightStore.make(weight, layout: .dense, values: .f32), bias: Tensor([5, 0, 0, 0], shape: [4]))
        let x = Tensor<Float>(normal: [32, 6], using: &generator)
        let (top, even) = (try TopRouter(scores), try TransportRouter(scores, capacity: 1.25))
        func loads(_ router: any Router) -> [Int] {
            let routes = x.withPointer { router.route($0, count: 32, layer: 0) }
            #expect(routes.allSatisfy { !$0.isEmpty && Set($0.map(\.expert)).count == $0.count })
            #expect(routes.allSatisfy { abs($0.reduce(0) { $0 + $1.weight } - 1) < 1e-5 } || router is TopRouter)
            return (0..<4).map { e in routes.count { $0.contains { $0.expert == e } } }
        }
        #expect(loads(top)[0] > 20 && even.load(32) == 10 && even.load(1) == 1)
        // 10.3 and 1.6 vectors: nobody is left without an expert.
        #expect(even.load(33) == 11 && even.load(5) == 2)
        let shared = loads(even)
        #expect(shared.min()! >= 5 && shared.max()! <= 14, "\(shared)")
        // Fewer vectors than experts, and those of no scores, go one by one.
        let one = x.withPointer { even.route($0, count: 1, layer: 0) }
        let alone = x.withPointer { top.route($0, count: 1, layer: 0) }
        #expect(one[0].map(\.expert) == alone[0].map(\.expert) && one[0][0].weight == 1)
        for capacity in [0, -1, Double.nan] {
            #expect(throws: LacunaError.self) { try TransportRouter(scores, capacity: capacity) }
        }
    }
}
