import Foundation
import LacunaIO
import LacunaRegress
import LacunaTensor
import Testing

/// Problems and the coefficients that public solvers find for them, from `Scripts/fixtures_regress.py`.
struct Peers {
    static let shared: Peers = {
        do { return try Peers() } catch { fatalError("fixtures: \(error)") }
    }()

    struct Case: CustomTestStringConvertible, Sendable {
        let name, kind, design: String
        let coefficients, intercepts: [Double]
        let strength: Double
        let hasIntercept: Bool
        let settings: JSONValue
        var testDescription: String { name }
        func number(_ key: String) -> Double { settings[key]?.doubleValue ?? 0 }
    }

    let rows, columns: Int
    private let document: JSONValue
    let cases: [Case]

    init() throws {
        let path = try #require(Bundle.module.path(forResource: "Fixtures", ofType: nil)) + "/peers.json"
        document = try JSONValue(contentsOf: path)
        rows = try #require(document["rows"]?.intValue)
        columns = try #require(document["columns"]?.intValue)
        cases = try #require(document["cases"]?.arrayValue).map { value in
            Case(
                name: value["name"]?.stringValue ?? "", kind: value["kind"]?.stringValue ?? "",
                design: value["design"]?.stringValue ?? "",
                coefficients: Peers.numbers(value["coefficients"]), intercepts: Peers.numbers(value["intercepts"]),
                strength: value["strength"]?.doubleValue ?? .nan, hasIntercept: value["intercept"]?.boolValue ?? true,
                settings: value)
        }
    }

    static func numbers(_ value: JSONValue?) -> [Double] { value?.arrayValue?.compactMap(\.doubleValue) ?? [] }
    subscript(_ key: String) -> [Double] { Peers.numbers(document[key]) }

    var dense: DenseDesign { DenseDesign(columnMajor: self["dense"], rows: rows) }
    var sparse: SparseDesign {
        get throws { try SparseDesign(DenseDesign(columnMajor: self["sparse"], rows: rows)) }
    }
    var orthogonal: DenseDesign { DenseDesign(columnMajor: self["orthogonal"], rows: rows) }

    func design(_ name: String) throws -> any Design {
        switch name {
        case "sparse": try sparse
        case "orthogonal": orthogonal
        default: dense
        }
    }
}

/// A design with correlated columns, and what it is made of.
func correlatedDesign(rows: Int, columns: Int, correlation: Double = 0.5, seed: UInt64 = 1) -> DenseDesign {
    var generator = SeededGenerator(seed: seed)
    var values = [Double](repeating: 0, count: rows * columns)
    for j in 0..<columns {
        for i in 0..<rows {
            let fresh = generator.normal()
            values[j * rows + i] =
                j == 0
                ? fresh
                : correlation * values[(j - 1) * rows + i] + (1 - correlation * correlation).squareRoot() * fresh
        }
    }
    return DenseDesign(columnMajor: values, rows: rows)
}

/// `X β + noise` with `count` coefficients of both signs, evenly spread.
func target(_ design: DenseDesign, nonzeros count: Int, noise: Double, seed: UInt64 = 2) -> [Double] {
    var generator = SeededGenerator(seed: seed)
    var eta = (0..<design.rows).map { _ in noise * generator.normal() }
    for k in 0..<count {
        let j = k * design.columns / count
        design.add(k % 2 == 0 ? 1 + generator.uniform() : -1 - generator.uniform(), column: j, to: &eta)
    }
    return eta
}

func largestDifference(_ a: [Double], _ b: [Double]) -> Double {
    a.count == b.count ? zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } : .infinity
}
