extension Tensor: CustomStringConvertible {
    /// The shape, and the entries as far as they fit: matrices as a grid, more dimensions as matrices one below the other; what
    /// is left out as dots.
    public var description: String {
        let title = "Tensor<\(Scalar.self)> \(shape)"
        if rank == 0 { return "\(title) \(NumberText.number(scalars[0]))" }
        if count == 0 { return title }
        return withPointer { p in
            if rank == 1 { return "\(title) [\(Self.line(p, count, widths: nil))]" }
            let (height, width) = (shape[rank - 2], shape[rank - 1])
            let matrices = count / (height * width)
            var lines = [title]
            for matrix in 0..<Swift.min(matrices, 4) {
                if rank > 2 { lines.append("[\(place(of: matrix)), …]") }
                lines += Self.grid(p + matrix * height * width, height, width)
            }
            if matrices > 4 { lines.append("… \(matrices - 4) more") }
            return lines.joined(separator: "\n")
        }
    }

    /// The indices of a matrix among those of the leading dimensions.
    private func place(of matrix: Int) -> String {
        var (rest, indices) = (matrix, [String]())
        for length in shape.dropLast(2).reversed() {
            indices.append("\(rest % length)")
            rest /= length
        }
        return indices.reversed().joined(separator: ", ")
    }

    /// How many rows, and how many entries of a row, are shown.
    private static var shown: Int { 12 }

    private static func grid(_ p: UnsafePointer<Scalar>, _ height: Int, _ width: Int) -> [String] {
        let rows = Swift.min(height, shown)
        let widths = (0..<Swift.min(width, shown)).map { j in
            (0..<rows).map { NumberText.number(p[$0 * width + j]).count }.max() ?? 0
        }
        let lines = (0..<rows).map { "  " + line(p + $0 * width, width, widths: widths) }
        return lines + (height > rows ? ["  … \(height - rows) more rows"] : [])
    }

    private static func line(_ p: UnsafePointer<Scalar>, _ count: Int, widths: [Int]?) -> String {
        let cells = (0..<Swift.min(count, shown)).map { j in
            let text = NumberText.number(p[j])
            return widths.map { NumberText.padded(text, to: $0[j]) } ?? text
        }
        return cells.joined(separator: widths == nil ? ", " : "  ") + (count > shown ? "  … \(count - shown) more" : "")
    }
}
