// Removes half of a language model's weights by Wanda, says what that costs, saves it and lets both models write.
import Foundation
import Lacuna

guard CommandLine.arguments.count == 3 else {
    print("usage: prune-and-generate MODEL TEXT\n\nMODEL: a .gguf file or a Hugging Face directory; TEXT: a text file")
    exit(2)
}
let (path, textFile) = (CommandLine.arguments[1], CommandLine.arguments[2])
do {
    let tokenizer =
        FileSystem.isDirectory(path) ? try Tokenizer(directory: path) : try Tokenizer(gguf: GGUFFile(path))
    let dense = try Transformer.load(path, weights: .bf16)

    let calibration = try CalibrationSet(file: textFile, tokenizer: tokenizer, sequences: 16)
    let pruner = Pruner(
        Wanda(), pattern: .unstructured(.row), budget: UniformBudget(0.5), storage: PrunedStorage(values: .bf16))
    let (sparse, report) = try pruner.prune(dense, calibration: calibration)
    print("\(report.method): \(dense.linearBytes >> 20) MiB of linear layers became \(sparse.linearBytes >> 20) MiB")

    let text = tokenizer.encode(try FileSystem.readText(textFile), addsBeginning: false).prefix(4096)
    for (name, decoder) in [("dense", dense), ("sparse", sparse)] {
        let perplexity = try Perplexity.measure(decoder, tokens: Array(text))
        print("\n\(name): perplexity \((perplexity.value * 100).rounded() / 100)")
        var words = StreamingDecoder(tokenizer)
        let prompt = tokenizer.encode("The capital of France is")
        let result = try Generator(decoder).generate(prompt, .init(maximumTokens: 24)) { token in
            print(words.append(token), terminator: "")
            return true
        }
        print(words.finish(), "\n(\(Int(result.decode.tokensPerSecond)) tokens/s)")
    }
    try sparse.save(to: "sparse-model", tokenizer: tokenizer, overwrite: true)
    print("\nwritten: sparse-model")
} catch {
    print("error: \(error)")
    exit(1)
}
