import LacunaTensor

/// The features of a table in their order: how each column becomes one.
///
/// Where columns have numbers for names, as in files of numbers alone, no more than these are kept: nothing a feature where they
/// follow one another, and four bytes where they do not. A table may have millions of them.
public struct FeatureList: Sendable, RandomAccessCollection, MutableCollection, RangeReplaceableCollection,
    ExpressibleByArrayLiteral
{
    private enum Storage: Sendable {
        case listed([FeatureCoding])
        case counted(from: Int, count: Int)
        case numbered([UInt32])
    }

    private var storage: Storage

    /// No features.
    public init() { storage = .listed([]) }

    /// Features with these codings.
    public init<Codings: Sequence>(_ codings: Codings) where Codings.Element == FeatureCoding {
        self = codings as? FeatureList ?? FeatureList(storage: .listed(Array(codings)))
    }

    /// Columns of numbers that are called `first`, `first + 1` and so on.
    public init(counting count: Int, from first: Int = 1) { storage = .counted(from: first, count: count) }

    /// Columns of numbers that are called by numbers.
    public init(numbers: [Int]) {
        let first = numbers.first ?? 1
        if numbers.indices.allSatisfy({ numbers[$0] == first + $0 }) {
            storage = .counted(from: first, count: numbers.count)
        } else if numbers.allSatisfy({ UInt32(exactly: $0) != nil }) {
            storage = .numbered(numbers.map { UInt32(truncatingIfNeeded: $0) })
        } else {
            storage = .listed(numbers.map { FeatureCoding(column: String($0)) })
        }
    }

    /// Features with these codings, in fewer bytes if these are columns of numbers that are called by numbers.
    init(compacting codings: [FeatureCoding]) {
        var numbers: [Int] = []
        numbers.reserveCapacity(codings.count)
        for coding in codings {
            guard let number = Int(coding.column), coding == FeatureCoding(column: String(number)) else {
                self.init(codings)
                return
            }
            numbers.append(number)
        }
        self.init(numbers: numbers)
    }

    public init(arrayLiteral elements: FeatureCoding...) { storage = .listed(elements) }

    /// The numbers that columns of numbers are called by, if they ascend and some are left out between them; nil for others.
    var scattered: [Int]? {
        guard case .numbered(let numbers) = storage, zip(numbers, numbers.dropFirst()).allSatisfy({ $0 < $1 }) else {
            return nil
        }
        return numbers.map { Int($0) }
    }

    private init(storage: Storage) { self.storage = storage }

    public var startIndex: Int { 0 }
    public var endIndex: Int {
        switch storage {
        case .listed(let codings): codings.count
        case .counted(_, let count): count
        case .numbered(let numbers): numbers.count
        }
    }

    public subscript(position: Int) -> FeatureCoding {
        get {
            switch storage {
            case .listed(let codings): return codings[position]
            case .counted(let first, let count):
                require((0..<count).contains(position), "feature \(position) of \(count)")
                return FeatureCoding(column: String(first + position))
            case .numbered(let numbers): return FeatureCoding(column: String(numbers[position]))
            }
        }
        set { withCodings { $0[position] = newValue } }
    }

    public mutating func replaceSubrange<Codings: Collection>(_ range: Range<Int>, with codings: Codings)
    where Codings.Element == FeatureCoding {
        withCodings { $0.replaceSubrange(range, with: codings) }
    }

    /// Changes the codings, from now on in full.
    private mutating func withCodings(_ body: (inout [FeatureCoding]) -> Void) {
        var codings: [FeatureCoding]
        if case .listed(let all) = storage { codings = all } else { codings = Array(self) }
        // So that the list is changed in place.
        storage = .listed([])
        body(&codings)
        storage = .listed(codings)
    }
}

extension FeatureList: Hashable, Codable {
    public static func == (a: FeatureList, b: FeatureList) -> Bool { a.elementsEqual(b) }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(count)
        for coding in self { hasher.combine(coding) }
    }

    public init(from decoder: any Decoder) throws { storage = .listed(try [FeatureCoding](from: decoder)) }

    public func encode(to encoder: any Encoder) throws { try Array(self).encode(to: encoder) }
}
