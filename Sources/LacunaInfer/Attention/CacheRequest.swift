import LacunaModels
import LacunaTensor

/// How attention reads and keeps keys and values, as people write it: `quest:0.25`, `double:0.125`, `window:1024` for what is read, `int8`,
/// `mustafar:0.5` for how they are kept. The two combine.
public struct CacheRequest: Sendable, CustomStringConvertible {
    /// Which keys are read.
    public enum Attention: Sendable, Hashable {
        /// Every key that the model lets a query see.
        case all
        /// ``Quest``, of this share of the keys.
        case quest(Double)
        /// ``DoubleSparsity``, of this share of the keys, chosen in these channels.
        case double(Double, HeavyChannels)
        /// ``WindowAndSinks``, of so many last positions.
        case window(Int)
    }

    /// How keys and values are kept.
    public enum Keeping: Sendable, Hashable {
        /// Floats of 32 bits.
        case floats
        /// ``QuantizedKeyValueCache``.
        case int8
        /// ``MustafarCache``.
        case mustafar(Mustafar)
    }

    /// Which keys are read.
    public var attention: Attention
    /// What keys and values are kept as.
    public var keeping: Keeping

    /// Dense attention over floats, unless said otherwise.
    public init(attention: Attention = .all, keeping: Keeping = .floats) {
        (self.attention, self.keeping) = (attention, keeping)
    }

    /// - Parameters:
    ///   - attention: `quest:SHARE`, `double:SHARE` or `window:POSITIONS`; nil for all keys.
    ///   - keeping: `int8` or `mustafar:SPARSITY`; nil for floats.
    ///   - channels: Calibrated now, for attention that asks for them.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other words and numbers out of range; what `channels` throws.
    public init(attention: String?, keeping: String?, channels: () throws -> HeavyChannels) throws {
        self.init()
        if let attention {
            let (name, number) = Self.parts(attention)
            switch (name, number) {
            case ("quest", let share?):
                _ = try Quest(share: share)
                self.attention = .quest(share)
            case ("double", let share?):
                _ = try DoubleSparsity(share: share)
                self.attention = .double(share, try channels())
            case ("window", let positions?):
                guard let count = Int(exactly: positions), count >= 1 else {
                    throw LacunaError.invalidArgument("attention", reason: "'\(attention)' is no window of 1 or more")
                }
                self.attention = .window(count)
            default:
                throw Self.unknown("attention", attention, name, ["quest:SHARE", "double:SHARE", "window:POSITIONS"])
            }
        }
        if let keeping {
            let (name, number) = Self.parts(keeping)
            switch (name, number) {
            case ("int8", nil) where keeping == "int8": self.keeping = .int8
            case ("mustafar", let sparsity?): self.keeping = .mustafar(try Mustafar(sparsity: sparsity))
            default: throw Self.unknown("kv", keeping, name, ["int8", "mustafar:SPARSITY"])
            }
        }
    }

    private static func parts(_ text: String) -> (name: String, number: Double?) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        return (parts[0].lowercased(), parts.count == 2 ? Double(parts[1]) : nil)
    }

    private static func unknown(_ option: String, _ text: String, _ name: String, _ forms: [String]) -> LacunaError {
        let names = forms.map { String($0.prefix { $0 != ":" }) }
        return .invalidArgument(
            option,
            reason: "'\(text)' is none of \(forms.joined(separator: ", "))" + Suggestion.phrase(name, among: names))
    }

    public var description: String {
        let read =
            switch attention {
            case .all: "all keys"
            case .quest(let share): "quest:\(share)"
            case .double(let share, _): "double:\(share)"
            case .window(let count): "window:\(count)"
            }
        let kept =
            switch keeping {
            case .floats: ""
            case .int8: ", int8"
            case .mustafar(let settings): ", mustafar:\(settings.sparsity)"
            }
        return read + kept
    }

    /// Sets what a model leaves out accordingly.
    ///
    /// - Throws: As ``Quest/init(share:dense:)``.
    public func apply(to skipping: inout Skipping) throws {
        let keeping = keeping
        let base: @Sendable (KeyValueShape) -> any KeyValueStore = { shape in
            switch keeping {
            case .floats: KeyValueCache(shape)
            case .int8: QuantizedKeyValueCache(shape)
            case .mustafar(let settings): MustafarCache(shape, settings)
            }
        }
        switch attention {
        case .all: (skipping.selector, skipping.store) = (AllKeys(), base)
        case .window(let count): (skipping.selector, skipping.store) = (WindowAndSinks(window: count), base)
        case .double(let share, let channels):
            skipping.selector = try DoubleSparsity(share: share)
            skipping.store = { LabelCache(base($0), shape: $0, channels: channels) }
        case .quest(let share):
            skipping.selector = try Quest(share: share)
            skipping.store = { PageBoundsCache(base($0), shape: $0) }
        }
    }

    /// What there is, for listings.
    public static let cards: [MethodCard] = [
        MethodCard(
            name: "quest", family: .attention,
            paper: .init(
                authors: "Jiaming Tang et al.",
                title: "Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference", arXiv: "2406.10774"),
            composition: ["bounds of pages × query", "top pages for every token"]),
        MethodCard(
            name: "double", family: .attention,
            paper: .init(
                authors: "Shuo Yang et al.", title: "Post-Training Sparse Attention with Double Sparsity",
                arXiv: "2408.07092"),
            composition: ["heavy channels × query", "4-bit labels", "top keys for every token"]),
        MethodCard(
            name: "window", family: .attention,
            paper: .init(
                authors: "Guangxuan Xiao et al.",
                title: "Efficient Streaming Language Models with Attention Sinks", arXiv: "2309.17453"),
            composition: ["first and last positions"]),
        MethodCard(
            name: "mustafar", family: .cache,
            paper: .init(
                authors: "Donghyeon Joo et al.",
                title: "Mustafar: Promoting Unstructured Sparsity for KV Cache Pruning in LLM Inference",
                arXiv: "2505.22913"),
            composition: ["magnitude", "top-k within every key and value", "bitmask rows"]),
        MethodCard(
            name: "int8", family: .cache, composition: ["a scale for every key and value"]),
    ]
}

/// What a way of reading and keeping keys and values costs a model, and what it really reads and keeps, measured as a text is
/// written token by token.
public struct CacheEvaluation: Sendable {
    /// Such as `quest:0.25`; `all keys` for the dense form.
    public let name: String
    /// Of the text, written token by token with the cache in place.
    public let perplexity: Perplexity
    /// Share of the visible keys that single queries read.
    public let keyShare: Double
    /// Bytes of keys and values at the end of a window, those of the last one.
    public let cacheBytes: Int

    /// - Parameters:
    ///   - prompt: Tokens of each window that are read as a prompt.
    /// - Throws: As ``Perplexity/measureWriting(_:tokens:window:prompt:store:progress:)``.
    public init(
        _ model: LanguageModel, _ request: CacheRequest, tokens: [Int], window: Int, prompt: Int,
        progress: (any ProgressReporter)? = nil
    ) throws {
        var skipping = model.skipping
        try request.apply(to: &skipping)
        let meter = SkippingMeter()
        skipping.meter = meter
        var bytes = 0
        perplexity = try Perplexity.measureWriting(
            skipping.engine(model.decoder), tokens: tokens, window: window, prompt: prompt,
            store: { bytes = $0.byteCount }, progress: progress)
        (name, keyShare, cacheBytes) = ("\(request)", meter.keys.share, bytes)
    }
}
