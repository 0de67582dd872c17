import LacunaDictionary
import LacunaIO
import LacunaSparse
import LacunaTensor

/// A sparse autoencoder that a caller holds. Nothing changes it.
final class DictionaryObject: @unchecked Sendable {
    let dictionary: SparseAutoencoder

    init(_ dictionary: SparseAutoencoder) { self.dictionary = dictionary }

    static func get(_ handle: OpaquePointer?) throws -> SparseAutoencoder {
        try Objects.get(handle, DictionaryObject.self, "dictionary").dictionary
    }
}

/// Rows of a caller's numbers, copied.
private func tensor(
    _ values: UnsafeRawPointer?, rows: Int64, columns: Int, _ argument: String
) throws -> Tensor<Float> {
    let rows = try Arguments.count(rows, "rows")
    var result = try Tensor<Float>(checking: [rows, columns], for: argument)
    if rows == 0 { return result }
    let numbers = try Arguments.numbers(values, of: Float.self, argument)
    result.withMutablePointer { $0.update(from: numbers, count: rows * columns) }
    return result
}

/// See lacuna.h.
@_cdecl("lacuna_dictionary_load")
public func lacunaDictionaryLoad(
    _ path: UnsafePointer<CChar>?, _ dictionary: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        try give(DictionaryObject(.load(Arguments.text(path, "path"))), dictionary, "dictionary")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_dictionary_save")
public func lacunaDictionarySave(
    _ dictionary: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ type: UnsafePointer<CChar>?, _ overwrite: Int32
) -> Int32 {
    guarded {
        let dictionary = try DictionaryObject.get(dictionary)
        let types: [(name: String, type: ElementType)] = [("f32", .f32), ("bf16", .bf16), ("f16", .f16)]
        let name = type == nil ? "f32" : try Arguments.text(type, "type")
        guard let known = types.first(where: { $0.name == name })?.type else {
            throw refused("type", "'\(name)' is none of \(types.map(\.name).joined(separator: ", "))")
        }
        try dictionary.save(to: Arguments.text(path, "path"), type: known, overwrite: overwrite != 0)
    }
}

/// See lacuna.h.
@_cdecl("lacuna_dictionary_number")
public func lacunaDictionaryNumber(
    _ dictionary: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ number: UnsafeMutablePointer<Double>?
) -> Int32 {
    guarded {
        let configuration = try DictionaryObject.get(dictionary).configuration
        let name = try Arguments.text(name, "name")
        guard let number else { throw refused("number", "is NULL") }
        switch name {
        case "inputs": number.pointee = Double(configuration.inputDimensions)
        case "outputs": number.pointee = Double(configuration.outputDimensions)
        case "features": number.pointee = Double(configuration.width)
        case "active": number.pointee = configuration.rule.activeFeatures.map { Double($0) } ?? .nan
        default: throw refused("name", "'\(name)' is no number of a dictionary")
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_dictionary_text")
public func lacunaDictionaryText(
    _ dictionary: OpaquePointer?, _ name: UnsafePointer<CChar>?,
    _ text: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> Int32 {
    guarded {
        let dictionary = try DictionaryObject.get(dictionary)
        let name = try Arguments.text(name, "name")
        switch name {
        case "rule": try Arguments.give(dictionary.rule.description, text)
        case "model": try Arguments.give(dictionary.origin.model ?? "", text)
        case "site": try Arguments.give(dictionary.origin.site ?? "", text)
        default: throw refused("name", "'\(name)' is no text of a dictionary")
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_dictionary_array")
public func lacunaDictionaryArray(
    _ dictionary: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ array: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let dictionary = try DictionaryObject.get(dictionary)
        let name = try Arguments.text(name, "name")
        let numbers: [Float]
        switch name {
        case "W_dec": numbers = dictionary.decoderWeight.value.scalars
        case "b_dec": numbers = dictionary.decoderBias.value.scalars
        case "W_enc": numbers = dictionary.encoderWeight?.value.transposed().scalars ?? []
        case "b_enc": numbers = dictionary.encoderBias?.value.scalars ?? []
        case "threshold": numbers = dictionary.thresholds ?? []
        default: throw refused("name", "'\(name)' is no array of a dictionary")
        }
        try give(NumberArray(numbers), array, "array")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_dictionary_encode")
public func lacunaDictionaryEncode(
    _ dictionary: OpaquePointer?, _ values: UnsafeRawPointer?, _ rows: Int64,
    _ code: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let dictionary = try DictionaryObject.get(dictionary)
        let x = try tensor(values, rows: rows, columns: dictionary.configuration.inputDimensions, "values")
        let found = x.rows == 0 ? SparseMatrix<Float>(zeros: 0, dictionary.width) : try dictionary.encode(x)
        try give(MatrixObject(found), code, "code")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_dictionary_decode")
public func lacunaDictionaryDecode(
    _ dictionary: OpaquePointer?, _ code: OpaquePointer?, _ array: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let dictionary = try DictionaryObject.get(dictionary)
        let code: SparseMatrix<Float> =
            switch try Objects.get(code, MatrixObject.self, "code").content {
            case .float(let matrix): matrix
            case .double(let matrix): matrix.converted(to: Float.self)
            }
        guard code.columns == dictionary.width else {
            throw refused("code", "has \(code.columns) columns, the dictionary \(dictionary.width) features")
        }
        try MachineMemory.require(
            shape: [code.rows, dictionary.configuration.outputDimensions, 2], of: Float.self, for: "what is decoded")
        let found = code.rows == 0 ? [] : dictionary.decode(code).scalars
        try give(NumberArray(found), array, "array")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_dictionary_quality")
public func lacunaDictionaryQuality(
    _ dictionary: OpaquePointer?, _ values: UnsafeRawPointer?, _ targets: UnsafeRawPointer?, _ rows: Int64,
    _ numbers: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let dictionary = try DictionaryObject.get(dictionary)
        let sizes = dictionary.configuration
        if targets == nil && sizes.inputDimensions != sizes.outputDimensions {
            throw refused("targets", "are NULL; this dictionary decodes something else than it encodes")
        }
        let batch = ActivationBatch(
            step: 0, inputs: try tensor(values, rows: rows, columns: sizes.inputDimensions, "values"),
            targets: targets == nil
                ? nil : try tensor(targets, rows: rows, columns: sizes.outputDimensions, "targets"))
        guard batch.inputs.rows > 0 else { throw refused("rows", "are 0; at least 1 is needed") }
        let quality = try DictionaryQuality(of: dictionary, on: [batch])
        try give(
            NumberArray([quality.unexplained, quality.cosine, quality.active, quality.dead] + quality.density),
            numbers, "numbers")
    }
}
