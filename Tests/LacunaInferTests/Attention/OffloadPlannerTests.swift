import LacunaTensor
import Testing

@testable import LacunaInfer

struct OffloadPlannerTests {
    private static func planner(
        fastPositions: Int, bandwidth: Double = 1e6, rate: Double = 1e9, overlaps: Bool = false, steps: Int = 64,
        resolution: Int = 8
    ) throws -> OffloadPlanner {
        let work = try OffloadPlanner.Work(
            prompt: 16, steps: steps, layers: 2, width: 32, batch: 3, share: 0.25, entryBytes: 2)
        let machine = try OffloadPlanner.Machine(
            fastBytes: Double(fastPositions) * work.positionBytes, bandwidth: bandwidth, rate: rate, fastBandwidth: 1e8,
            overlaps: overlaps)
        return OffloadPlanner(machine: machine, work: work, resolution: resolution)
    }

    @Test func sizesOfAPosition() throws {
        let work = try Self.planner(fastPositions: 10).work
        // Two vectors of 32 entries of 2 bytes, in 2 layers, for 3 texts; two products of 2 · 32² operations each.
        #expect(work.positionBytes == 2 * 32 * 2 * 2 * 3 && work.positionOperations == 2 * 2 * 32 * 32 * 2 * 3)
    }

    /// One step by hand, in each phase.
    @Test func costsByHand() throws {
        let planner = try Self.planner(fastPositions: 1000, steps: 8)
        let work = planner.work
        let plan = OffloadPlanner.Plan(firstOffload: 2, firstDeletion: 5, offloaded: 0.5, deleted: 0.5)
        #expect(planner.places(plan, step: 1) == (18, 0, 0))
        // 19 positions: 9.5 leave, so 10, of which later 5 are deleted.
        #expect(planner.places(plan, step: 2) == (9, 10, 0))
        #expect(planner.places(plan, step: 5) == (11, 6, 5))
        let cost = planner.cost(plan)
        var (transfer, recomputing, attention) = (0.0, 0.0, 0.0)
        var away = 0
        for step in 0..<8 {
            let n = 17 + step
            let k = Int((0.25 * Double(n) / 2).rounded())
            let gone = step < 2 ? 0 : (n + 1) / 2
            let deleted = step < 5 ? 0 : gone / 2
            transfer += Double(k) * Double(gone - deleted) / Double(n - k) * work.positionBytes / 1e6
            transfer += Double(gone - away) * work.positionBytes / 1e6
            recomputing += Double(k) * Double(deleted) / Double(n - k) * work.positionOperations / 1e9
            attention += Double(2 * k) * work.positionBytes / 1e8
            away = gone
        }
        #expect(abs(cost.transfer - transfer) < 1e-9 && abs(cost.recomputing - recomputing) < 1e-12)
        #expect(abs(cost.attention - attention) < 1e-12)
        #expect(abs(cost.seconds - transfer - recomputing - attention) < 1e-9)
        #expect(cost.peakBytes == 18 * work.positionBytes)
    }

    /// What fits stays; what does not is planned within the memory, as well as by trying everything.
    @Test(arguments: [1e3, 1e6, 1e12], [false, true]) func greedyIsNearTheBest(rate: Double, overlaps: Bool) throws {
        let room = try Self.planner(fastPositions: 80, rate: rate, overlaps: overlaps)
        let whole = try #require(room.plan())
        #expect(whole.cost.transfer == 0 && whole.cost.recomputing == 0 && whole.plan.offloaded == 0)
        let tight = try Self.planner(fastPositions: 40, rate: rate, overlaps: overlaps)
        let (found, best) = (try #require(tight.plan()), try #require(tight.exhaustivePlan()))
        #expect(found.cost.peakBytes <= tight.machine.fastBytes && best.cost.peakBytes <= tight.machine.fastBytes)
        #expect(found.cost.seconds <= 1.1 * best.cost.seconds, "\(found) \(best)")
        // Nothing leaves before it has to, and what is cheaper to compute than to move is deleted.
        #expect(found.plan.firstOffload >= 16)
        if rate == 1e12 && !overlaps { #expect(found.cost.recomputing > 0 && found.plan.deleted > 0) }
        if rate == 1e3 { #expect(found.cost.recomputing == 0) }
        #expect(try Self.planner(fastPositions: 4).plan() == nil)
    }

    @Test func badNumbersAreRefused() throws {
        #expect(throws: LacunaError.self) {
            try OffloadPlanner.Machine(fastBytes: 0, bandwidth: 1, rate: 1, fastBandwidth: 1)
        }
        #expect(throws: LacunaError.self) {
            try OffloadPlanner.Work(prompt: 1, steps: 0, layers: 1, width: 1, share: 0.5)
        }
        #expect(throws: LacunaError.self) {
            try OffloadPlanner.Work(prompt: 1, steps: 1, layers: 1, width: 1, share: 1.5)
        }
        let measured = try OffloadPlanner.Machine.measured(fastBytes: 1e6)
        #expect(measured.bandwidth > 1e7 && measured.rate > 1e7)
    }

    /// Side by side, moving and computing take as long as the longer of the two.
    @Test(arguments: [1e5, 1e9]) func whatOverlaps(rate: Double) throws {
        let plan = OffloadPlanner.Plan(firstOffload: 0, firstDeletion: 0, offloaded: 0.8, deleted: 0.5)
        func cost(_ overlaps: Bool) throws -> OffloadPlanner.Cost {
            try Self.planner(fastPositions: 1000, rate: rate, overlaps: overlaps, steps: 1).cost(plan)
        }
        let (apart, beside) = (try cost(false), try cost(true))
        #expect(apart.transfer > 0 && apart.recomputing > 0)
        #expect(apart.transfer == beside.transfer && apart.recomputing == beside.recomputing)
        #expect(abs(apart.seconds - apart.transfer - apart.recomputing - apart.attention) < 1e-12)
        #expect(abs(beside.seconds - max(beside.transfer, beside.recomputing) - beside.attention) < 1e-12)
    }
}
