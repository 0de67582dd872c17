import ArgumentParser
import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

extension RunCommand {
    /// What cannot be said together with `--correct`.
    func validateCorrection() throws {
        guard correct != nil else { return }
        if skipping.activation.isEmpty && skipping.attention == nil {
            throw ValidationError("--correct needs something to correct: --activation or --attention")
        }
        if skipping.kv != nil || skipping.evict != nil || skipping.prefill != nil {
            throw ValidationError(
                "--correct is for drafts, whose keys and values are the whole model's: leave --kv, --evict and --prefill out"
            )
        }
        if skipping.attention?.lowercased().hasPrefix("alisa") == true {
            throw ValidationError(
                "--correct cannot draft by --attention alisa, which chooses by attention paid before that a draft loses; quest and double can"
            )
        }
        if temperature > 0 { throw ValidationError("--correct writes greedily; leave --temperature out") }
        if prompt == nil { throw ValidationError("--correct needs a --prompt") }
    }

    /// Writes by drafts of the model that leaves something out, corrected by the whole one.
    func writeCorrected(
        _ model: LanguageModel, _ prompt: String, draft: Int, _ summary: SkippingSummary
    ) throws {
        let (tokens, generation) =
            chat
            ? try model.turn(messages(prompt), generation, Self.templateOptions)
            : (model.tokenizer.encode(prompt), generation)
        let sirius = try Sirius(model.decoder, draft: model.skipping, options: .init(draft: draft))
        var text = StreamingText(model.tokenizer, echo: !form.json)
        let result = try sirius.generate(
            tokens, maximum: maxTokens, stops: model.generator.endTokens.union(generation.stopTokens)
        ) { text.receive($0) }
        text.finish()
        try Interruption.check()
        try report?.write(summary.page(model: model.name).html())
        if form.json {
            let report: JSONValue = [
                "prompt": .string(prompt), "text": .string(text.text),
                "promptTokens": .array(tokens.map { JSONValue($0) }),
                "tokens": .array(result.tokens.map { JSONValue($0) }),
                "ended": .string(result.endToken == nil ? "length" : "end"), "seconds": .number(result.seconds),
                "rounds": JSONValue(result.rounds), "drafted": JSONValue(result.drafted),
                "rejected": JSONValue(result.rejected), "acceptedLength": .number(result.acceptedLength),
                "skipping": summary.json,
            ]
            Console.output.print(report.serialized(.pretty))
        } else if !options.quiet {
            let line =
                "[\(result.tokens.count) tokens in \(Quantities.fixed(result.seconds, 1)) s, prompt included; "
                + "\(result.rounds) passes of the whole model, \(Quantities.fixed(result.acceptedLength, 1)) tokens each; "
                + "\(result.rejected) of \(result.drafted) drafted tokens taken back]"
            Console.error.print(Console.error.styled(line, .dim))
            Console.error.print(Console.error.styled(summary.line, .dim))
        }
    }
}
