/// Text as numbers: one for each different byte of a training text, in ascending order; bytes it lacks share the last.
public struct ByteVocabulary: Sendable, Hashable {
    public let bytes: [UInt8]
    private let ids: [Int32]

    public init(_ text: [UInt8]) {
        bytes = Set(text).sorted()
        var ids = [Int32](repeating: Int32(bytes.count), count: 256)
        for (id, byte) in bytes.enumerated() { ids[Int(byte)] = Int32(id) }
        self.ids = ids
    }

    /// Different ids, that of unknown bytes included.
    public var count: Int { bytes.count + 1 }
    public func encode(_ text: [UInt8]) -> [Int32] { text.map { ids[Int($0)] } }
    /// The text of some ids; unknown bytes become question marks.
    public func decode(_ ids: [Int32]) -> String {
        String(decoding: ids.map { $0 >= 0 && Int($0) < bytes.count ? bytes[Int($0)] : 63 }, as: UTF8.self)
    }
}
