import LacunaTensor
import ServingFixtures
import Testing

@testable import LacunaServing

struct TextWriterTests {
    private let tokenizer = try! TinyModel().model.tokenizer

    private func write(_ tokens: [Int], stops: [String]) -> (pieces: [String], tokens: [Int], isStopped: Bool) {
        var writer = TextWriter(tokenizer, stops: stops)
        var pieces: [String] = []
        var written: [Int] = []
        for token in tokens {
            let output = writer.append(token)
            pieces.append(output.text)
            written += output.tokens.map(\.token)
            if output.isStopped { return (pieces, written, true) }
        }
        let rest = writer.finish()
        return (pieces + [rest.text], written + rest.tokens.map(\.token), rest.isStopped)
    }

    @Test func stopsAreFoundAcrossTokensAndAreNoPartOfTheText() {
        let tokens = tokenizer.encode("one, two, three", addsBeginning: false)
        let found = write(tokens, stops: ["wo, t", "zzz"])
        #expect(found.isStopped && found.pieces.joined() == "one, t")
        #expect(tokenizer.decode(found.tokens) == "one, t")
        // What might begin a stop is held back until it cannot be one.
        var writer = TextWriter(tokenizer, stops: ["ab!"])
        #expect(writer.append(97).text == "")
        #expect(writer.append(98).text == "")
        let output = writer.append(99)
        #expect(output.text == "abc" && output.tokens.map(\.offset) == [0, 1, 2])
    }

    @Test func theFirstOfSeveralStopsEndsTheText() {
        let tokens = tokenizer.encode("abcdef", addsBeginning: false)
        #expect(write(tokens, stops: ["def", "bc"]).pieces.joined() == "a")
        #expect(write(tokens, stops: ["abcdef"]).pieces.joined() == "")
        #expect(write(tokens, stops: ["fg"]).pieces.joined() == "abcdef")
    }

    @Test func charactersOfSeveralTokensComeWhole() {
        let text = "é€😀"
        let found = write(Array(text.utf8).map(Int.init), stops: [])
        #expect(found.pieces == ["", "é", "", "", "€", "", "", "", "😀", ""])
        // A part of a character at the end.
        #expect(write([0xE2, 0x82], stops: []).pieces.joined() == "\u{FFFD}")
        var writer = TextWriter(tokenizer, offset: 3)
        var offsets: [Int] = []
        for byte in text.utf8 { offsets += writer.append(Int(byte)).tokens.map(\.offset) }
        #expect(offsets == [3, 4, 4, 5, 5, 5, 6, 6, 6])
    }

    /// Any text, cut into tokens anyhow, any stops: the pieces are the text up to the first stop.
    @Test func randomTexts() {
        var generator = SeededGenerator(seed: 3)
        let alphabet = Array("abcé")
        for _ in 0..<300 {
            func word(_ most: Int) -> String {
                String(
                    (0..<Int.random(in: 1...most, using: &generator)).map { _ in
                        alphabet.randomElement(using: &generator)!
                    })
            }
            let text = word(24)
            let stops = (0..<Int.random(in: 0...3, using: &generator)).map { _ in word(4) }
            let found = write(Array(text.utf8).map(Int.init), stops: stops)
            let ends = stops.compactMap { text.firstRange(of: $0)?.lowerBound }
            let expected = String(text[..<(ends.min() ?? text.endIndex)])
            #expect(found.pieces.joined() == expected, "\(text) \(stops)")
            #expect(found.isStopped == !ends.isEmpty)
            #expect(tokenizer.decode(found.tokens) == expected, "\(text) \(stops)")
        }
    }
}
