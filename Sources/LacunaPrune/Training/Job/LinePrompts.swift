import LacunaIO
import LacunaModels
import LacunaTensor

/// What a language model that was trained on lines is asked by further ones, read as the run read its own: questions to answer,
/// conversations to go on with, or texts to continue.
///
/// ```swift
/// import Lacuna
///
/// let model = try LanguageModel.load("runs/answers")
/// let prompts = try LinePrompts(ofRun: "runs/answers", tokenizer: model.tokenizer)
/// for (line, tokens) in try prompts.read("new.jsonl") { print(line, try model.generate(after: tokens)) }
/// ```
public struct LinePrompts {
    private let lines: LanguageLines

    /// By the configuration that a run left in its directory.
    ///
    /// - Parameters:
    ///   - tokenizer: That of the trained model.
    ///   - environment: Reads chat templates.
    /// - Throws: `LacunaError.unsupported` for a run on text files, which have no lines to read; `.file` and `.malformed` for a
    ///   configuration that is not there or has mistakes.
    public init(
        ofRun directory: String, tokenizer: Tokenizer, environment: TrainingJob.Environment = .init()
    ) throws {
        let path = FileSystem.join(directory, TrainingJob.configurationName)
        let file = try ConfigurationFile(text: FileSystem.readText(path, limit: 1 << 22), file: path)
        guard try file.string("data.kind") == "jsonl" else {
            throw LacunaError.unsupported(
                file: path,
                what: "reading lines as a run on text files: `lacuna run` continues a text")
        }
        lines = try LanguageLines(file: file, tokenizer: tokenizer, end: nil, environment: environment)
    }

    /// The tokens to go on from, for each line of a JSONL file.
    ///
    /// - Returns: The number of the line, from 1, and its tokens.
    /// - Throws: `LacunaError.malformed` with the line for one that asks nothing, and for a file without lines.
    public func read(_ path: String) throws -> [(line: Int, tokens: [Int])] {
        let file = try JSONLines(path)
        var result: [(Int, [Int])] = []
        while let tokens = try file.next(lines.prompt) { result.append((file.line, tokens)) }
        if result.isEmpty { throw LacunaError.malformed(file: path, location: "lines", reason: "has none") }
        return result
    }
}
