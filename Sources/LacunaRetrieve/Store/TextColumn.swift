import LacunaTensor

/// Strings one behind the other, read where they lie.
struct TextColumn: Sendable {
    /// Where each begins, [count + 1].
    let starts: MappedArray<Int>
    let bytes: MappedArray<UInt8>

    var count: Int { starts.count - 1 }
    var byteCount: Int { starts.byteCount + bytes.byteCount }

    init(_ texts: some Sequence<String>) {
        var starts = [0]
        var bytes: [UInt8] = []
        for text in texts {
            bytes += text.utf8
            starts.append(bytes.count)
        }
        (self.starts, self.bytes) = (MappedArray(starts), MappedArray(bytes))
    }

    /// Reads the sections `name.at` and `name.text`.
    init(_ file: SectionFile.Reader, _ name: String, count: Int? = nil, checked: Bool) throws {
        bytes = try file.array(name + ".text", of: UInt8.self)
        starts = try file.starts(name + ".at", count: count.map { $0 + 1 }, total: bytes.count, checked: checked)
    }

    func sections(_ name: String) -> [(name: String, bytes: UnsafeRawBufferPointer)] {
        [(name + ".at", starts.bytes), (name + ".text", bytes.bytes)]
    }

    func utf8(_ index: Int) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(rebasing: bytes.elements[starts[index]..<starts[index + 1]])
    }

    subscript(index: Int) -> String { String(decoding: utf8(index), as: UTF8.self) }

    /// Which string comes first by bytes.
    static func precedes(_ a: UnsafeBufferPointer<UInt8>, _ b: some Sequence<UInt8>) -> Bool {
        a.lexicographicallyPrecedes(b)
    }

    /// The indices in the order of the strings' bytes; equals in the order of the column.
    func sortedOrder() -> [UInt32] {
        (0..<UInt32(count)).sorted {
            let (a, b) = (utf8(Int($0)), utf8(Int($1)))
            if a.lexicographicallyPrecedes(b) { return true }
            return a.elementsEqual(b) && $0 < $1
        }
    }

    /// The index of a string, found by halving in an order of ``sortedOrder()``.
    func index(of text: String, order: MappedArray<UInt32>) -> Int? {
        var text = text
        return text.withUTF8 { wanted in
            var (low, high) = (0, order.count)
            while low < high {
                let middle = (low + high) / 2
                if utf8(Int(order[middle])).lexicographicallyPrecedes(wanted) {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            guard low < order.count else { return nil }
            let index = Int(order[low])
            return utf8(index).elementsEqual(wanted) ? index : nil
        }
    }
}

/// The terms of an index, numbered in the order in which they came.
public struct TermTable: Sendable {
    let texts: TextColumn
    let order: MappedArray<UInt32>

    /// Number of terms.
    public var count: Int { texts.count }
    var byteCount: Int { texts.byteCount + order.byteCount }

    /// - Throws: `LacunaError.invalidArgument` for a term that comes twice.
    public init(_ terms: some Collection<String>) throws {
        texts = TextColumn(terms)
        let order = texts.sortedOrder()
        for (a, b) in zip(order, order.dropFirst()) where texts.utf8(Int(a)).elementsEqual(texts.utf8(Int(b))) {
            throw LacunaError.invalidArgument("terms", reason: "'\(texts[Int(a)])' comes twice")
        }
        self.order = MappedArray(order)
    }

    init(_ file: SectionFile.Reader, checked: Bool) throws {
        texts = try TextColumn(file, "terms", checked: checked)
        order = try file.array("terms.order", of: UInt32.self, count: texts.count)
        if checked, let bad = order.elements.first(where: { Int($0) >= texts.count }) {
            throw file.failure("terms.order", "term \(bad) of \(texts.count)")
        }
    }

    var sections: [(name: String, bytes: UnsafeRawBufferPointer)] {
        texts.sections("terms") + [("terms.order", order.bytes)]
    }

    /// The number of a term, or nil if the index has none.
    ///
    /// - Complexity: O(log n) comparisons.
    public func index(of term: String) -> Int? { texts.index(of: term, order: order) }

    /// The term of a number.
    public subscript(index: Int) -> String {
        require((0..<count).contains(index), "term \(index) of \(count)")
        return texts[index]
    }
}
