import LacunaIO
import LacunaTensor

extension JSONFields {
    /// An identifier: a string that is not empty, or a whole number.
    func identifier(_ keys: String...) throws -> String {
        guard let key = keys.first(where: { contains($0) }) else { throw failure(keys[0], "is missing") }
        if let number = object[key]?.intValue { return String(number) }
        let text = try string(key)
        if text.isEmpty { throw failure(key, "is empty") }
        return text
    }
}
