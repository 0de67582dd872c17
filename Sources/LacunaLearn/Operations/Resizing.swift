import LacunaTensor

/// Where the entries of an image of another size come from. Entries stand for squares whose corners the images share.
public enum Resizing: String, Sendable, Hashable, CaseIterable {
    /// The entry in whose square the middle of the new one lies.
    case nearest
    /// Between the four entries around the middle of the new one; of a much smaller image most entries are not looked at.
    case bilinear
    /// The mean of all entries that the new one covers, those near its middle most: what pictures are made smaller by. In
    /// enlargements the same as ``bilinear``.
    case smooth
}

/// How the entries of one side of an image come about: each as a weighted sum of neighbours.
struct Resampling {
    /// The side that there is.
    let source: Int
    /// The first neighbour of each entry.
    private var starts: [Int] = []
    /// The weights of all entries' neighbours, and where those of each begin.
    private var weights: [Double] = []
    private var bounds = [0]

    /// The side that is made.
    var count: Int { starts.count }

    init(from source: Int, to count: Int, by kind: Resizing) {
        require(source > 0 && count > 0, "a side of \(source) entries made \(count)")
        self.source = source
        let scale = Double(source) / Double(count)
        for entry in 0..<count {
            let middle = (Double(entry) + 0.5) * scale
            switch kind {
            case .nearest: append(min(Int(middle), source - 1), [1])
            case .bilinear:
                let place = max(0, middle - 0.5)
                let first = min(Int(place), source - 1)
                append(first, first + 1 < source ? [1 - (place - Double(first)), place - Double(first)] : [1])
            case .smooth:
                let reach = max(1, scale)
                let first = max(0, Int(middle - reach + 0.5))
                let last = max(first + 1, min(source, Int(middle + reach + 0.5)))
                let own = (first..<last).map { max(0, 1 - abs(Double($0) + 0.5 - middle) / reach) }
                let total = own.reduce(0, +)
                append(first, own.map { $0 / total })
            }
        }
    }

    private mutating func append(_ start: Int, _ own: [Double]) {
        starts.append(start)
        weights += own
        bounds.append(weights.count)
    }

    /// Calls `body` with every weight of an entry and the neighbour that it is for.
    @inline(__always)
    func forEach(_ entry: Int, _ body: (_ neighbour: Int, _ weight: Double) -> Void) {
        let (start, first) = (starts[entry], bounds[entry])
        for i in first..<bounds[entry + 1] { body(start + i - first, weights[i]) }
    }
}

/// Both sides of an image of another size.
struct ImageResampling {
    let rows, columns: Resampling

    init(from source: (height: Int, width: Int), to target: (height: Int, width: Int), by kind: Resizing) {
        rows = Resampling(from: source.height, to: target.height, by: kind)
        columns = Resampling(from: source.width, to: target.width, by: kind)
    }

    private var inner: Int { rows.source * columns.count }
    private var source: Int { rows.source * columns.source }
    private var target: Int { rows.count * columns.count }

    /// Calls `body` for every plane, many planes side by side.
    private func forPlanes(_ planes: Int, _ body: (Int) -> Void) {
        Parallel.forRanges(planes, grain: max(1, 65_536 / max(1, max(source, target)))) { $0.forEach(body) }
    }

    /// Writes planes of the new size.
    func apply<Scalar: LearningScalar>(
        _ x: UnsafePointer<Scalar>, planes: Int, into y: UnsafeMutablePointer<Scalar>
    ) {
        let width = columns.count
        forPlanes(planes) { plane in
            let (x, y) = (x + plane * source, y + plane * target)
            withUnsafeTemporaryAllocation(of: Scalar.self, capacity: inner) { flat in
                for row in 0..<rows.source {
                    for column in 0..<width {
                        var sum: Scalar = 0
                        columns.forEach(column) { sum += Scalar($1) * x[row * columns.source + $0] }
                        flat[row * width + column] = sum
                    }
                }
                for row in 0..<rows.count {
                    let line = y + row * width
                    line.update(repeating: 0, count: width)
                    rows.forEach(row) { neighbour, weight in
                        let weight = Scalar(weight)
                        for column in 0..<width { line[column] += weight * flat[neighbour * width + column] }
                    }
                }
            }
        }
    }

    /// Adds the gradients of planes of the new size to those of the old: the transpose of ``apply(_:planes:into:)``.
    func spread<Scalar: LearningScalar>(
        _ dy: UnsafePointer<Scalar>, planes: Int, into dx: UnsafeMutablePointer<Scalar>
    ) {
        let width = columns.count
        forPlanes(planes) { plane in
            let (dx, dy) = (dx + plane * source, dy + plane * target)
            withUnsafeTemporaryAllocation(of: Scalar.self, capacity: inner) { flat in
                flat.baseAddress!.update(repeating: 0, count: inner)
                for row in 0..<rows.count {
                    let line = dy + row * width
                    rows.forEach(row) { neighbour, weight in
                        let weight = Scalar(weight)
                        for column in 0..<width { flat[neighbour * width + column] += weight * line[column] }
                    }
                }
                for row in 0..<rows.source {
                    for column in 0..<width {
                        let slope = flat[row * width + column]
                        columns.forEach(column) { dx[row * columns.source + $0] += Scalar($1) * slope }
                    }
                }
            }
        }
    }
}

extension Variable {
    /// Images [n, channels, height, width] at another size.
    ///
    /// - Returns: [n, channels, height, width] of the size that is asked for.
    /// - Complexity: Each side by itself, in the entries that are read.
    public func resized(height: Int, width: Int, by kind: Resizing = .bilinear) -> Variable {
        require(shape.count == 4, "images have 4 dimensions, not \(shape)")
        let planes = shape[0] * shape[1]
        let resampling = ImageResampling(from: (shape[2], shape[3]), to: (height, width), by: kind)
        return tape.operation(inputs: [self], shape: [shape[0], shape[1], height, width]) { x, y in
            resampling.apply(x[0].baseAddress!, planes: planes, into: y.baseAddress!)
        } backward: { pass in
            pass.accumulate(0) {
                resampling.spread(pass.gradient.baseAddress!, planes: planes, into: $0.baseAddress!)
            }
        }
    }
}
