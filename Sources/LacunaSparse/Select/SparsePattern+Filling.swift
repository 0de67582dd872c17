extension SparsePattern {
    /// A pattern whose bits `fill` sets, in words of 64 that begin as 0, a row every `wordsPerRow`: for loops that are too hot
    /// for anything else. Bits beyond the last column must stay 0.
    init(rows: Int, columns: Int, words fill: (_ words: UnsafeMutablePointer<UInt64>, _ wordsPerRow: Int) -> Void) {
        self.init(rows: rows, columns: columns)
        if rows > 0 && columns > 0 { withMutableWords(fill) }
    }
}
