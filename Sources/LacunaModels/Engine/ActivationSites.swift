import LacunaTensor

/// A place in a decoder where activations can be read and replaced: `12.residual`, `3.mlp`, `0.attention`.
public struct ActivationSite: Sendable, Hashable, CustomStringConvertible {
    /// What is read of a layer.
    public enum Part: String, Sendable, CaseIterable {
        /// The residual stream after the layer.
        case residual
        /// What the feed-forward part adds to it.
        case mlp
        /// What the heads have gathered, one after the other, before the output projection mixes them.
        case attention
    }

    /// From 0.
    public var layer: Int
    /// What is read of it.
    public var part: Part

    /// A place in a model; ``validate(for:)`` says whether the model has it.
    public init(layer: Int, _ part: Part) { (self.layer, self.part) = (layer, part) }

    /// Reads `LAYER.PART`; nil for anything else.
    public init?(_ text: String) {
        let pieces = text.split(separator: ".", omittingEmptySubsequences: false)
        guard pieces.count == 2, let layer = Int(pieces[0]), layer >= 0, let part = Part(rawValue: String(pieces[1]))
        else {
            return nil
        }
        self.init(layer: layer, part)
    }

    /// `LAYER.PART`, as ``init(_:)`` reads it.
    public var description: String { "\(layer).\(part.rawValue)" }

    /// Numbers a token.
    public func dimensions(of configuration: TransformerConfiguration) -> Int {
        part == .attention ? configuration.queryWidth : configuration.hiddenSize
    }

    /// - Throws: `LacunaError.invalidArgument` for a layer that the model does not have.
    public func validate(for configuration: TransformerConfiguration) throws {
        if !(0..<configuration.layerCount).contains(layer) {
            throw LacunaError.invalidArgument(
                "layer", reason: "\(layer) is not one of the model's 0...\(configuration.layerCount - 1)")
        }
    }
}

extension Transformer {
    /// Receives the activations of all tokens at a site [tokens, dimensions], and may replace them.
    ///
    /// - Returns: Whether they have been replaced.
    public typealias ActivationVisitor = (_ site: ActivationSite, _ values: inout Tensor<Float>) throws -> Bool

    /// Runs whole sequences, with a visitor at some sites: what watches a model, and what splices something into it.
    ///
    /// - Parameters:
    ///   - tokens: Sequences of `sequenceLength` tokens one after the other, each from position 0.
    ///   - sites: Are visited in the order in which the model reaches them; of one layer attention, mlp, residual.
    ///   - upTo: The first layer that is not run; nil for all. Layers behind the last site need not be run to read it.
    /// - Returns: The hidden states [tokens.count, hiddenSize] after the last layer that is run, before the last norm.
    /// - Throws: `LacunaError.invalidArgument` for a site or token that the model does not have, or sequences that
    ///   are longer than its context; what the visitor throws.
    public func hiddenStates(
        _ tokens: [Int], sequenceLength: Int, sites: [ActivationSite], upTo: Int? = nil, visit: ActivationVisitor
    ) throws -> Tensor<Float> {
        for site in sites { try site.validate(for: configuration) }
        guard sequenceLength >= 1, tokens.count % sequenceLength == 0 else {
            throw LacunaError.invalidArgument(
                "tokens", reason: "\(tokens.count) are not whole sequences of \(sequenceLength)")
        }
        try requirePositions(sequenceLength)
        var hidden = try embed(tokens, sequenceLength: sequenceLength)
        if tokens.isEmpty { return hidden }
        let context = wholeSequences(hidden.rows, length: sequenceLength)
        // The observer of a block is optional, and so counts as escaping.
        try withoutActuallyEscaping(visit) { visit in
            try hidden.withMutablePointer { try step($0, context: context, sites: sites, upTo: upTo, visit: visit) }
        }
        return hidden
    }

    /// Passes a step's rows through all blocks, in place, with a visitor at some sites.
    ///
    /// - Parameter upTo: The first layer that is not run; nil for all.
    func step(
        _ hidden: UnsafeMutablePointer<Float>, context: StepContext, sites: [ActivationSite] = [], upTo: Int? = nil,
        visit: @escaping ActivationVisitor = { _, _ in false }
    ) throws {
        let layers = blocks.indices.prefix(upTo ?? blocks.count)
        if sites.isEmpty {
            for layer in layers { try blocks[layer].step(hidden, context: context, layer: layer) }
            return
        }
        let (rows, width) = (context.count, configuration.hiddenSize)
        /// Shows the visitor numbers that stand in memory, and says whether there are new ones.
        func shown(
            _ site: ActivationSite, _ numbers: UnsafePointer<Float>, _ shape: [Int]
        ) throws -> (old: Tensor<Float>, new: Tensor<Float>)? {
            let old = Tensor(UnsafeBufferPointer(start: numbers, count: shape[0] * shape[1]), shape: shape)
            var new = old
            let isReplaced = try visit(site, &new)
            LacunaTensor.require(new.shape == shape, "a visitor may not change the shape of activations")
            return isReplaced ? (old, new) : nil
        }
        for layer in layers {
            func isVisited(_ part: ActivationSite.Part) -> Bool { sites.contains(ActivationSite(layer: layer, part)) }
            let observe: BlockObserver = { roles, inputs, count in
                guard roles == [.output] else { return }
                let shape = [count, configuration.queryWidth]
                if let (_, new) = try shown(ActivationSite(layer: layer, .attention), inputs, shape) {
                    // The rows stand in the step's workspace, and are multiplied when this returns.
                    new.withPointer { UnsafeMutablePointer(mutating: inputs).update(from: $0, count: new.count) }
                }
            }
            try blocks[layer].step(
                hidden, context: context, layer: layer, observe: isVisited(.attention) ? observe : nil)
            if isVisited(.mlp) {
                // The last change to the stream is that of the feed-forward part.
                let change = context.pointer(.change, rows * width)
                if let (old, new) = try shown(ActivationSite(layer: layer, .mlp), change, [rows, width]) {
                    old.withPointer { old in
                        new.withPointer { new in for i in 0..<rows * width { hidden[i] += new[i] - old[i] } }
                    }
                }
            }
            if isVisited(.residual),
                let (_, new) = try shown(ActivationSite(layer: layer, .residual), hidden, [rows, width])
            {
                new.withPointer { hidden.update(from: $0, count: rows * width) }
            }
        }
    }
}

/// What looks at activations of a model that reads and writes, step by step, and may replace them.
public struct ActivationWatch: Sendable {
    /// Where it looks.
    public var sites: [ActivationSite]
    /// Is given the activations at a site of all rows of a step [rows, dimensions] and the position of each in its sequence; returns whether it
    /// has replaced them.
    public var visit:
        @Sendable (_ site: ActivationSite, _ positions: [Int], _ values: inout Tensor<Float>) throws -> Bool

    /// A watch of some sites.
    public init(
        sites: [ActivationSite],
        visit:
            @escaping @Sendable (_ site: ActivationSite, _ positions: [Int], _ values: inout Tensor<Float>) throws ->
            Bool
    ) {
        (self.sites, self.visit) = (sites, visit)
    }
}
