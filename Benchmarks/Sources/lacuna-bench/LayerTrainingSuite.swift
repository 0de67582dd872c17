import BenchmarkHarness
import LacunaSparse
import LacunaTensor

/// A sparse layer's forward product and both gradients, against the three dense products.
struct LayerTrainingSuite {
    let settings: Settings
    let weights: RandomWeights
    let size = 2048
    let batch = 64

    func sections() throws -> [Section] {
        settings.announce("training: \(size) × \(size), batch \(batch)")
        let work = Work(operations: 6 * Double(size * size * batch))
        let shape = Shapes.Matrix(rows: size, columns: size)
        let dense = DenseLayer(weights.weight(shape), batch: batch)
        let baseline = Candidate("dense BLAS", work: work) { _ in dense.step() }
        var candidates = [baseline]
        let sparsities = [0.8, 0.9, 0.95, 0.98]
        for sparsity in sparsities {
            let mask = try weights.mask(shape, pattern: .unstructured(.layer), sparsity: sparsity)
            let layer = try SparseLayer(SparseMatrix(weights.weight(shape), at: mask), batch: batch)
            layer.stepRows()
            candidates.append(Candidate("CSR \(percent(sparsity)), rows", work: work) { _ in layer.stepRows() })
            candidates.append(Candidate("CSR \(percent(sparsity)), panels", work: work) { _ in layer.stepPanels() })
        }
        for sparsity in [0.8, 0.9] {
            let mask = try weights.mask(shape, pattern: .block(rows: 16, columns: 16), sparsity: sparsity)
            let blocks = try CompressedBlocks(weights.weight(shape), mask: mask, blockRows: 16, blockColumns: 16)
            let layer = SparseLayer(blocks, batch: batch)
            candidates.append(
                Candidate("blocks of 16 × 16, \(percent(sparsity)), panels", work: work) { _ in layer.stepPanels() })
        }
        let rows = settings.forEachThreadCount { threads in
            let measured = settings.timer(rounds: 12).measure(candidates)
            return measured.map { measurement in
                var row = Row(measurement, threads: threads)
                if measurement.name != baseline.name {
                    row.compare(measurement, with: measured[0], allowed: allowed(measurement.name))
                }
                if measurement.name == "CSR 95 %, rows" { row.bars = [.atLeast(.measured, 3)] }
                if measurement.name == "CSR 90 %, rows" { row.bars = [.atLeast(.measured, 2)] }
                return row
            }
        }
        return [
            Section(
                "Training a layer, \(size) × \(size), batch \(batch)",
                explanation: """
                    One forward product and the gradients of the input and of the weights. *rows* takes and gives activations \
                    as rows, as the dense products do, and transposes them; *panels* keeps them in the form that sparse \
                    products read. *GFLOP/s* counts the dense products' operations, done or skipped.
                    """,
                columns: [.threads, .seconds, .spread, .operations, .expected, .measured, .share], rows: rows)
        ]
    }

    private func percent(_ sparsity: Double) -> String { "\(Int((sparsity * 100).rounded())) %" }

    private func allowed(_ name: String) -> Double {
        for sparsity in [0.8, 0.9, 0.95, 0.98] where name.contains(percent(sparsity)) { return 1 / (1 - sparsity) }
        return 1
    }
}

private final class DenseLayer {
    private let weight: Tensor<Float>
    private let batch: Int
    private let x, y, dx, dy, gradient: Buffer<Float>

    init(_ weight: Tensor<Float>, batch: Int) {
        self.weight = weight
        self.batch = batch
        x = Buffer(repeating: 0.5, count: batch * weight.columns)
        dx = Buffer(repeating: 0.5, count: batch * weight.columns)
        y = Buffer(repeating: 0.5, count: batch * weight.rows)
        dy = Buffer(repeating: 0.5, count: batch * weight.rows)
        gradient = Buffer(repeating: 0.5, count: weight.count)
    }

    func step() {
        let (rows, columns) = (weight.rows, weight.columns)
        weight.withPointer { w in
            LinearAlgebra.parallelGemm(
                m: batch, n: rows, k: columns, x.pointer, leadingA: columns, w, leadingB: columns, transposedB: true,
                into: y.pointer, leadingC: rows)
            LinearAlgebra.parallelGemm(
                m: batch, n: columns, k: rows, dy.pointer, leadingA: rows, w, leadingB: columns, into: dx.pointer,
                leadingC: columns)
            LinearAlgebra.parallelGemm(
                m: rows, n: columns, k: batch, dy.pointer, leadingA: rows, transposedA: true, x.pointer,
                leadingB: columns, into: gradient.pointer, leadingC: columns)
        }
    }
}

private final class SparseLayer<Matrix: TrainableMatrix> where Matrix.Scalar == Float {
    private let weight: Matrix
    private let x, y, dx, dy, gradient: Buffer<Float>
    private let panelX, panelY, panelDX, panelDY: Panels<Float>
    private let batch: Int

    init(_ weight: Matrix, batch: Int) {
        self.weight = weight
        self.batch = batch
        x = Buffer(repeating: 0.5, count: batch * weight.columns)
        dx = Buffer(repeating: 0.5, count: batch * weight.columns)
        y = Buffer(repeating: 0.5, count: batch * weight.rows)
        dy = Buffer(repeating: 0.5, count: batch * weight.rows)
        gradient = Buffer(repeating: 0, count: weight.count)
        panelX = Panels(zeros: batch, features: weight.columns)
        panelDX = Panels(zeros: batch, features: weight.columns)
        panelY = Panels(zeros: batch, features: weight.rows)
        panelDY = Panels(zeros: batch, features: weight.rows)
    }

    func stepPanels() {
        weight.multiply(panelX, alpha: 1, beta: 0, into: panelY)
        weight.multiplyTransposed(panelDY, alpha: 1, beta: 0, into: panelDX)
        weight.accumulateGradient(output: panelDY, input: panelX, into: gradient.pointer, adding: false)
    }
}

extension SparseLayer where Matrix == SparseMatrix<Float> {
    func stepRows() {
        let (rows, columns) = (weight.rows, weight.columns)
        weight.multiply(x.pointer, leadingX: columns, batch: batch, into: y.pointer, leadingY: rows)
        weight.multiplyTransposed(dy.pointer, leadingY: rows, batch: batch, into: dx.pointer, leadingX: columns)
        weight.accumulateGradient(
            output: dy.pointer, leadingY: rows, input: x.pointer, leadingX: columns, batch: batch,
            into: gradient.pointer)
    }
}
