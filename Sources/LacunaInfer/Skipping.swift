import LacunaModels
import LacunaTensor

/// What a model leaves out while it runs: inputs of products, keys of attention, and parts of what it remembers. The default
/// leaves out nothing. All of it combines.
///
/// ```swift
/// var model = try LanguageModel.load("smollm2", weights: .bf16)
/// try model.skipActivations(ActivationPlan(contentsOf: "smollm2.wina.json"))
/// print(try model.generate("The capital of France is"))
/// ```
public struct Skipping: Sendable {
    /// Which inputs products read, and which neurons are computed; nil for all.
    public var gate: (any InputGate)?
    /// Counts what the gate leaves out; nil for no counting.
    public var meter: SkippingMeter?
    /// Which keys attention reads.
    public var selector: any KeySelector
    /// Where keys and values are kept.
    public var store: @Sendable (KeyValueShape) -> any KeyValueStore

    /// Nothing is skipped unless said otherwise.
    public init(
        gate: (any InputGate)? = nil, meter: SkippingMeter? = nil, selector: any KeySelector = AllKeys(),
        store: @escaping @Sendable (KeyValueShape) -> any KeyValueStore = { KeyValueCache($0) }
    ) {
        (self.gate, self.meter, self.selector, self.store) = (gate, meter, selector, store)
    }

    /// An engine that leaves this out.
    ///
    /// - Parameter watch: What looks at activations while it runs, and may replace them; nil for nothing.
    public func engine(_ decoder: Transformer, watch: ActivationWatch? = nil) -> TokenEngine {
        TokenEngine(decoder, selector: selector, gate: gate, meter: meter, watch: watch, store: store)
    }
}
