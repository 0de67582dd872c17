/// "Did you mean …?" for mistyped names.
public enum Suggestion {
    /// The known name that takes the fewest changes to reach (a letter added, left out, replaced, or two neighbours
    /// swapped), if those are at most a third of its letters; nil otherwise. The first of several.
    ///
    /// - Complexity: O(known · m · n) for names of m and n letters; what is longer than 64 letters is not compared.
    public static func nearest(to name: String, among known: some Sequence<String>) -> String? {
        let typed = Array(name.lowercased())
        guard !typed.isEmpty, typed.count <= 64 else { return nil }
        var best: (name: String, distance: Int)?
        for candidate in known where candidate.count <= 64 {
            let distance = distance(typed, Array(candidate.lowercased()))
            guard distance <= max(1, max(candidate.count, typed.count) / 3), distance < min(candidate.count, typed.count)
            else { continue }
            if distance < best?.distance ?? .max { best = (candidate, distance) }
        }
        return best?.name
    }

    /// `; did you mean 'x'?`, to end a message with, or nothing.
    public static func phrase(_ name: String, among known: some Sequence<String>) -> String {
        nearest(to: name, among: known).map { "; did you mean '\($0)'?" } ?? ""
    }

    /// Optimal string alignment distance.
    private static func distance(_ a: [Character], _ b: [Character]) -> Int {
        var before: [Int] = []
        var last = Array(0...b.count)
        for i in a.indices {
            var row = [i + 1]
            for j in b.indices {
                var value = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] { value = min(value, before[j - 1] + 1) }
                row.append(value)
            }
            (before, last) = (last, row)
        }
        return last[b.count]
    }
}
