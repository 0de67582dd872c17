import ArgumentParser
import LacunaIO
import LacunaPrune
import LacunaTensor

/// On which text methods watch a model's activations.
struct CalibrationOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A text, UTF-8, for methods that look at activations; best of the kind that the model is for; - is the input.",
            valueName: "file"))
    var calibration: InputFile?

    @Option(
        in: 1...1_000_000, help: ArgumentHelp("Sequences drawn from the calibration text.", valueName: "n"))
    var sequences = CalibrationSet.defaultSequences

    @Option(in: 1...1_000_000, help: ArgumentHelp("Tokens of each of them.", valueName: "n"))
    var sequenceLength = CalibrationSet.defaultLength

    @Flag(help: "What looks like a special token in a text, such as <|im_end|>, is that token.")
    var specialTokens = false

    @Option(seed: ArgumentHelp("Changes every random choice: the sequences drawn, random masks.", valueName: "n"))
    var seed: UInt64 = 0

    func set(_ tokenizer: Tokenizer) throws -> CalibrationSet? {
        try calibration.map {
            try CalibrationSet(
                file: $0.path, tokenizer: tokenizer, sequences: sequences, length: sequenceLength, seed: seed,
                recognizesSpecials: specialTokens)
        }
    }
}
