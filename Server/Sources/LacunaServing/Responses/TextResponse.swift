import LacunaIO

/// How the events of a run are told in one of the interface's forms.
protocol TextResponse: Sendable {
    /// One object, once all of it is there.
    func whole(_ events: AsyncStream<RunEvent>) async throws -> JSONValue
    /// Server-sent events, the last of them `[DONE]`.
    func chunks(
        _ events: AsyncStream<RunEvent>, includesUsage: Bool, write: (String) async throws -> Void
    ) async throws
}
