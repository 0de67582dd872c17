import LacunaTensor

/// Where keys and values lie while a text grows beyond what fast memory holds: all of them fast at first, from a step p₁ on the oldest share α in
/// slow memory, from a step p₂ on the oldest share β of these deleted and computed again when they are chosen. The four numbers are those
/// of the least time by a model of the machine.
///
/// Youpeng Zhao, Di Wu, Jun Wang, "ALISA: Accelerating Large Language Model Inference via Sparsity-Aware KV Caching", arXiv 2403.17312: its
/// three-phase scheduler, for attention that reads the last `k = round(n r / 2)` of n positions and k others (``ALISA``). Others are taken to be chosen
/// evenly among all that are older than the last k. This is a planner: ``KeyValueStore``s here have one memory, and do not move.
///
/// ```swift
/// let machine = try OffloadPlanner.Machine(fastBytes: 8e9, bandwidth: 25e9, rate: 40e12, fastBandwidth: 800e9)
/// let work = try OffloadPlanner.Work(prompt: 128, steps: 512, layers: 32, width: 4096, batch: 64, share: 0.2)
/// let found = OffloadPlanner(machine: machine, work: work).plan()
/// ```
public struct OffloadPlanner: Sendable {
    /// What a machine can do.
    public struct Machine: Sendable, Hashable {
        /// Bytes of fast memory for keys and values.
        public var fastBytes: Double
        /// Bytes a second between the two memories.
        public var bandwidth: Double
        /// Floating-point operations a second, a multiply-add being two.
        public var rate: Double
        /// Bytes a second that attention reads of fast memory.
        public var fastBandwidth: Double
        /// Whether transfers and computing go on at once: their longer time counts, otherwise their sum.
        public var overlaps: Bool

        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers that are not positive.
        public init(
            fastBytes: Double, bandwidth: Double, rate: Double, fastBandwidth: Double, overlaps: Bool = false
        ) throws {
            guard [fastBytes, bandwidth, rate, fastBandwidth].allSatisfy({ $0 > 0 && $0.isFinite }) else {
                throw LacunaError.invalidArgument("machine", reason: "bytes, bandwidths and rate must be positive")
            }
            (self.fastBytes, self.bandwidth, self.rate) = (fastBytes, bandwidth, rate)
            (self.fastBandwidth, self.overlaps) = (fastBandwidth, overlaps)
        }

        /// This machine's memory as the slow one: the speed of a copy and of a matrix product are measured, and `fastBytes` is given.
        ///
        /// - Parameter fastBandwidth: Of the fast memory; nil for that of the copy.
        /// - Throws: As ``init(fastBytes:bandwidth:rate:fastBandwidth:overlaps:)``.
        public static func measured(fastBytes: Double, fastBandwidth: Double? = nil) throws -> Machine {
            let count = 8 << 20
            let source = Buffer<Float>(repeating: 1, count: count)
            let target = Buffer<Float>(repeating: 0, count: count)
            func seconds(_ body: () -> Void) -> Double {
                (0..<5).map { _ in
                    let start = monotonicSeconds()
                    body()
                    return monotonicSeconds() - start
                }.min() ?? .infinity
            }
            // A copy reads and writes; what is moved counts once.
            let copy = Double(4 * count) / seconds { target.pointer.update(from: source.pointer, count: count) }
            let side = 384
            let a = Tensor<Float>(repeating: 1 / Float(target.pointer[0] + 1), shape: [side, side])
            let product = 2 * Double(side * side * side) / seconds { _ = a.multiplied(by: a) }
            return try Machine(
                fastBytes: fastBytes, bandwidth: copy, rate: product, fastBandwidth: fastBandwidth ?? copy)
        }
    }

    /// What is to be written.
    public struct Work: Sendable, Hashable {
        /// Positions before the first step, and steps of one position each.
        public var prompt, steps: Int
        /// Of the model: layers, and entries of all key heads together.
        public var layers, width: Int
        /// Texts at once.
        public var batch: Int
        /// r: of the positions, the share that attention reads, 0...1.
        public var share: Double
        /// Bytes of an entry of a key or value: 2 for half precision, 1 for bytes.
        public var entryBytes: Double

        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range.
        public init(
            prompt: Int, steps: Int, layers: Int, width: Int, batch: Int = 1, share: Double, entryBytes: Double = 2
        ) throws {
            guard prompt >= 0, steps >= 1, layers >= 1, width >= 1, batch >= 1, share > 0, share <= 1, entryBytes > 0
            else {
                throw LacunaError.invalidArgument(
                    "work",
                    reason: "\(steps) steps after \(prompt), \(layers) layers of \(width), share \(share): out of range"
                )
            }
            (self.prompt, self.steps, self.layers, self.width) = (prompt, steps, layers, width)
            (self.batch, self.share, self.entryBytes) = (batch, share, entryBytes)
        }

        /// Of the keys and values of one position of all texts and layers.
        public var positionBytes: Double { 2 * Double(layers * batch * width) * entryBytes }
        /// Operations that compute these again from the layers' inputs: two products with square matrices.
        public var positionOperations: Double { 4 * Double(layers * batch) * Double(width) * Double(width) }
    }

    /// Three phases.
    public struct Plan: Sendable, Hashable {
        /// The first step of the second phase, and of the third.
        public var firstOffload, firstDeletion: Int
        /// α, of all positions, in slow memory from the second phase on; β, of these, deleted from the third on.
        public var offloaded, deleted: Double

        /// A plan of given numbers.
        public init(firstOffload: Int, firstDeletion: Int, offloaded: Double, deleted: Double) {
            (self.firstOffload, self.firstDeletion) = (firstOffload, firstDeletion)
            (self.offloaded, self.deleted) = (offloaded, deleted)
        }
    }

    /// What a plan costs.
    public struct Cost: Sendable, Hashable {
        /// Seconds of all steps: transfers, computing again, attention.
        public var transfer = 0.0, recomputing = 0.0, attention = 0.0
        /// Seconds in all, which are less than their sum where they overlap.
        public var seconds = 0.0
        /// The most fast memory that was in use.
        public var peakBytes = 0.0
    }

    /// What there is.
    public let machine: Machine
    /// What is to be done.
    public let work: Work
    /// Parts into which steps and shares are divided in the search.
    public let resolution: Int

    /// - Parameter resolution: At least 1.
    public init(machine: Machine, work: Work, resolution: Int = 32) {
        require(resolution >= 1, "a resolution of \(resolution)")
        (self.machine, self.work, self.resolution) = (machine, work, resolution)
    }

    /// Where positions are when there are so many, at a step: fast, slow, deleted.
    func places(_ plan: Plan, step: Int) -> (fast: Int, slow: Int, deleted: Int) {
        let n = work.prompt + step + 1
        // The last positions are read at every step and stay fast.
        let local = max(1, Int((work.share * Double(n) / 2).rounded()))
        let away = step < plan.firstOffload ? 0 : min(Int((plan.offloaded * Double(n)).rounded(.up)), n - min(local, n))
        let gone = step < plan.firstDeletion ? 0 : Int((plan.deleted * Double(away)).rounded(.down))
        return (n - away, away - gone, gone)
    }

    /// What a plan costs.
    ///
    /// - Complexity: O(steps).
    public func cost(_ plan: Plan) -> Cost {
        var cost = Cost()
        var movedOut = 0
        for step in 0..<work.steps {
            let (fast, slow, gone) = places(plan, step: step)
            let n = fast + slow + gone
            let k = min(n, max(1, Int((work.share * Double(n) / 2).rounded())))
            // Of the k others each is as likely to be any of the older ones.
            let older = max(n - k, 1)
            let others = Double(min(k, n - k))
            let fetched = others * Double(slow) / Double(older)
            let computed = others * Double(gone) / Double(older)
            let leaving = max(0, slow + gone - movedOut)
            movedOut = max(movedOut, slow + gone)
            let transfer = (fetched + Double(leaving)) * work.positionBytes / machine.bandwidth
            let recomputing = computed * work.positionOperations / machine.rate
            let attention = (Double(k) + others) * work.positionBytes / machine.fastBandwidth
            cost.transfer += transfer
            cost.recomputing += recomputing
            cost.attention += attention
            cost.seconds += (machine.overlaps ? max(transfer, recomputing) : transfer + recomputing) + attention
            cost.peakBytes = max(cost.peakBytes, Double(fast) * work.positionBytes)
        }
        return cost
    }

    /// The values of each number that are tried, in its unit.
    private var steps: [Int] {
        Array(Set((0...resolution).map { $0 * work.steps / resolution } + [latestOffload])).sorted()
    }
    private var shares: [Double] { (0...resolution).map { Double($0) / Double(resolution) } }

    /// The last step by which positions have to begin to leave fast memory.
    private var latestOffload: Int {
        let room = Int(machine.fastBytes / work.positionBytes)
        return min(max(room - work.prompt, 0), work.steps)
    }

    /// The best plan that a greedy search finds: one number after the other is set to its best value, the others being kept, until none
    /// changes, from several beginnings; nil if fast memory is too small for what has to stay.
    public func plan() -> (plan: Plan, cost: Cost)? {
        let whole = Plan(firstOffload: work.steps, firstDeletion: work.steps, offloaded: 0, deleted: 0)
        if let found = feasible(whole) { return (whole, found) }
        var best: (plan: Plan, cost: Cost)?
        for share in shares {
            let start = Plan(firstOffload: latestOffload, firstDeletion: work.steps, offloaded: share, deleted: 0)
            guard feasible(start) != nil else { continue }
            for (deletion, deleted) in [
                (work.steps, 0.0), (latestOffload, 0.5), (latestOffload, 1), ((latestOffload + work.steps) / 2, 0.5),
            ] {
                var begin = start
                (begin.firstDeletion, begin.deleted) = (deletion, deleted)
                if let found = descend(from: begin), found.cost.seconds < best?.cost.seconds ?? .infinity {
                    best = found
                }
            }
            // The least share that fits; more of them leaving is for the search to find.
            break
        }
        return best
    }

    /// The best plan of all that there are at the resolution; nil if none fits.
    ///
    /// - Complexity: O(resolution⁴ · steps): for checks of ``plan()``.
    public func exhaustivePlan() -> (plan: Plan, cost: Cost)? {
        var best: (plan: Plan, cost: Cost)?
        for first in steps {
            for second in steps where second >= first {
                for offloaded in shares {
                    for deleted in shares {
                        let plan = Plan(
                            firstOffload: first, firstDeletion: second, offloaded: offloaded, deleted: deleted)
                        if let cost = feasible(plan), cost.seconds < best?.cost.seconds ?? .infinity {
                            best = (plan, cost)
                        }
                    }
                }
            }
        }
        return best
    }

    private func feasible(_ plan: Plan) -> Cost? {
        if plan.firstDeletion < plan.firstOffload { return nil }
        let cost = cost(plan)
        return cost.peakBytes <= machine.fastBytes ? cost : nil
    }

    private func descend(from start: Plan) -> (plan: Plan, cost: Cost)? {
        guard var cost = feasible(start) else { return nil }
        var plan = start
        while true {
            let before = cost.seconds
            func attempt(_ change: (inout Plan) -> Void) {
                var candidate = plan
                change(&candidate)
                if let found = feasible(candidate), found.seconds < cost.seconds { (plan, cost) = (candidate, found) }
            }
            for share in shares { attempt { $0.offloaded = share } }
            for step in steps { attempt { $0.firstOffload = step } }
            for share in shares { attempt { $0.deleted = share } }
            for step in steps { attempt { $0.firstDeletion = step } }
            if cost.seconds >= before { return (plan, cost) }
        }
    }
}
