import BenchmarkHarness
import Lacuna

/// Writing text, one token at a time: whole decoders of SmolLM2-135M's shape, dense and sparse.
struct DecodeSuite {
    let settings: Settings
    let weights: RandomWeights
    /// What another program reached with the same model.
    let peer: PeerResults?

    /// Tokens of the prompt; the texts go on from here to `last` and begin anew.
    private static let prompt = 128
    private static let last = 192
    /// Tokens of one call.
    private static let step = 8

    func sections() throws -> [Section] {
        guard settings.includes(.smolLM2) else { return [] }
        let peerText =
            peer.map {
                "*× peer* is the speed next to \($0.version), measured before on the same machine with nothing "
                    + "beside it, by its own benchmark, with the same shapes in the same type and as many threads."
            } ?? ""
        var section = Section(
            "Writing text with SmolLM2-135M's shapes",
            explanation: """
                One token after another, at positions \(Self.prompt) to \(Self.last), random weights pruned by magnitude, the \
                forms in turn. *MB* is what a token reads: all linear layers, the head, keys and values. The head is the \
                embedding table, which is not pruned: in bf16 it is 57 MB, a fifth of what the dense model reads, so that \
                removing half of the linear weights saves a third of the bytes. *allowed* is the ratio of the bytes to \
                those of the dense model in the same type. \(peerText)
                """,
            columns: [
                .threads, .bytes, .tokensPerSecond, .spread, .bandwidthShare, .expected, .measured, .share, .peerRatio,
            ])
        if peer == nil { section.columns.removeLast() }
        for values in settings.values {
            settings.announce("decoding: \(values)")
            section.rows += try rows(forms(values))
        }
        return [section]
    }

    /// A way to store a decoder.
    private struct Form {
        var storage: Storage
        var head: ValueType
        /// Neurons of every feed-forward part that are left.
        var neurons = Self.allNeurons
        var name: String { neurons == Self.allNeurons ? storage.name : "\(storage.values) dense, 30 % fewer neurons" }

        static let allNeurons = 1536
    }

    /// The first form is the baseline of the others.
    private func forms(_ values: ValueType) -> [Form] {
        // Four bits in the head turn into wrong words.
        let head = values == .int4 ? .int8 : values
        var forms = [Form(storage: .dense(values), head: head)]
        guard values != .f32 else { return forms }
        forms += [0.5, 0.75, 0.8].map { Form(storage: .bitmask(values, $0), head: head) }
        forms.append(Form(storage: .nm(values, 2, 4), head: head))
        if values == .bf16 {
            forms.append(Form(storage: .dense(values), head: head, neurons: Form.allNeurons * 7 / 10))
            var smallHead = Form(storage: .bitmask(values, 0.5), head: .int8)
            smallHead.storage.name += ", head int8"
            forms.append(smallHead)
        }
        return forms
    }

    private func rows(_ forms: [Form]) throws -> [Row] {
        let readLoop = ReadLoop(coldBytes: settings.machine.coldBytes)
        let candidates = try forms.map { form in
            let decoder = try decoder(form)
            let session = try DecodingSession(decoder, context: Self.last)
            try session.prefill((0..<Self.prompt).map { $0 * 7919 % decoder.configuration.vocabularySize })
            let bytes = decoder.bytesTouchedPerToken(position: (Self.prompt + Self.last) / 2)
            let work = Work(bytes: Double(bytes * Self.step), tokens: Double(Self.step))
            return Candidate(form.name, work: work) { _ in
                if session.cache.count + Self.step > Self.last { session.cache.truncate(to: Self.prompt) }
                for i in 0..<Self.step {
                    do {
                        try session.decode(i * 104_729 % decoder.configuration.vocabularySize)
                    } catch {
                        preconditionFailure("a token within the context was refused: \(error)")
                    }
                }
            }
        }
        let timer = settings.timer(rounds: 20, turnSeconds: 0, beforeTurn: readLoop.evict)
        return settings.forEachThreadCount { threads in
            let measured = timer.measure([readLoop.candidate] + candidates)
            return zip(forms, measured.dropFirst()).enumerated().map { index, pair in
                let (form, measurement) = pair
                var row = Row(measurement, threads: threads)
                row[.bytes] = measurement.work.bytes / Double(Self.step)
                row.relate(measurement, to: measured[0])
                if index > 0 { row.compare(measurement, with: measured[1]) }
                if index == 0, let rival = peerSpeed(form, threads: threads) {
                    row[.peerRatio] = measurement.tokensPerSecond / rival
                }
                row.bars = bars(form, isBaseline: index == 0)
                return row
            }
        }
    }

    private func peerSpeed(_ form: Form, threads: Int) -> Double? {
        peer?.result(values: "\(form.storage.values)", phase: "decode", threads: threads)?.tokensPerSecond
    }

    private func bars(_ form: Form, isBaseline: Bool) -> [Bar] {
        if isBaseline {
            let bandwidth: [Bar] = form.storage.values == .bf16 ? [.atLeast(.bandwidthShare, 0.85)] : []
            let isCompared = peer != nil && (form.storage.values == .f32 || form.storage.values == .bf16)
            return bandwidth + (isCompared ? [.atLeast(.peerRatio, 1)] : [])
        }
        if form.storage.values == .int4 { return form.storage.sparsity == 0.5 ? [.atLeast(.measured, 1)] : [] }
        return [.atLeast(.share, 0.85)]
    }

    // MARK: Decoders

    private func decoder(_ form: Form) throws -> Transformer {
        let configuration = TransformerConfiguration(
            vocabularySize: 49_152, hiddenSize: 576,
            intermediateSizes: [Int](repeating: form.neurons, count: 30), headCount: 9, keyValueHeadCount: 3,
            headSize: 64, maximumPositions: 2048, tiedEmbeddings: true)
        let ones = Tensor<Float>(repeating: 1, shape: [configuration.hiddenSize])
        let blocks = try (0..<configuration.layerCount).map { layer in
            func linear(_ role: LinearRole) throws -> LinearLayer {
                let shape = configuration.shape(of: role, layer: layer)
                return LinearLayer(
                    try weights.matrix(Shapes.Matrix(rows: shape[0], columns: shape[1]), form.storage))
            }
            return TransformerBlock(
                attentionNorm: ones,
                attention: Attention(
                    query: try linear(.query), key: try linear(.key), value: try linear(.value),
                    output: try linear(.output), geometry: AttentionGeometry(configuration, layer: layer)),
                feedForwardNorm: ones,
                feedForward: FeedForward(gate: try linear(.gate), up: try linear(.up), down: try linear(.down)),
                normEpsilon: configuration.normEpsilon)
        }
        let table = Shapes.Matrix(rows: configuration.vocabularySize, columns: configuration.hiddenSize)
        return try Transformer(
            configuration: configuration, embedding: weights.matrix(table, .dense(form.head)), blocks: blocks,
            finalNorm: Normalization(weight: ones, bias: nil, epsilon: configuration.normEpsilon), untiedHead: nil)
    }
}
