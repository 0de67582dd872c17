import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor

/// Ways of leaving out inputs side by side, the dense model first.
struct ActivationTable {
    let results: [ActivationEvaluation]

    var text: String {
        var table = Table([
            .left("activation"), .right("left out"), .right("to choose"), .right("linear bytes"),
            .right("bytes a token"), .right("perplexity"), .right("÷ dense"),
        ])
        let dense = results[0].perplexity.value
        for result in results {
            table.append([
                result.name, Quantities.percent(result.sparsity), Quantities.percent(result.cost, 2),
                Quantities.percent(result.linearShare, 0), Quantities.bytes(result.bytesPerToken),
                Quantities.fixed(result.perplexity.value, 3),
                Quantities.fixed(result.perplexity.value / dense, 4),
            ])
        }
        return table.text(console: .output)
            + "\n\nleft out: of the linear layers' weights, on this text; to choose: numbers looked at, over these weights; linear bytes: of these layers, read to decode a token. "
            + "Head, norms and embedding, \(Quantities.bytes(results[0].denseBytes)) a token, are read whole."
    }

    func json(file: String, tokens: Int) -> JSONValue {
        .array(
            results.map { result in
                var roles = JSONObject()
                for role in LinearRole.allCases {
                    roles[role.rawValue] = .number(result.sparsityByRole[role] ?? 0)
                }
                return [
                    "activation": .string(result.name), "text": .string(file), "tokens": JSONValue(tokens),
                    "perplexity": .number(result.perplexity.value), "loss": .number(result.perplexity.loss),
                    "seconds": .number(result.perplexity.seconds), "sparsity": .number(result.sparsity),
                    "sparsityByRole": .object(roles), "bytesPerToken": JSONValue(result.bytesPerToken),
                    "denseBytes": JSONValue(result.denseBytes), "linearShare": .number(result.linearShare),
                    "choiceCost": .number(result.cost),
                ]
            })
    }
}

/// Ways of reading and keeping keys and values side by side, all keys as floats first.
struct CacheTable {
    let results: [CacheEvaluation]

    var text: String {
        var table = Table([
            .left("keys"), .right("keys read"), .right("whole"), .right("to choose"), .right("in prompts"),
            .right("to choose"), .right("cache"), .right("÷ floats"), .right("perplexity"), .right("÷ dense"),
            .right("tokens scored"), .right("tokens/s"),
        ])
        let dense = results[0]
        for result in results {
            table.append([
                result.name, Quantities.percent(result.keyShare), Quantities.percent(result.keys.wholeShare),
                Quantities.percent(result.keys.cost), Quantities.percent(result.prompts.share),
                Quantities.percent(result.prompts.cost), Quantities.bytes(result.cacheBytes),
                Quantities.fixed(Double(result.cacheBytes) / Double(max(dense.cacheBytes, 1)), 3),
                Quantities.fixed(result.perplexity.value, 3),
                Quantities.fixed(result.perplexity.value / dense.perplexity.value, 4),
                Quantities.grouped(result.perplexity.tokens),
                Quantities.fixed(Double(result.perplexity.tokens) / result.perplexity.seconds, 1),
            ])
        }
        return table.text(console: .output)
            + "\n\nkeys read: of those that single tokens could see; whole: queries that read all of them, as in layers that are left dense; "
            + "to choose: numbers read for it, over all keys and values; in prompts: of pairs of a query and a key; to choose: products made "
            + "for it, over all that there are."
    }

    func json(file: String, tokens: Int) -> JSONValue {
        .array(
            results.map { result in
                [
                    "keys": .string(result.name), "text": .string(file), "tokens": JSONValue(tokens),
                    "keyShare": .number(result.keyShare), "wholeQueries": .number(result.keys.wholeShare),
                    "keyChoiceCost": .number(result.keys.cost), "promptShare": .number(result.prompts.share),
                    "promptCost": .number(result.prompts.cost), "cacheBytes": JSONValue(result.cacheBytes),
                    "perplexity": .number(result.perplexity.value), "loss": .number(result.perplexity.loss),
                    "tokensScored": JSONValue(result.perplexity.tokens), "seconds": .number(result.perplexity.seconds),
                ]
            })
    }
}
