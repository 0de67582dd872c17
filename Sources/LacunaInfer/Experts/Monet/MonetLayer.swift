import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// A ``Monet`` layer to be run: of both tables only the parts that some head has chosen are read.
public struct MonetLayer: RowMixer {
    /// Sizes.
    public let settings: MonetSettings
    private let routers: [any StoredMatrix]
    private let ups: [LinearLayer]
    private let downs: [any GatedMatrix]
    private let biases: [Tensor<Float>]
    private let moments: [(mean: Float, deviation: Float)]

    /// - Throws: As ``GatedStores/turned(_:name:)`` for values that cannot be read input by input, and as
    ///   ``LacunaLearn/TrainableWeight``'s `stored`.
    init(_ layer: Monet, _ values: ValueType) throws {
        settings = layer.settings
        routers = try [layer.router1, layer.router2].map { try $0.weight.stored(values) }
        ups = try ([layer.up1] + (layer.up2.map { [$0] } ?? [])).map {
            LinearLayer(try $0.weight.stored(values), bias: $0.bias?.value)
        }
        downs = try layer.down.enumerated().map { index, linear in
            try GatedStores.turned(linear.weight.stored(values), name: "v.\(index)")
        }
        biases = layer.biases.map(\.value)
        moments = zip(layer.runningMean.value.scalars, layer.runningVariance.value.scalars).map {
            ($0, ($1 + Monet.epsilon).squareRoot())
        }
    }

    public var inputs: Int { settings.width }
    public var outputs: Int { settings.width }
    private var matrices: [any StoredMatrix] { routers + ups.map(\.weight) + downs.map { $0 as any StoredMatrix } }
    public var byteCount: Int {
        matrices.reduce(0) { $0 + $1.byteCount } + 4 * (vectorEntries + 2 * moments.count)
    }
    /// All of them: heads may choose any part.
    public var bytesTouchedPerVector: Int { byteCount }
    public var weightCount: Int { matrices.reduce(0) { $0 + $1.rows * $1.columns } + vectorEntries }
    private var vectorEntries: Int {
        biases.reduce(0) { $0 + $1.count } + ups.reduce(0) { $0 + ($1.bias?.count ?? 0) }
    }

    /// The gates of one side for one row: g, [heads][side], 0 for what a head has not chosen, and the parts that some head has, ascending.
    public func gates(_ x: [Float], first: Bool) -> (gates: [[Float]], parts: [Int]) {
        x.withUnsafeBufferPointer { gates($0.baseAddress!, side: first ? 0 : 1) }
    }

    private func gates(_ x: UnsafePointer<Float>, side which: Int) -> (gates: [[Float]], parts: [Int]) {
        let (side, heads) = (settings.side, settings.heads)
        let scores = Buffer<Float>(uninitialized: heads * side)
        Product.gemv([(routers[which], scores.pointer)], x: x)
        let limit = Float(MonetGates.quantile(settings))
        var isChosen = [Bool](repeating: false, count: side)
        let gates = (0..<heads).map { head -> [Float] in
            let values = scores.pointer + head * side
            let (mean, deviation) = moments[which * heads + head]
            var stays = [Bool](repeating: true, count: side)
            MonetGates.forEachLeftOut(values, side: side, mean: mean, deviation: deviation, limit: limit) {
                stays[$0] = false
            }
            var (largest, sum) = (-Float.infinity, Float(0))
            for i in 0..<side where stays[i] { largest = max(largest, values[i]) }
            var own = [Float](repeating: 0, count: side)
            for i in 0..<side where stays[i] {
                own[i] = Float(exponential(Double(values[i] - largest)))
                sum += own[i]
                isChosen[i] = true
            }
            if sum > 0 { for i in 0..<side { own[i] /= sum } }
            return own
        }
        return (gates, (0..<side).filter { isChosen[$0] })
    }

    /// ReLU² of what the parts of one side compute, [side · neurons]; 0 for parts that are not read.
    private func hidden(_ x: UnsafePointer<Float>, _ side: Int, _ rows: [UInt32]) -> [Float] {
        let up = ups[side]
        var result = [Float](repeating: 0, count: up.outputs)
        result.withUnsafeMutableBufferPointer { result in
            _ = rows.withUnsafeBufferPointer {
                Product.gemv(up.weight, x: x, activeRows: $0, into: result.baseAddress!)
            }
            let bias = up.bias?.scalars
            for row in rows {
                let value = max(0, result[Int(row)] + (bias?[Int(row)] ?? 0))
                result[Int(row)] = value * value
            }
        }
        return result
    }

    public func apply(
        _ x: UnsafePointer<Float>, count: Int, layer: Int, into y: UnsafeMutablePointer<Float>
    ) throws {
        let width = settings.width
        for row in 0..<count { apply(x + row * width, into: y + row * width) }
    }

    private func apply(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>) {
        let (part, heads, width) = (settings.part, settings.heads, settings.width)
        let sides = (0..<2).map { gates(x, side: $0) }
        let neurons = sides.map { side in side.parts.flatMap { i in (0..<part).map { UInt32(i * part + $0) } } }
        func sums(_ which: Int) -> [Float] {
            (0..<settings.side).map { i in (0..<heads).reduce(Float(0)) { $0 + sides[which].gates[$1][i] } }
        }
        let totals = [sums(0), sums(1)]
        /// What each head gathers of one side's hidden parts, [heads][part].
        func gathered(_ hidden: [Float], _ which: Int) -> [[Float]] {
            (0..<heads).map { head in
                var result = [Float](repeating: 0, count: part)
                for i in sides[which].parts where sides[which].gates[head][i] != 0 {
                    for e in 0..<part { result[e] += sides[which].gates[head][i] * hidden[i * part + e] }
                }
                return result
            }
        }
        func crossed(_ gathered: [[Float]], _ which: Int) -> [Float] {
            var result = [Float](repeating: 0, count: settings.side * part)
            for i in sides[which].parts {
                for head in 0..<heads where sides[which].gates[head][i] != 0 {
                    for e in 0..<part { result[i * part + e] += sides[which].gates[head][i] * gathered[head][e] }
                }
            }
            return result
        }
        func own(_ hidden: [Float], _ which: Int) -> [Float] {
            var result = hidden
            for i in sides[which].parts { for e in 0..<part { result[i * part + e] *= totals[which][i] } }
            return result
        }
        /// Adds a product, of which only the parts of a side are read.
        func add(_ matrix: Int, _ values: [Float], _ which: Int, at start: Int) {
            let outputs = downs[matrix].rows
            var product = [Float](repeating: 0, count: outputs)
            values.withUnsafeBufferPointer { values in
                neurons[which].withUnsafeBufferPointer { active in
                    product.withUnsafeMutableBufferPointer {
                        downs[matrix].multiply(values.baseAddress!, activeInputs: active, into: $0.baseAddress!)
                    }
                }
            }
            for c in 0..<outputs { y[start + c] += product[c] }
        }
        func addConstant(_ table: Int, _ which: Int, at start: Int) {
            let columns = biases[table].columns
            biases[table].withPointer { table in
                for i in sides[which].parts {
                    for c in 0..<columns { y[start + c] += totals[which][i] * table[i * columns + c] }
                }
            }
        }
        y.update(repeating: 0, count: width)
        switch settings.decomposition {
        case .horizontal:
            let h = hidden(x, 0, neurons[0])
            add(0, crossed(gathered(h, 0), 1), 1, at: 0)
            addConstant(0, 1, at: 0)
        case .vertical:
            let (h1, h2) = (hidden(x, 0, neurons[0]), hidden(x, 1, neurons[1]))
            add(0, own(h1, 0), 0, at: 0)
            add(1, crossed(gathered(h2, 1), 0), 0, at: 0)
            addConstant(0, 0, at: 0)
            add(2, crossed(gathered(h1, 0), 1), 1, at: width / 2)
            add(3, own(h2, 1), 1, at: width / 2)
            addConstant(1, 1, at: width / 2)
        }
    }
}
