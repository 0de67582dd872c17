import LacunaTensor

extension CompressedRows {
    /// Those entries of the product [rows, columns] × [columns, n] that a pattern names, and no others: `(A B) ∘ pattern`.
    ///
    /// Where the pattern is sparser than the product, most sums are never begun: counting the triangles of a graph takes
    /// the entries of `A A` at `A` alone. An entry of the pattern without any term holds the semiring's zero, 0 or ∞.
    ///
    /// Sums run in the order of this matrix's columns, so results do not depend on the threads.
    ///
    /// - Parameter entries: [rows, n]. It becomes the pattern of the result.
    /// - Complexity: as many look-ups as there are pairs of entries `a_ik`, `b_kj` in rows where the pattern has entries,
    ///   and a multiplication for each that it names.
    /// - Throws: `LacunaError.invalidArgument` if the shapes do not fit.
    public func multiplied(
        by other: CompressedRows, at entries: CSRPattern, semiring: Semiring = .plusTimes
    ) throws -> CompressedRows {
        guard columns == other.rows else {
            throw LacunaError.invalidArgument(
                "other", reason: "[\(other.rows), \(other.columns)] does not fit [\(rows), \(columns)]")
        }
        guard entries.rows == rows, entries.columns == other.columns else {
            throw LacunaError.invalidArgument(
                "entries", reason: "[\(entries.rows), \(entries.columns)] is not [\(rows), \(other.columns)]")
        }
        let values = Buffer<Scalar>(repeating: semiring == .plusTimes ? 0 : .infinity, count: entries.count)
        withValues { a in
            other.withValues { b in
                switch semiring {
                case .plusTimes: sum(a, b, other.pattern, entries, into: values.pointer) { $0 + $1 * $2 }
                case .minPlus: sum(a, b, other.pattern, entries, into: values.pointer) { Swift.min($0, $1 + $2) }
                }
            }
        }
        return CompressedRows(entries, buffer: values)
    }

    /// Rows by threads; each looks columns up in a table of its own, which names their entries in the result.
    @inline(__always)
    private func sum(
        _ a: UnsafePointer<Scalar>, _ b: UnsafePointer<Scalar>, _ right: CSRPattern, _ entries: CSRPattern,
        into values: UnsafeMutablePointer<Scalar>, _ term: (Scalar, Scalar, Scalar) -> Scalar
    ) {
        let (leftColumns, rightColumns) = (pattern.columnIndices.pointer, right.columnIndices.pointer)
        let (starts, named) = (right.rowOffsets.pointer, entries.columnIndices.pointer)
        let none = UInt32.max
        Parallel.forRanges(rows, grain: Swift.max(64, rows / 128)) { range in
            let table = Buffer<UInt32>(repeating: none, count: right.columns)
            let place = table.pointer
            for r in range {
                let wanted = entries.entries(row: r)
                if wanted.isEmpty { continue }
                for j in wanted { place[Int(named[j])] = UInt32(j) }
                for i in pattern.entries(row: r) {
                    let (k, value) = (Int(leftColumns[i]), a[i])
                    for j in starts[k]..<starts[k + 1] {
                        let target = place[Int(rightColumns[j])]
                        if target != none { values[Int(target)] = term(values[Int(target)], value, b[j]) }
                    }
                }
                for j in wanted { place[Int(named[j])] = none }
            }
        }
    }
}
