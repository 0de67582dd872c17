/// Names of layers and parameters, by a pattern as shells have them: `*` stands for any characters, dots included, `?`
/// for one; everything else for itself. The whole name must match.
///
/// ```swift
/// let attention: NamePattern = "model.layers.*.self_attn.?_proj.weight"
/// ```
public struct NamePattern: Sendable, Hashable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// The pattern as it is written.
    public let text: String

    /// Any text is a pattern.
    public init(_ text: String) { self.text = text }
    /// Any text is a pattern.
    public init(stringLiteral value: String) { text = value }
    /// The pattern as it is written.
    public var description: String { text }

    /// Whether a whole name is one of those the pattern stands for.
    public func matches(_ name: String) -> Bool {
        let (pattern, name) = (Array(text), Array(name))
        var (p, n) = (0, 0)
        // Where the last star stands, and the first character that it does not yet cover.
        var star: (pattern: Int, name: Int)?
        while n < name.count {
            if p < pattern.count, pattern[p] == "*" {
                star = (p, n)
                p += 1
            } else if p < pattern.count, pattern[p] == "?" || pattern[p] == name[n] {
                (p, n) = (p + 1, n + 1)
            } else if let last = star {
                // The star covers one more.
                star = (last.pattern, last.name + 1)
                (p, n) = (last.pattern + 1, last.name + 1)
            } else {
                return false
            }
        }
        return pattern[p...].allSatisfy { $0 == "*" }
    }
}
