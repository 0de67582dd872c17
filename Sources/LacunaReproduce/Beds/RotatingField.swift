import Lacuna

/// A point in the plane whose controls are turned by an angle that depends on where it is: what moves it right in one place moves
/// it left in another. A model that was learnt in one place alone steers the wrong way elsewhere.
enum RotatingField {
    /// Middles of the four places, in the order of learning.
    static let places: [[Double]] = [[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [0.5, -0.5]]

    /// - Parameters:
    ///   - state: Within ±1.4 in both directions.
    ///   - action: Within ±1.
    static func next(_ state: [Double], _ action: [Double]) -> [Double] {
        let angle = 3.141592653589793 * state[0]
        let (c, s) = (cosine(angle), sine(angle))
        let move = [c * action[0] - s * action[1], s * action[0] + c * action[1]]
        return zip(state, move).map { min(max($0 + 0.1 * $1, -1.4), 1.4) }
    }

    /// Random steps, one place after the other.
    static func experience(
        perPlace count: Int, using random: inout SeededGenerator
    ) -> [(state: [Double], action: [Double], next: [Double])] {
        places.flatMap { place in
            (0..<count).map { _ in
                let state = place.map { $0 + 1.2 * random.uniform() - 0.6 }
                let action = (0..<2).map { _ in 2 * random.uniform() - 1 }
                return (state, action, next(state, action))
            }
        }
    }

    /// The mean distance from the middle of each place, when actions are chosen by imagined rollouts: of 32 random sequences of six, the
    /// first action of the one that ends up closest along its way.
    ///
    /// - Parameter predict: States after each of several states and actions.
    static func control(
        seed: UInt64, _ predict: (_ states: [[Double]], _ actions: [[Double]]) throws -> [[Double]]
    ) rethrows -> Double {
        var random = SeededGenerator(seed: seed, stream: 45)
        let (rollouts, horizon, steps, starts) = (32, 6, 25, 4)
        var sum = 0.0
        func distance(_ a: [Double], _ b: [Double]) -> Double {
            zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
        }
        for goal in places {
            for _ in 0..<starts {
                var state = goal.map { $0 + 0.8 * random.uniform() - 0.4 }
                for _ in 0..<steps {
                    let plans = (0..<rollouts * horizon).map { _ in (0..<2).map { _ in 2 * random.uniform() - 1 } }
                    var imagined = [[Double]](repeating: state, count: rollouts)
                    var costs = [Double](repeating: 0, count: rollouts)
                    for h in 0..<horizon {
                        imagined = try predict(imagined, Array(plans[h * rollouts..<(h + 1) * rollouts]))
                        for k in 0..<rollouts { costs[k] += distance(imagined[k], goal) }
                    }
                    let best = (0..<rollouts).min { costs[$0] < costs[$1] } ?? 0
                    state = next(state, plans[best])
                    sum += distance(state, goal)
                }
            }
        }
        return sum / Double(places.count * starts * steps)
    }
}
