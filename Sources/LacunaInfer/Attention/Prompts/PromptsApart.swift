import LacunaModels

/// One selector for what is written, another one for prompts.
public struct PromptsApart: KeySelector {
    /// Of tokens and drafts.
    public let written: any KeySelector
    /// Of prompts; where it has no plan they are read whole.
    public let prompts: any KeySelector

    /// Joins two selectors.
    public init(written: any KeySelector, prompts: any KeySelector) {
        (self.written, self.prompts) = (written, prompts)
    }

    public var readsAll: Bool { written.readsAll }
    public var readsPromptsWhole: Bool { true }
    public var promptRows: Int { max(written.promptRows, prompts.promptRows) }
    public func select(_ request: KeyRequest) -> [Range<Int>] { written.select(request) }
    public var choosesByGroup: Bool { written.choosesByGroup }
    public func numbersCompared(_ request: KeyRequest) -> Int { written.numbersCompared(request) }
    public func plan(_ request: PromptRequest) -> PromptPlan? {
        // The other may look at prompts as well.
        let own = written.plan(request)
        return prompts.plan(request) ?? own
    }
    public func observe(_ request: KeyRequest, ranges: [Range<Int>], weights: UnsafePointer<Float>) {
        written.observe(request, ranges: ranges, weights: weights)
    }
}
