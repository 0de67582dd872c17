import LacunaTensor
import Testing

@Suite struct SuggestionTests {
    private let known = ["prune", "run", "train", "magnitude", "wanda", "smollm2"]

    @Test(arguments: [
        ("purne", "prune"), ("prunes", "prune"), ("prun", "prune"), ("prine", "prune"), ("Prune", "prune"),
        ("rn", "run"), ("trian", "train"), ("wnda", "wanda"), ("magintude", "magnitude"), ("smolm2", "smollm2"),
        ("smollm-2", "smollm2"),
    ])
    func slipsOfTheFinger(typed: String, meant: String) {
        #expect(Suggestion.nearest(to: typed, among: known) == meant)
        #expect(Suggestion.phrase(typed, among: known) == "; did you mean '\(meant)'?")
    }

    @Test(arguments: ["", "x", "frobnicate", "evaluate", "r", "mag", String(repeating: "prune", count: 20)])
    func whatIsNoSlip(typed: String) {
        #expect(Suggestion.nearest(to: typed, among: known) == nil)
        #expect(Suggestion.phrase(typed, among: known) == "")
    }

    @Test func theNearestAndThenTheFirst() {
        #expect(Suggestion.nearest(to: "alphb", among: ["alphabet", "alpha", "alphc"]) == "alpha")
        #expect(Suggestion.nearest(to: "abcdef", among: [] as [String]) == nil)
        // Two neighbours swapped are one change, not two.
        #expect(Suggestion.nearest(to: "ab", among: ["ba"]) == "ba")
    }
}
