import Lacuna

/// Words of the Reber grammar and words that are none: a task that a recurrent network solves only by keeping its place in the
/// grammar.
///
/// Arthur S. Reber, "Implicit Learning of Artificial Grammars", Journal of Verbal Learning and Verbal Behavior 6 (1967).
enum ReberStrings {
    /// For each place in the grammar, the letters that may follow and where they lead; none at the end.
    private static let moves: [[(letter: Character, to: Int)]] = [
        [("B", 1)], [("T", 2), ("P", 3)], [("S", 2), ("X", 4)], [("T", 3), ("V", 5)], [("X", 3), ("S", 6)],
        [("P", 4), ("V", 6)], [("E", 7)], [],
    ]

    /// Whether the grammar makes a word.
    static func accepts(_ word: [Character]) -> Bool {
        var place = 0
        for letter in word {
            guard let move = moves[place].first(where: { $0.letter == letter }) else { return false }
            place = move.to
        }
        return moves[place].isEmpty
    }

    /// As many words of a length in `lengths` as are asked for; every second one is of the grammar. Of the others half are
    /// words of the grammar with one letter exchanged for another one of it, half letters drawn at random.
    ///
    /// Token 0 is no letter: it pads shorter words.
    static func examples(_ count: Int, lengths: ClosedRange<Int>, seed: UInt64) throws -> SequenceExamples {
        var generator = SeededGenerator(seed: seed, stream: 0x4EBE)
        func word() -> [Character] {
            while true {
                var (word, place) = ([Character](), 0)
                while !moves[place].isEmpty, word.count <= lengths.upperBound {
                    let move = moves[place].randomElement(using: &generator)!
                    word.append(move.letter)
                    place = move.to
                }
                if moves[place].isEmpty, lengths.contains(word.count) { return word }
            }
        }
        let letters = Array("BTPSXVE")
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        var (sequences, labels) = ([[Int32]](), [Int32]())
        for index in 0..<count {
            var text = word()
            if index % 2 == 1 {
                if index % 4 == 1 {
                    let right = text
                    repeat {
                        text = right
                        text[Int.random(in: 0..<text.count, using: &generator)] = letters.randomElement(
                            using: &generator)!
                    } while accepts(text)
                } else {
                    text = text.map { _ in alphabet.randomElement(using: &generator)! }
                    if accepts(text) { text[0] = "A" }
                }
            }
            sequences.append(text.map { Int32($0.asciiValue! - 64) })
            labels.append(index % 2 == 0 ? 1 : 0)
        }
        return try SequenceExamples(sequences: sequences, labels: labels, vocabulary: 27, classes: 2)
    }
}
