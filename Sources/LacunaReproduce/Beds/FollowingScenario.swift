import Lacuna

/// A vehicle under test follows one that may brake hard at any of 20 steps: the last part of an overtaking manoeuvre, in which
/// somebody has just moved in ahead. A collision is the event.
///
/// The vehicle ahead draws an acceleration every half second from a natural distribution. Surrogates of the vehicle under test
/// are drivers of the intelligent driver model (Martin Treiber and others, 2000) with other parameters. For each the
/// probability of a collision is known in every state, by backward recursion, and tells what proposals should prefer: a step
/// is critical where some surrogate sees a danger; elsewhere proposals are the natural distribution.
struct FollowingScenario {
    struct Driver {
        /// Desired time gap, seconds.
        var headway: Double
        /// Hardest braking, m/s².
        var braking: Double
        /// Share of the last step's acceleration that is kept: a slow reaction.
        var inertia = 0.0

        func acceleration(gap: Double, speed: Double, approach: Double, last: Double) -> Double {
            let desired = 2 + max(0, speed * headway + speed * approach / (2 * (1.5 * 2.0).squareRoot()))
            let ratio = speed / 30
            let free = 1 - ratio * ratio * ratio * ratio
            let wanted = 1.5 * (free - (desired / max(gap, 0.1)) * (desired / max(gap, 0.1)))
            return inertia * last + (1 - inertia) * max(wanted, -braking)
        }
    }

    private struct State {
        var gap, speed, ahead: Double
        var last = 0.0
    }

    static let steps = 20
    private static let actions: [(acceleration: Double, probability: Double)] = [
        (-7, 0.0005), (-5, 0.003), (-3, 0.02), (-1.5, 0.12), (0, 0.65), (1, 0.17), (2, 0.0365),
    ]
    private static let start = State(gap: 15, speed: 22, ahead: 18)

    let mixture: MixtureProposal
    private let surrogates: [Driver]
    private let values: [Table]
    /// Danger below which a step is not critical.
    private let threshold: Double
    /// Share of the natural distribution in every step of every proposal.
    private let natural: Double

    init(surrogates: [Driver], threshold: Double = 1e-5, natural: Double = 0.1) throws {
        self.surrogates = surrogates
        self.natural = natural
        self.threshold = threshold
        let count = surrogates.count
        mixture = try MixtureProposal(weights: [0.1] + [Double](repeating: 0.9 / Double(count), count: count))
        values = surrogates.map { Table($0) }
    }

    private static func next(_ state: State, _ driver: Driver, lead: Double) -> State {
        let dt = 0.5
        let a = driver.acceleration(
            gap: state.gap, speed: state.speed, approach: state.speed - state.ahead, last: state.last)
        var new = state
        new.speed = min(max(0, state.speed + a * dt), 40)
        new.ahead = min(max(0, state.ahead + lead * dt), 40)
        new.gap += dt / 2 * (state.ahead + new.ahead - state.speed - new.speed)
        new.last = a
        return new
    }

    /// Probability of a collision in the steps that remain, on a grid of gap, speed and difference of speeds.
    private struct Table {
        private static let (gaps, speeds, differences) = (41, 21, 25)
        private var levels: [[Double]] = []

        init(_ driver: Driver) {
            let count = Self.gaps * Self.speeds * Self.differences
            levels = [[Double]](repeating: [Double](repeating: 0, count: count), count: FollowingScenario.steps + 1)
            for step in (0..<FollowingScenario.steps).reversed() {
                for place in 0..<count {
                    let gap = Double(place / (Self.speeds * Self.differences)) * 1.5
                    let speed = Double(place / Self.differences % Self.speeds) * 1.75
                    let ahead = speed + Double(place % Self.differences) * 1.25 - 20
                    if gap <= 0 {
                        levels[step][place] = 1
                    } else if ahead >= 0 {
                        levels[step][place] = FollowingScenario.actions.reduce(0) { sum, action in
                            sum + action.probability
                                * danger(
                                    step + 1,
                                    FollowingScenario.next(
                                        State(gap: gap, speed: speed, ahead: ahead), driver, lead: action.acceleration))
                        }
                    }
                }
            }
        }

        /// Interpolated; 1 after a collision.
        func danger(_ step: Int, _ state: State) -> Double {
            if state.gap <= 0 { return 1 }
            if step >= FollowingScenario.steps { return 0 }
            func split(_ x: Double, _ count: Int) -> (Int, Double) {
                let bounded = min(max(x, 0), Double(count - 1) - 1e-9)
                let cell = Int(bounded)
                return (cell, bounded - Double(cell))
            }
            let (i, a) = split(state.gap / 1.5, Self.gaps)
            let (j, b) = split(state.speed / 1.75, Self.speeds)
            let (k, c) = split((state.ahead - state.speed + 20) / 1.25, Self.differences)
            return levels[step].withUnsafeBufferPointer { level in
                var sum = 0.0
                for corner in 0..<8 {
                    let (di, dj, dk) = (corner & 1, corner >> 1 & 1, corner >> 2)
                    let weight = (di == 1 ? a : 1 - a) * (dj == 1 ? b : 1 - b) * (dk == 1 ? c : 1 - c)
                    sum += weight * level[((i + di) * Self.speeds + j + dj) * Self.differences + k + dk]
                }
                return sum
            }
        }
    }

    /// Independent tests of a driver. The stratum of a test is its number of critical steps.
    ///
    /// - Parameter isPlanned: Whether scenarios are drawn whole before they are tested: a step is then critical by where the surrogates
    ///   would be, not the vehicle, so that the number of critical steps follows from what is drawn alone.
    func tests(
        _ count: Int, of driver: Driver, isPlanned: Bool = false, using random: inout SeededGenerator
    ) -> [ScenarioTest] {
        (0..<count).map { _ in draw(proposal: nil, driver, isPlanned: isPlanned, &random) }
    }

    /// Numbers of critical steps of planned scenarios from each proposal, without a test.
    func criticalCounts(_ scenarios: Int, using random: inout SeededGenerator) -> [[Int]] {
        (0..<mixture.count).map { j in
            (0..<scenarios).map { _ in draw(proposal: j, nil, isPlanned: true, &random).stratum }
        }
    }

    /// One scenario, from a proposal or from the mixture for nil, and what happens to a driver in it.
    private func draw(
        proposal: Int?, _ driver: Driver?, isPlanned: Bool, _ random: inout SeededGenerator
    ) -> ScenarioTest {
        var chosen = proposal ?? 0
        if proposal == nil {
            var draw = random.uniform()
            while chosen < mixture.count - 1 && draw >= mixture.weights[chosen] {
                draw -= mixture.weights[chosen]
                chosen += 1
            }
        }
        var state = Self.start
        var imagined = surrogates.map { _ in Self.start }
        var test = ScenarioTest(outcome: 0, logRatios: [])
        for step in 0..<Self.steps {
            // ratios[j][a]: q_j over p for each action.
            var ratios = [[Double]](
                repeating: [Double](repeating: 1, count: Self.actions.count), count: mixture.count)
            var isCritical = false
            for j in surrogates.indices {
                let seen = isPlanned ? imagined[j] : state
                // Nothing is left to fear for a surrogate that has collided.
                if seen.gap <= 0 { continue }
                var total = 0.0
                for (a, action) in Self.actions.enumerated() {
                    let danger = values[j].danger(
                        step + 1, Self.next(seen, surrogates[j], lead: action.acceleration))
                    ratios[j + 1][a] = danger
                    total += action.probability * danger
                }
                if total > threshold {
                    isCritical = true
                    for a in Self.actions.indices {
                        ratios[j + 1][a] = natural + (1 - natural) * ratios[j + 1][a] / total
                    }
                } else {
                    for a in Self.actions.indices { ratios[j + 1][a] = 1 }
                }
            }
            var (rest, drawn) = (random.uniform(), 0)
            while drawn < Self.actions.count - 1 {
                let probability = Self.actions[drawn].probability * ratios[chosen][drawn]
                if rest < probability { break }
                rest -= probability
                drawn += 1
            }
            if isCritical { test.logRatios.append(ratios.map { logarithm($0[drawn]) }) }
            let lead = Self.actions[drawn].acceleration
            if isPlanned {
                for j in surrogates.indices where imagined[j].gap > 0 {
                    imagined[j] = Self.next(imagined[j], surrogates[j], lead: lead)
                }
            }
            if let driver, state.gap > 0 {
                state = Self.next(state, driver, lead: lead)
                if state.gap <= 0 {
                    test.outcome = 1
                    if !isPlanned { break }
                }
            }
        }
        test.stratum = test.logRatios.count
        return test
    }
}
