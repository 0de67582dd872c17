#if canImport(Darwin)
    import Foundation
#else
    // The standard library composes for its own string comparison; nothing else on this platform does without the whole
    // of Foundation and its data tables.
    @_spi(_Unicode) import Swift
#endif

/// Unicode normalisation form C, which some tokenizers apply before they split.
enum CanonicalComposition {
    static func apply(_ text: String) -> String {
        // Below the first combining mark everything is composed already.
        if text.unicodeScalars.allSatisfy({ $0.value < 0x300 }) { return text }
        #if canImport(Darwin)
            return text.precomposedStringWithCanonicalMapping
        #else
            var scalars = String.UnicodeScalarView()
            scalars.append(contentsOf: text._nfc)
            return String(scalars)
        #endif
    }
}
