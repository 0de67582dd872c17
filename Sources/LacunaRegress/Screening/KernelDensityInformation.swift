import LacunaTensor

/// Mutual information of densities that kernels estimate on a grid.
///
/// Both variables are scaled robustly; each observation is spread over the four nearest cells of a grid, the grid is
/// convolved with Epanechnikov kernels, and the information is that of the resulting table. A variable of few different
/// values is discrete: the other's density is then estimated for each of them, and two discrete variables are counted.
/// Smoothing biases the information downwards, the more the stronger the dependence, so compare ranks.
///
/// Kai Yang, Masoud Asgharian, Nikhil Bhagwat, Jean-Baptiste Poline, Celia Greenwood, "fastHDMI: Fast Mutual Information
/// Estimation for High-Dimensional Data", arXiv 2410.10082. Bandwidths are those that the method describes; the kernel is
/// the product of one for each variable.
public struct KernelDensityInformation: MutualInformationEstimator {
    /// How wide kernels are.
    public enum Bandwidth: String, Sendable, CaseIterable {
        /// `(4 / (d + 2))^(1/(d+4)) n^(-1/(d+4))` spreads, for d = 1 or 2 continuous variables.
        case silverman
        /// `n^(-1/(d+4))` spreads.
        case scott
    }

    /// How wide kernels are.
    public var bandwidth: Bandwidth
    /// Multiplies the bandwidth, which is the standard deviation of the kernel.
    public var multiplier: Double
    /// Cells a side where both variables are continuous.
    public var cells: Int
    /// Cells where one of them is.
    public var cellsAlone: Int
    /// Variables of at most so many different values are discrete.
    public var discreteLevels: Int

    /// Settings as their properties say.
    public init(
        bandwidth: Bandwidth = .silverman, multiplier: Double = 1, cells: Int = 300, cellsAlone: Int = 500,
        discreteLevels: Int = 10
    ) {
        require(multiplier > 0 && cells >= 2 && cellsAlone >= 2 && discreteLevels >= 2)
        self.bandwidth = bandwidth
        self.multiplier = multiplier
        self.cells = cells
        self.cellsAlone = cellsAlone
        self.discreteLevels = discreteLevels
    }

    public func prepare(_ x: [Double]) throws -> PreparedVariable {
        try PreparedVariable(x, discreteLevels: discreteLevels)
    }

    public func information(_ x: PreparedVariable, _ y: PreparedVariable, order: [Int]? = nil) -> Double {
        switch (x.content, y.content) {
        case (.constant, _), (_, .constant): return 0
        case (.discrete(let a, let rows), .discrete(let b, let columns)):
            var table = [Double](repeating: 0, count: rows * columns)
            for i in a.indices { table[Int(a[i]) * columns + Int(b[order?[i] ?? i])] += 1 }
            return tableInformation(table, rows: rows, columns: columns)
        case (.discrete(let a, let rows), .continuous(let b, let spread)):
            return mixed(a, rows, b, spread) { ($0, order?[$0] ?? $0) }
        case (.continuous(let a, let spread), .discrete(let b, let rows)):
            return mixed(b, rows, a, spread) { (order?[$0] ?? $0, $0) }
        case (.continuous(let a, let spreadA), .continuous(let b, let spreadB)):
            let factor = self.factor(a.count, dimensions: 2)
            let (first, second) = (
                GridAxis(a, bandwidth: factor * spreadA, cells: cells),
                GridAxis(b, bandwidth: factor * spreadB, cells: cells)
            )
            let grid = Buffer<Double>(repeating: 0, count: cells * cells)
            let work = Buffer<Double>(uninitialized: cells * cells)
            for i in a.indices {
                let (r, below) = first.place(a[i])
                let (c, left) = second.place(b[order?[i] ?? i])
                let corner = grid.pointer + r * cells + c
                corner[0] += below * left
                corner[1] += below * (1 - left)
                corner[cells] += (1 - below) * left
                corner[cells + 1] += (1 - below) * (1 - left)
            }
            first.smooth(grid.pointer, into: work.pointer, columns: cells)
            Self.transpose(work.pointer, into: grid.pointer, cells)
            second.smooth(grid.pointer, into: work.pointer, columns: cells)
            return tableInformation(work.pointer, rows: cells, columns: cells)
        }
    }

    /// Bandwidth over spread.
    private func factor(_ n: Int, dimensions d: Double) -> Double {
        let base = power(Double(n), -1 / (d + 4))
        return multiplier * base * (bandwidth == .silverman ? power(4 / (d + 2), 1 / (d + 4)) : 1)
    }

    /// One discrete and one continuous variable: the grid has a column for each level.
    private func mixed(
        _ labels: [Int32], _ levels: Int, _ values: [Double], _ spread: Double, _ rows: (Int) -> (Int, Int)
    ) -> Double {
        let axis = GridAxis(
            values, bandwidth: factor(values.count, dimensions: 1) * spread, cells: cellsAlone)
        let grid = Buffer<Double>(repeating: 0, count: cellsAlone * levels)
        let work = Buffer<Double>(uninitialized: cellsAlone * levels)
        for i in values.indices {
            let (label, value) = rows(i)
            let (cell, below) = axis.place(values[value])
            let place = grid.pointer + cell * levels + Int(labels[label])
            place[0] += below
            place[levels] += 1 - below
        }
        axis.smooth(grid.pointer, into: work.pointer, columns: levels)
        return tableInformation(work.pointer, rows: cellsAlone, columns: levels)
    }

    private static func transpose(
        _ source: UnsafePointer<Double>, into target: UnsafeMutablePointer<Double>, _ n: Int
    ) {
        let tile = 16
        for i0 in stride(from: 0, to: n, by: tile) {
            for j0 in stride(from: 0, to: n, by: tile) {
                for i in i0..<min(i0 + tile, n) {
                    for j in j0..<min(j0 + tile, n) { target[j * n + i] = source[i * n + j] }
                }
            }
        }
    }
}

/// The cells of one variable and the kernel that smooths along them.
private struct GridAxis {
    let origin, width: Double
    let cells: Int
    /// Weights of the kernel from its centre outwards; they sum to 1 over both sides.
    let kernel: [Double]

    init(_ values: [Double], bandwidth: Double, cells: Int) {
        var (low, high) = (Double.infinity, -Double.infinity)
        for value in values {
            low = min(low, value)
            high = max(high, value)
        }
        // An Epanechnikov kernel of standard deviation h reaches √5 h.
        let reach = 5.0.squareRoot() * bandwidth
        self.cells = cells
        origin = low - reach
        width = (high - low + 2 * reach) / Double(cells - 1)
        var kernel: [Double] = []
        while kernel.count < cells {
            let share = Double(kernel.count) * width / reach
            if share >= 1 { break }
            kernel.append(1 - share * share)
        }
        let total = 2 * kernel.reduce(0, +) - kernel[0]
        self.kernel = kernel.map { $0 / total }
    }

    /// The cell below a value, and the share of it that falls there.
    func place(_ value: Double) -> (cell: Int, share: Double) {
        let position = (value - origin) / width
        let cell = min(cells - 2, max(0, Int(position)))
        return (cell, 1 - (position - Double(cell)))
    }

    /// Convolves down the rows of `grid` [cells, columns].
    func smooth(_ grid: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>, columns: Int) {
        out.update(repeating: 0, count: cells * columns)
        for i in 0..<cells {
            let row = grid + i * columns
            if (0..<columns).allSatisfy({ row[$0] == 0 }) { continue }
            for (distance, weight) in kernel.enumerated() {
                if i + distance < cells { kernels.axpy_f64(weight, row, out + (i + distance) * columns, columns) }
                if distance > 0 && i >= distance {
                    kernels.axpy_f64(weight, row, out + (i - distance) * columns, columns)
                }
            }
        }
    }
}
