/// A string that equals another only if its bytes do.
///
/// Swift's own comparison takes canonically equivalent strings for equal, such as a letter with an accent in one scalar
/// or in two. Keys of files and tokens of vocabularies are different things then.
package struct ExactString: Hashable, Sendable {
    package let string: String

    package init(_ string: String) { self.string = string }

    package static func == (a: ExactString, b: ExactString) -> Bool { a.string.utf8.elementsEqual(b.string.utf8) }

    package func hash(into hasher: inout Hasher) {
        let hashed: Void? = string.utf8.withContiguousStorageIfAvailable { hasher.combine(bytes: .init($0)) }
        if hashed == nil { for byte in string.utf8 { hasher.combine(byte) } }
        hasher.combine(string.utf8.count)
    }
}
