import LacunaTensor

/// How well scores order rows.
enum Ranking {
    /// The chance that a row of class 1 has a larger score than one of class 0, ties counting half; ½ without both.
    static func areaUnderCurve(_ scores: [Double], labels: [Int], weights: [Double]) -> Double {
        let order = scores.indices.filter { weights[$0] > 0 }.sorted { scores[$0] < scores[$1] }
        var (below, won, positive) = (0.0, 0.0, 0.0)
        var start = 0
        while start < order.count {
            var end = start
            var (zeros, ones) = (0.0, 0.0)
            while end < order.count && scores[order[end]] == scores[order[start]] {
                if labels[order[end]] == 1 { ones += weights[order[end]] } else { zeros += weights[order[end]] }
                end += 1
            }
            won += ones * (below + zeros / 2)
            below += zeros
            positive += ones
            start = end
        }
        return below > 0 && positive > 0 ? won / (below * positive) : 0.5
    }

    /// The weighted share of pairs in which the row with the larger score had its event first, of all pairs in which it is known
    /// who was first; equal scores count half, ½ without any pair. A row that was lost at the time of another's event outlived it.
    ///
    /// - Complexity: O(n log n).
    static func concordance(_ scores: [Double], times: [Double], events: [Bool], weights: [Double]) -> Double {
        let rows = scores.indices.filter { weights[$0] > 0 }
        // Places of scores in their order, equal ones sharing one.
        let distinct = Set(rows.map { scores[$0] }).sorted()
        let places = Dictionary(uniqueKeysWithValues: distinct.enumerated().map { ($1, $0) })
        // Sums over the places before, of rows that outlive the present time (a binary indexed tree).
        var tree = [Double](repeating: 0, count: distinct.count + 1)
        func sum(before place: Int) -> Double {
            var (sum, k) = (0.0, place)
            while k > 0 {
                sum += tree[k]
                k -= k & -k
            }
            return sum
        }
        func add(_ weight: Double, at place: Int) {
            var k = place + 1
            while k < tree.count {
                tree[k] += weight
                k += k & -k
            }
        }
        // From the latest time; at one time first who was lost, then what happened.
        let order = rows.sorted { (times[$1], events[$0] ? 1 : 0, $0) < (times[$0], events[$1] ? 1 : 0, $1) }
        var (won, total, known) = (0.0, 0.0, 0.0)
        var start = 0
        while start < order.count {
            var end = start
            let (time, isEvent) = (times[order[start]], events[order[start]])
            while end < order.count && times[order[end]] == time && events[order[end]] == isEvent { end += 1 }
            if isEvent {
                for i in order[start..<end] {
                    guard let place = places[scores[i]] else { continue }
                    let (below, upTo) = (sum(before: place), sum(before: place + 1))
                    won += weights[i] * (below + (upTo - below) / 2)
                    total += weights[i] * known
                }
            }
            for i in order[start..<end] {
                guard let place = places[scores[i]] else { continue }
                add(weights[i], at: place)
                known += weights[i]
            }
            start = end
        }
        return total > 0 ? won / total : 0.5
    }
}
