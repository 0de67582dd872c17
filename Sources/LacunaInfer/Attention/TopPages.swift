import LacunaSparse
import LacunaTensor

/// The best of pages, blocks, columns: what selectors of keys have in common.
enum TopPages {
    /// The places, ascending, of the largest scores; of equal ones the later.
    ///
    /// - Parameter kept: How many; all there are if it is more.
    /// - Returns: Nil where a score is not a number.
    static func places(_ scores: UnsafePointer<Float>, count: Int, kept: Int) -> [Int]? {
        let kept = min(max(kept, 0), count)
        guard let line = RankThreshold(smallest: count - kept, of: scores, count: count) else { return nil }
        var places: [Int] = []
        places.reserveCapacity(kept)
        var ties = line.ties
        for place in 0..<count {
            if scores[place] < line.value { continue }
            if scores[place] == line.value && ties > 0 {
                ties -= 1
                continue
            }
            places.append(place)
        }
        return places
    }

    /// The best pages as ranges of positions, the page after them included.
    ///
    /// - Parameters:
    ///   - scores: [count] of pages `first..<first + count`.
    ///   - kept: Of these, how many.
    static func ranges(
        _ scores: UnsafePointer<Float>, count: Int, kept: Int, first: Int, pageSize: Int, visible: Range<Int>
    ) -> [Range<Int>] {
        // Where a score is not a number everything is read, and the number is seen.
        guard let places = places(scores, count: count, kept: kept) else { return [visible] }
        return joined((places + [count]).map { ($0 + first) * pageSize..<($0 + first + 1) * pageSize }, within: visible)
    }

    /// Ascending ranges, those that touch or overlap made one, what is outside `bounds` cut off.
    static func joined(_ ranges: some Sequence<Range<Int>>, within bounds: Range<Int>) -> [Range<Int>] {
        var result: [Range<Int>] = []
        for range in ranges {
            let range = range.clamped(to: bounds)
            if range.isEmpty { continue }
            if let last = result.last, last.upperBound >= range.lowerBound {
                result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return result
    }

    /// What is in one or the other of two ascending lists, ascending and joined.
    static func union(_ a: [Range<Int>], _ b: [Range<Int>], within bounds: Range<Int>) -> [Range<Int>] {
        var all: [Range<Int>] = []
        all.reserveCapacity(a.count + b.count)
        var (i, j) = (0, 0)
        while i < a.count || j < b.count {
            if j == b.count || (i < a.count && a[i].lowerBound <= b[j].lowerBound) {
                all.append(a[i])
                i += 1
            } else {
                all.append(b[j])
                j += 1
            }
        }
        return joined(all, within: bounds)
    }
}
