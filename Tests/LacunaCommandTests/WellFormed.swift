import Foundation
import Testing

#if canImport(FoundationXML)
    import FoundationXML
#endif

/// Fails the test unless an XML parser that is not ours accepts `text`.
func expectWellFormed(_ text: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let parser = XMLParser(data: Data(text.utf8))
    let accepted = parser.parse()
    let reason = parser.parserError.map { "\($0) in line \(parser.lineNumber)" } ?? ""
    #expect(accepted, "\(reason)", sourceLocation: sourceLocation)
}
