import LacunaIO
import LacunaModels
import LacunaTensor

/// One way of leaving out work among others, of inputs, keys and entries of keys and values together: what it does to the quality of a text that is
/// written token by token, what a token reads, and how fast it goes.
public struct SkippingEvaluation: Sendable {
    /// What is left out of products, such as `wina:0.4`; nil for nothing.
    public let activation: String?
    /// How keys and values are read and kept, such as `quest:0.25, int8`; nil for all of them as floats.
    public let cache: String?
    /// Of the text, half of every window being a prompt.
    public let perplexity: Perplexity
    /// Of the weights of linear layers, the share whose input or neuron was left out.
    public let sparsity: Double
    /// What single tokens read of the keys that they could see, and what choosing took.
    public let keys: SkippingMeter.Keys
    /// Bytes of weights that a token reads.
    public let weightBytes: Int
    /// Bytes of keys and values at the end of a window.
    public let cacheBytes: Int

    /// Of the keys that single tokens could see, the share that was read.
    public var keyShare: Double { keys.share }
    /// Bytes that a token at the end of a window reads: of weights, and of the keys and values of as many positions as attention reads.
    public var bytesPerToken: Int { weightBytes + Int(Double(cacheBytes) * keyShare) }
    /// Tokens scored in a second, prompts included in the time.
    public var tokensPerSecond: Double { Double(perplexity.tokens) / max(perplexity.seconds, 1e-12) }
    /// `teal:0.4, quest:0.25`, or `dense`.
    public var name: String {
        let parts = [activation, cache].compactMap(\.self)
        return parts.isEmpty ? "dense" : parts.joined(separator: ", ")
    }

    /// Writes a text.
    ///
    /// - Parameters:
    ///   - plan: What is left out of products; nil for nothing.
    ///   - cache: How keys and values are read and kept.
    ///   - window: Tokens of a window; the first half is the prompt.
    /// - Throws: As ``LacunaModels/Perplexity``'s `measureWriting` and ``ActivationPlan/applied(to:file:progress:)``.
    public init(
        _ model: LanguageModel, plan: ActivationPlan?, cache: CacheRequest, tokens: [Int], window: Int,
        progress: (any ProgressReporter)? = nil
    ) throws {
        var model = model
        let meter = SkippingMeter()
        let all = model.decoder.bytesTouchedPerToken()
        let linear = model.decoder.linearBytes
        if let plan { try model.skipActivations(plan, meter: meter, progress: progress) }
        var skipping = model.skipping
        skipping.meter = meter
        try cache.apply(to: &skipping)
        var kept = 0
        perplexity = try Perplexity.measureWriting(
            skipping.engine(model.decoder), tokens: tokens, window: window, prompt: max(1, window / 2),
            store: { kept = $0.byteCount }, progress: progress)
        cacheBytes = kept
        activation = plan.map { "\($0.request)" }
        self.cache = cache.isDense ? nil : "\(cache)"
        sparsity = meter.total.sparsity
        keys = meter.keys
        if plan == nil {
            weightBytes = all
        } else {
            // Of each layer the mean over the tokens that went by themselves.
            let read = meter.counts.values.reduce(0.0) { $0 + Double($1.bytesRead) / Double(max($1.skipping, 1)) }
            weightBytes = all - linear + Int(read)
        }
    }

    /// The evaluations that no other beats in both perplexity and bytes, by their places, fewest bytes first. Of equals the first.
    public static func front(_ evaluations: [SkippingEvaluation]) -> [Int] {
        front(evaluations.map { (cost: Double($0.bytesPerToken), loss: $0.perplexity.loss) })
    }

    static func front(_ points: [(cost: Double, loss: Double)]) -> [Int] {
        let order = points.indices.sorted {
            let (a, b) = (points[$0], points[$1])
            return a.cost != b.cost ? a.cost < b.cost : a.loss != b.loss ? a.loss < b.loss : $0 < $1
        }
        var result: [Int] = []
        var best = Double.infinity
        for place in order where points[place].loss < best {
            best = points[place].loss
            result.append(place)
        }
        return result
    }
}

extension CacheRequest {
    /// Whether all keys are read and kept as floats.
    public var isDense: Bool { attention == .all && keeping == .floats && prompts.isUnplanned && eviction == nil }
}

/// Combinations of ways to leave out work: every choice for inputs with every choice for keys, and every choice for what is kept of them.
public struct SkippingSweep: Sendable {
    /// What is left out of products: `METHOD:RATIO`, or the file of a plan; nil for nothing.
    public var activations: [String?]
    /// Which keys are read, as ``CacheRequest`` has it; nil for all.
    public var attentions: [String?]
    /// How keys and values are kept; nil for floats.
    public var keepings: [String?]

    /// Lists of words; nothing is a choice of every list whether or not it is named.
    public init(activations: [String] = [], attentions: [String] = [], keepings: [String] = []) {
        func choices(_ words: [String]) -> [String?] {
            var seen = Set<String>()
            return [nil] + words.filter { seen.insert($0).inserted }
        }
        self.activations = choices(activations)
        self.attentions = choices(attentions)
        self.keepings = choices(keepings)
    }

    /// How many combinations there are.
    public var count: Int { activations.count * attentions.count * keepings.count }

    /// Evaluates all combinations, the model that leaves out nothing first. Each activation is calibrated once.
    ///
    /// - Parameters:
    ///   - calibration: A text for the methods that need one.
    ///   - tokens: The text to be written.
    ///   - window: Tokens of a window.
    /// - Throws: ``LacunaError``: as ``LanguageModel/activationPlan(_:calibration:allocation:progress:)``, ``CacheRequest`` and
    ///   ``SkippingEvaluation/init(_:plan:cache:tokens:window:progress:)``.
    public func run(
        _ model: LanguageModel, calibration: CalibrationSet? = nil, tokens: [Int], window: Int,
        progress: (any ProgressReporter)? = nil
    ) throws -> [SkippingEvaluation] {
        // Words are checked before anything takes time.
        var channels: HeavyChannels?
        let requests = try attentions.flatMap { attention in
            try keepings.map { keeping in
                try CacheRequest(attention: attention, keeping: keeping) {
                    if let channels { return channels }
                    guard let calibration else {
                        throw LacunaError.invalidArgument(
                            "attention", reason: "double needs a text to find its channels on: --calibration")
                    }
                    let found = try HeavyChannels(of: model.decoder, on: calibration, progress: progress)
                    channels = found
                    return found
                }
            }
        }
        let plans = try activations.map { words in
            try words.map {
                try model.activationPlan(
                    $0, calibration: FileSystem.isPlainFile($0) ? nil : calibration, progress: progress)
            }
        }
        return try plans.flatMap { plan in
            try requests.map {
                try SkippingEvaluation(model, plan: plan, cache: $0, tokens: tokens, window: window, progress: progress)
            }
        }
    }
}
