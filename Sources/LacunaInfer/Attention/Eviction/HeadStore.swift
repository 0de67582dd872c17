import LacunaModels
import LacunaTensor

/// Keys and values of one head of one layer, of which positions can be forgotten one by one: the rest moves together in a store of
/// any form, and keeps its numbers.
final class HeadStore {
    /// Where they are, in the order of their positions: of one layer and one head.
    private(set) var base: any KeyValueStore
    /// Positions that are not there.
    private(set) var missing = PositionSet()
    /// Positions that are there, ascending, with the places at which they begin.
    private var runs: [(positions: Range<Int>, place: Int)] = []
    /// Positions counted, missing ones included.
    private(set) var count = 0
    private let size: Int
    private let make: () -> any KeyValueStore

    /// - Parameters:
    ///   - size: Entries of a key.
    ///   - make: An empty store of one head.
    init(size: Int, make: @escaping () -> any KeyValueStore) {
        (self.size, self.make) = (size, make)
        base = make()
    }

    /// Positions that are there, as ascending ranges.
    var held: [Range<Int>] { runs.map(\.positions) }

    func advance(by more: Int) {
        base.advance(by: more)
        if let last = runs.last, last.positions.upperBound == count {
            runs[runs.count - 1].positions = last.positions.lowerBound..<count + more
        } else {
            runs.append((count..<count + more, base.count - more))
        }
        count += more
    }

    func truncate(to count: Int) {
        self.count = count
        missing.truncate(to: count)
        runs = runs.compactMap { run in
            let rest = run.positions.clamped(to: 0..<count)
            return rest.isEmpty ? nil : (rest, run.place)
        }
        base.truncate(to: runs.last.map { $0.place + $0.positions.count } ?? 0)
    }

    /// Where the positions are in the store; they are all there.
    func places(_ positions: Range<Int>) -> Range<Int> {
        // Those that are appended and not yet counted follow the others.
        if positions.lowerBound >= count {
            let place = base.count + positions.lowerBound - count
            return place..<place + positions.count
        }
        var (low, high) = (0, runs.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if runs[middle].positions.lowerBound <= positions.lowerBound { low = middle } else { high = middle }
        }
        require(
            low < runs.count && runs[low].positions.contains(positions.lowerBound)
                && (positions.upperBound <= runs[low].positions.upperBound
                    || (low == runs.count - 1 && runs[low].positions.upperBound == count)),
            "positions \(positions) are not all there")
        let place = runs[low].place + positions.lowerBound - runs[low].positions.lowerBound
        return place..<place + positions.count
    }

    /// Forgets all but some of the held positions.
    ///
    /// - Parameter places: Of the positions that are held, in their order, those that stay; ascending.
    func keep(_ places: [Int]) {
        let old = runs
        var ranges: [Range<Int>] = []
        var (run, first) = (0, 0)
        for place in places {
            while place - first >= old[run].positions.count {
                first += old[run].positions.count
                run += 1
            }
            let position = old[run].positions.lowerBound + place - first
            if let last = ranges.last, last.upperBound == position {
                ranges[ranges.count - 1] = last.lowerBound..<position + 1
            } else {
                ranges.append(position..<position + 1)
            }
        }
        let target = make()
        runs = []
        for range in ranges {
            let source = self.places(range, in: old)
            let view = base.view(layer: 0, head: 0, positions: source)
            target.append(layer: 0, keys: view.keys, values: view.values, count: range.count)
            withExtendedLifetime(view) {}
            runs.append((range, target.count))
            target.advance(by: range.count)
        }
        base = target
        missing = PositionSet()
        var end = 0
        for range in ranges {
            missing.insert(end..<range.lowerBound)
            end = range.upperBound
        }
        missing.insert(end..<count)
    }

    private func places(_ positions: Range<Int>, in runs: [(positions: Range<Int>, place: Int)]) -> Range<Int> {
        let run = runs.last { $0.positions.lowerBound <= positions.lowerBound }!
        let place = run.place + positions.lowerBound - run.positions.lowerBound
        return place..<place + positions.count
    }

    /// Another one that holds the same.
    func fork() -> HeadStore {
        let copy = HeadStore(size: size, make: make)
        (copy.base, copy.missing, copy.runs, copy.count) = (base.fork(), missing, runs, count)
        return copy
    }
}
