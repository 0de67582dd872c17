import LacunaIO
import LacunaModels
import LacunaTensor

/// How attention reads and keeps keys and values, as people write it: `quest:0.25`, `double:0.125`, `alisa:0.25`, `window:1024` for what is read, `int8`,
/// `int4`, `mustafar:0.5` for how they are kept, `block-sparse:0.5`, `vertical-slash:0.5`, `flexprefill:0.9` for what prompts read, and
/// `snapkv:0.25`, `ada-snapkv:0.25` for what is forgotten of them. The four combine.
public struct CacheRequest: Sendable, CustomStringConvertible {
    /// Which keys are read.
    public enum Attention: Sendable, Hashable {
        /// Every key that the model lets a query see.
        case all
        /// ``Quest``, of this share of the keys.
        case quest(Double)
        /// ``DoubleSparsity``, of this share of the keys, chosen in these channels.
        case double(Double, HeavyChannels)
        /// ``ALISA``, of this share of the keys.
        case alisa(Double)
        /// ``WindowAndSinks``, of so many last positions.
        case window(Int)
    }

    /// How keys and values are kept.
    public enum Keeping: Sendable, Hashable {
        /// Floats of 32 bits.
        case floats
        /// ``QuantizedKeyValueCache`` of 8 bits.
        case int8
        /// ``QuantizedKeyValueCache`` of 4 bits.
        case int4
        /// ``MustafarCache``.
        case mustafar(Mustafar)
    }

    /// Which keys prompts read.
    public enum Prompts: Sendable {
        /// What ``Attention`` says: everything, but for windows.
        case unplanned
        /// ``BlockSparsePrompt``, of this share of the blocks.
        case blockSparse(Double)
        /// ``VerticalSlash``, of about this share.
        case verticalSlash(Double)
        /// ``FlexPrefill``, for this share of the attention.
        case flexPrefill(Double)
        /// What a learned gate says; the file that it is from.
        case seer(SeerAttention, file: String)

        /// Whether it is ``unplanned``.
        var isUnplanned: Bool { if case .unplanned = self { true } else { false } }
    }

    /// Which keys are read.
    public var attention: Attention
    /// What keys and values are kept as.
    public var keeping: Keeping
    /// Which keys prompts read.
    public var prompts: Prompts
    /// What is kept of a prompt once it has been read; nil for everything.
    public var eviction: SnapKV?

    /// Dense attention over floats, unless said otherwise.
    public init(
        attention: Attention = .all, keeping: Keeping = .floats, prompts: Prompts = .unplanned, eviction: SnapKV? = nil
    ) {
        (self.attention, self.keeping, self.prompts, self.eviction) = (attention, keeping, prompts, eviction)
    }

    /// - Parameters:
    ///   - attention: `quest:SHARE`, `double:SHARE`, `alisa:SHARE` or `window:POSITIONS`; nil for all keys.
    ///   - keeping: `int8`, `int4` or `mustafar:SPARSITY`; nil for floats.
    ///   - prompts: `block-sparse:SHARE`, `vertical-slash:SHARE`, `flexprefill:MASS` or a file of a gate; nil for all keys.
    ///   - eviction: `snapkv:SHARE` or `ada-snapkv:SHARE`; nil to forget nothing.
    ///   - channels: Calibrated now, for attention that asks for them.
    ///   - seer: Reads the file of a gate, for the model; nil where files are not taken.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other words and numbers out of range; what `channels` and `seer` throw.
    public init(
        attention: String?, keeping: String?, prompts: String? = nil, eviction: String? = nil,
        channels: () throws -> HeavyChannels, seer: ((String) throws -> SeerAttention)? = nil
    ) throws {
        self.init()
        if let prompts, let seer, FileSystem.isPlainFile(prompts) {
            self.prompts = .seer(try seer(prompts), file: prompts)
        } else if let prompts {
            let (name, number) = Self.parts(prompts)
            switch (name, number) {
            case ("block-sparse", let share?):
                _ = try BlockSparsePrompt(share: share)
                self.prompts = .blockSparse(share)
            case ("vertical-slash", let share?):
                _ = try VerticalSlash(share: share)
                self.prompts = .verticalSlash(share)
            case ("flexprefill", let mass?):
                _ = try FlexPrefill(mass: mass)
                self.prompts = .flexPrefill(mass)
            default:
                throw Self.unknown(
                    "prefill", prompts, name,
                    ["block-sparse:SHARE", "vertical-slash:SHARE", "flexprefill:MASS"]
                        + (seer == nil ? [] : ["a gate's file"]))
            }
        }
        if let eviction {
            let (name, number) = Self.parts(eviction)
            switch (name, number) {
            case ("snapkv", let share?): self.eviction = try SnapKV(share: share)
            case ("ada-snapkv", let share?): self.eviction = try SnapKV(share: share, isAdaptive: true)
            default: throw Self.unknown("evict", eviction, name, ["snapkv:SHARE", "ada-snapkv:SHARE"])
            }
        }
        if let attention {
            let (name, number) = Self.parts(attention)
            switch (name, number) {
            case ("quest", let share?):
                _ = try Quest(share: share)
                self.attention = .quest(share)
            case ("double", let share?):
                _ = try DoubleSparsity(share: share)
                self.attention = .double(share, try channels())
            case ("alisa", let share?):
                _ = try ALISA(share: share)
                self.attention = .alisa(share)
            case ("window", let positions?):
                guard let count = Int(exactly: positions), count >= 1 else {
                    throw LacunaError.invalidArgument("attention", reason: "'\(attention)' is no window of 1 or more")
                }
                self.attention = .window(count)
            default:
                throw Self.unknown(
                    "attention", attention, name, ["quest:SHARE", "double:SHARE", "alisa:SHARE", "window:POSITIONS"])
            }
        }
        if let keeping {
            let (name, number) = Self.parts(keeping)
            switch (name, number) {
            case ("int8", nil) where keeping == "int8": self.keeping = .int8
            case ("int4", nil) where keeping == "int4": self.keeping = .int4
            case ("mustafar", let sparsity?): self.keeping = .mustafar(try Mustafar(sparsity: sparsity))
            default: throw Self.unknown("kv", keeping, name, ["int8", "int4", "mustafar:SPARSITY"])
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
        var parts: [String] = []
        switch attention {
        case .all: parts.append("all keys")
        case .quest(let share): parts.append("quest:\(share)")
        case .double(let share, _): parts.append("double:\(share)")
        case .alisa(let share): parts.append("alisa:\(share)")
        case .window(let count): parts.append("window:\(count)")
        }
        switch prompts {
        case .unplanned: break
        case .blockSparse(let share): parts.append("block-sparse:\(share)")
        case .verticalSlash(let share): parts.append("vertical-slash:\(share)")
        case .flexPrefill(let mass): parts.append("flexprefill:\(mass)")
        case .seer(let seer, _):
            switch seer.choice {
            case .share(let share): parts.append("seer:\(share)")
            case .threshold(let threshold): parts.append("seer above \(threshold)")
            }
        }
        if let eviction { parts.append("\(eviction.isAdaptive ? "ada-snapkv" : "snapkv"):\(eviction.share)") }
        switch keeping {
        case .floats: break
        case .int8: parts.append("int8")
        case .int4: parts.append("int4")
        case .mustafar(let settings): parts.append("mustafar:\(settings.sparsity)")
        }
        return parts.joined(separator: ", ")
    }

    /// Sets what a model leaves out accordingly.
    ///
    /// - Throws: As ``Quest/init(share:dense:)`` and its like.
    public func apply(to skipping: inout Skipping) throws {
        let (keeping, eviction) = (keeping, eviction)
        let whole: @Sendable (KeyValueShape) -> any KeyValueStore = { shape in
            switch keeping {
            case .floats: KeyValueCache(shape)
            case .int8: QuantizedKeyValueCache(shape)
            case .int4: QuantizedKeyValueCache(shape, bits: .four)
            case .mustafar(let settings): MustafarCache(shape, settings)
            }
        }
        let base: @Sendable (KeyValueShape) -> any KeyValueStore = { shape in
            eviction.map { SnapKVCache(shape, $0, make: whole) } ?? whole(shape)
        }
        switch attention {
        case .all: (skipping.selector, skipping.store) = (AllKeys(), base)
        case .window(let count): (skipping.selector, skipping.store) = (WindowAndSinks(window: count), base)
        case .double(let share, let channels):
            skipping.selector = try DoubleSparsity(share: share)
            skipping.store = { LabelCache(base($0), shape: $0, channels: channels) }
        case .alisa(let share):
            let method = try ALISA(share: share)
            skipping.selector = method
            skipping.store = { AttentionMassCache(base($0), shape: $0, method: method) }
        case .quest(let share):
            skipping.selector = try Quest(share: share)
            skipping.store = { PageBoundsCache(base($0), shape: $0) }
        }
        let planner: (any KeySelector)? =
            switch prompts {
            case .unplanned: nil
            case .blockSparse(let share): try BlockSparsePrompt(share: share)
            case .verticalSlash(let share): try VerticalSlash(share: share)
            case .flexPrefill(let mass): try FlexPrefill(mass: mass)
            case .seer(let seer, _): seer
            }
        if let planner { skipping.selector = PromptsApart(written: skipping.selector, prompts: planner) }
    }

    private static let frontier = MethodCard.Paper(
        authors: "Piotr Nawrot et al.",
        title: "The Sparse Frontier: Sparse Attention Trade-offs in Transformer LLMs", arXiv: "2504.17768")

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
            name: "alisa", family: .attention,
            paper: .init(
                authors: "Youpeng Zhao, Di Wu, Jun Wang",
                title: "ALISA: Accelerating Large Language Model Inference via Sparsity-Aware KV Caching",
                arXiv: "2403.17312"),
            composition: ["attention paid of late", "top keys of a layer, last keys"]),
        MethodCard(
            name: "window", family: .attention,
            paper: .init(
                authors: "Guangxuan Xiao et al.",
                title: "Efficient Streaming Language Models with Attention Sinks", arXiv: "2309.17453"),
            composition: ["first and last positions"]),
        MethodCard(
            name: "block-sparse", family: .attention, paper: frontier,
            composition: ["mean of queries × mean of keys", "top blocks for every block of a prompt"]),
        MethodCard(
            name: "vertical-slash", family: .attention,
            paper: .init(
                authors: "Huiqiang Jiang et al.",
                title: "MInference 1.0: Accelerating Pre-filling for Long-Context LLMs via Dynamic Sparse Attention",
                arXiv: "2407.02490"),
            composition: ["attention of a prompt's last queries", "top keys and distances"]),
        MethodCard(
            name: "flexprefill", family: .attention,
            paper: .init(
                authors: "Xunhao Lai et al.",
                title:
                    "FlexPrefill: A Context-Aware Sparse Attention Mechanism for Efficient Long-Sequence Inference",
                arXiv: "2502.20766"),
            composition: ["attention of a prompt's last queries", "keys and distances of a share of it"]),
        MethodCard(
            name: "seer", family: .attention,
            paper: .init(
                authors: "Yizhao Gao et al.",
                title: "SeerAttention: Learning Intrinsic Sparse Attention in Your LLMs", arXiv: "2410.13276"),
            composition: ["pooled queries × pooled keys, learned from the model's attention", "top blocks of a prompt"]),
        MethodCard(
            name: "snapkv", family: .cache,
            paper: .init(
                authors: "Yuhong Li et al.",
                title: "SnapKV: LLM Knows What You are Looking for Before Generation", arXiv: "2404.14469"),
            composition: ["attention of a prompt's last queries", "top positions of every head"]),
        MethodCard(
            name: "ada-snapkv", family: .cache,
            paper: .init(
                authors: "Yuan Feng et al.",
                title: "Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget Allocation for Efficient LLM Inference",
                arXiv: "2407.11550"),
            composition: ["attention of a prompt's last queries", "top positions of all heads of a layer"]),
        MethodCard(
            name: "mustafar", family: .cache,
            paper: .init(
                authors: "Donghyeon Joo et al.",
                title: "Mustafar: Promoting Unstructured Sparsity for KV Cache Pruning in LLM Inference",
                arXiv: "2505.22913"),
            composition: ["magnitude", "top-k within every key and value", "bitmask rows"]),
        MethodCard(
            name: "int8", family: .cache, composition: ["a scale for every key and value"]),
        MethodCard(
            name: "int4", family: .cache, composition: ["a step and a beginning for 32 entries of a key or value"]),
    ]
}

/// What a way of reading and keeping keys and values costs a model, and what it really reads and keeps, measured as a text is
/// written token by token.
public struct CacheEvaluation: Sendable {
    /// Such as `quest:0.25`; `all keys` for the dense form.
    public let name: String
    /// Of the text, written token by token with the cache in place.
    public let perplexity: Perplexity
    /// What single queries read, how many of them read everything, and what choosing took.
    public let keys: SkippingMeter.Keys
    /// Of the prompts for which there were plans, what was read, and what choosing took.
    public let prompts: SkippingMeter.Prompts
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
        (name, keys, cacheBytes, prompts) = ("\(request)", meter.keys, bytes, meter.prompts)
    }

    /// Share of the visible keys that single queries read.
    public var keyShare: Double { keys.share }
}
