#if canImport(Darwin)
    import Foundation
#else
    // The standard library composes for its own string comparison; nothing else on this platform does without the whole
    // of Foundation and its data tables.
    @_spi(_Unicode) import Swift
#endif

/// Unicode normalisation forms, which some tokenizers apply before they split.
///
/// As in the library that tokenizers are published for, characters later than Unicode 9 stay as they are.
enum UnicodeForm: String, Sendable {
    case composed = "NFC"
    case decomposed = "NFD"
    case compatibilityComposed = "NFKC"
    case compatibilityDecomposed = "NFKD"

    private static let edition = 9

    func apply(_ bytes: inout [UInt8]) {
        // ASCII is the same in all forms, and below the first combining mark everything is composed already.
        let limit: UInt8 = self == .composed ? 0xCC : 0x80
        if bytes.allSatisfy({ $0 < limit }) { return }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + bytes.count / 4)
        var known: [Unicode.Scalar] = []
        func flush() {
            if !known.isEmpty { append(known, to: &result) }
            known.removeAll(keepingCapacity: true)
        }
        bytes.withUnsafeBufferPointer { bytes in
            var i = 0
            while i < bytes.count {
                let (scalar, next) = UTF8Text.scalar(bytes, at: i)
                i = next
                if scalar.value < 0x80 || UnicodeClasses.isAssigned(scalar, in: Self.edition) {
                    if self == .compatibilityComposed || self == .compatibilityDecomposed,
                        let mapping = CompatibilityMappings.mapping(of: scalar)
                    {
                        known.append(contentsOf: mapping)
                    } else {
                        known.append(scalar)
                    }
                } else {
                    // An unassigned character begins anew: nothing composes or is reordered across it.
                    flush()
                    UTF8Text.append(scalar, to: &result)
                }
            }
        }
        flush()
        bytes = result
    }

    private func append(_ scalars: [Unicode.Scalar], to bytes: inout [UInt8]) {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        let text = String(view)
        let composes = self == .composed || self == .compatibilityComposed
        #if canImport(Darwin)
            let form = composes ? text.precomposedStringWithCanonicalMapping : text.decomposedStringWithCanonicalMapping
            bytes.append(contentsOf: form.utf8)
        #else
            if composes {
                for scalar in text._nfc { UTF8Text.append(scalar, to: &bytes) }
            } else {
                for scalar in text._nfd { UTF8Text.append(scalar, to: &bytes) }
            }
        #endif
    }
}
