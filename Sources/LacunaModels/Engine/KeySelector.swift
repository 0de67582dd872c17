import LacunaTensor

/// Decides which of the positions that a query may see it reads.
public protocol KeySelector: Sendable {
    /// Ascending ranges of positions that do not overlap, all within `request.visible`, at least one position in all.
    func select(_ request: KeyRequest) -> [Range<Int>]
    /// How many numbers ``select(_:)`` reads for a query to choose, beside the query itself: bounds, labels or sums of keys. Asked for by
    /// meters alone. 0 unless said.
    func numbersCompared(_ request: KeyRequest) -> Int
    /// Whether heads that share keys read the same of them: ``select(_:)`` is then asked once for all of these, with the queries of all
    /// (``KeyRequest/group``), so that what is chosen is read from memory once. False unless said.
    var choosesByGroup: Bool { get }
    /// Whether ``select(_:)`` always gives all that is visible. Queries then go in blocks.
    var readsAll: Bool { get }
    /// Whether selection is for tokens that are written, one at a time or as drafts of up to 16, while prompts read all that is
    /// visible, in blocks. False unless said.
    var readsPromptsWhole: Bool { get }
    /// Which keys the queries of a prompt read, more than a draft's 16 of them; nil to leave that to the other members. Asked for
    /// each head, of several at once.
    func plan(_ request: PromptRequest) -> PromptPlan?
    /// Rows of a prompt that go through a layer together, and are planned together; longer prompts go in pieces. 512 unless said.
    var promptRows: Int { get }
    /// Tells what a query that went by itself found: the weights of the positions in `ranges`, one after the other, which add up
    /// to 1. Called for each head, of several at once; nothing unless said.
    func observe(_ request: KeyRequest, ranges: [Range<Int>], weights: UnsafePointer<Float>)
}

extension KeySelector {
    /// False: ``select(_:)`` is asked for each query.
    public var readsAll: Bool { false }
    public var readsPromptsWhole: Bool { false }
    public func numbersCompared(_ request: KeyRequest) -> Int { 0 }
    public var choosesByGroup: Bool { false }
    public func plan(_ request: PromptRequest) -> PromptPlan? { nil }
    public var promptRows: Int { 512 }
    public func observe(_ request: KeyRequest, ranges: [Range<Int>], weights: UnsafePointer<Float>) {}
}

/// One query of one head.
public struct KeyRequest {
    /// From 0.
    public let layer: Int
    /// Of the queries; of several the first.
    public let head: Int
    /// Of the keys.
    public let keyHead: Int
    /// How many heads choose together; 1 but for selectors that choose by groups.
    public let group: Int
    /// The query's place in its sequence, from 0.
    public let position: Int
    /// What the model lets the query see: all up to its position, or a window of it.
    public let visible: Range<Int>
    /// [group, head size], after rotation.
    public let query: UnsafePointer<Float>
    /// Where the keys are, for selectors that look at them; nil if they are those of this step alone.
    public let store: (any KeyValueStore)?

    /// The query of one head, and where its keys are.
    public init(
        layer: Int, head: Int, keyHead: Int, group: Int = 1, position: Int, visible: Range<Int>,
        query: UnsafePointer<Float>, store: (any KeyValueStore)?
    ) {
        (self.layer, self.head, self.keyHead, self.group, self.position) = (layer, head, keyHead, group, position)
        (self.visible, self.query, self.store) = (visible, query, store)
    }
}

/// Every key: dense attention.
public struct AllKeys: KeySelector {
    /// Attention as the model has it.
    public init() {}
    public var readsAll: Bool { true }
    public func select(_ request: KeyRequest) -> [Range<Int>] { [request.visible] }
}

/// The first positions of a text, on which attention rests, and the last ones.
///
/// Guangxuan Xiao, Yuandong Tian, Beidi Chen, Song Han, Mike Lewis, "Efficient Streaming Language Models with Attention
/// Sinks", arXiv 2309.17453; positions keep their numbers here.
public struct WindowAndSinks: KeySelector {
    /// Last positions that are read, the query's own included.
    public let window: Int
    /// First positions that are read.
    public let sinks: Int

    /// - Parameters:
    ///   - window: Last positions, the query's own included; at least 1.
    ///   - sinks: First positions; the authors use 4.
    public init(window: Int, sinks: Int = 4) {
        require(window >= 1 && sinks >= 0, "a window of \(window) and \(sinks) sinks")
        (self.window, self.sinks) = (window, sinks)
    }

    public func select(_ request: KeyRequest) -> [Range<Int>] {
        let visible = request.visible
        let start = max(visible.lowerBound, visible.upperBound - window)
        let end = min(visible.lowerBound + sinks, start)
        return end > visible.lowerBound
            ? (end == start ? [visible] : [visible.lowerBound..<end, start..<visible.upperBound])
            : [start..<visible.upperBound]
    }
}
