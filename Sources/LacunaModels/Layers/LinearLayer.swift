import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A stored weight matrix [outputs, inputs] and an optional bias [outputs], to be run. The form to be learned is
/// `Linear`.
public struct LinearLayer: Sendable {
    /// [outputs, inputs], in any store.
    public var weight: any StoredMatrix
    /// [outputs]; nil for none.
    public var bias: Tensor<Float>?

    /// - Precondition: A bias has one entry for each row of the weight.
    public init(_ weight: any StoredMatrix, bias: Tensor<Float>? = nil) {
        require(bias == nil || bias!.count == weight.rows)
        self.weight = weight
        self.bias = bias
    }

    /// Entries of an output vector.
    public var outputs: Int { weight.rows }
    /// Entries of an input vector.
    public var inputs: Int { weight.columns }

    /// Up to this many rows of a step go one by one through products that skip what a gate leaves out. More rows together need
    /// nearly all inputs, so that weights are read whole, once for all of them.
    static let skippingRows = 4

    /// Whether as many rows of a step go one by one where a gate leaves inputs out.
    static func goesRowByRow(_ count: Int) -> Bool { count <= skippingRows || Product.keepsVectorsApart }

    /// `y[i] = W x[i] + b` for a step's rows `x`, which all the layers read, as far as the step's gate lets them.
    static func multiply(
        _ layers: [(LinearLayer, UnsafeMutablePointer<Float>)], _ x: UnsafePointer<Float>, context: StepContext,
        layer: Int, roles: [LinearRole]
    ) {
        let count = context.count
        if let gate = context.gate {
            if gate.choosesByMatrix {
                for (part, role) in zip(layers, roles) {
                    gated([part], x, context: context, gate, layer: layer, roles: [role])
                }
            } else {
                gated(layers, x, context: context, gate, layer: layer, roles: roles)
            }
        } else if count == 1 {
            Product.gemv(layers.map { ($0.weight, $1) }, x: x)
        } else {
            Product.gemm(layers.map { ($0.weight, $1) }, x: x, count: count)
        }
        for (layer, y) in layers where layer.bias != nil {
            for i in 0..<count { layer.addBias(y + i * layer.outputs) }
        }
    }

    /// Products, without biases, of layers that share what the gate chooses.
    private static func gated(
        _ layers: [(LinearLayer, UnsafeMutablePointer<Float>)], _ x: UnsafePointer<Float>, context: StepContext,
        _ gate: any InputGate, layer: Int, roles: [LinearRole]
    ) {
        let (count, inputs) = (context.count, layers[0].0.inputs)
        func note(_ active: [UInt32]?, isSkipping: Bool) {
            guard let meter = context.meter else { return }
            for (place, ((linear, _), role)) in zip(layers, roles).enumerated() {
                let bytes = linear.weight.byteCount
                let read = active.flatMap { linear.bytesRead($0) } ?? bytes
                let isPartial = active.map { $0.count < inputs } ?? false
                meter.note(
                    layer: layer, role: role, weights: linear.inputs * linear.outputs, inputs: inputs,
                    active: active?.count ?? inputs,
                    others: isPartial ? (linear.weight as? any SubstitutedMatrix)?.substituteCount ?? 0 : 0,
                    compared: active == nil || place > 0 ? 0 : inputs, bytes: bytes, read: isSkipping ? read : nil)
            }
        }
        if goesRowByRow(count) {
            for row in 0..<count {
                let input = x + row * inputs
                let active = gate.active(input, count: inputs, layer: layer, roles: roles)
                note(active, isSkipping: true)
                multiply(layers.map { ($0, $1 + row * $0.outputs) }, input, active: active)
            }
            return
        }
        let masked = context.pointer(.masked, count * inputs)
        var isWhole = true
        for row in 0..<count {
            let (source, target) = (x + row * inputs, masked + row * inputs)
            let active = gate.active(source, count: inputs, layer: layer, roles: roles)
            note(active, isSkipping: false)
            guard let active else {
                target.update(from: source, count: inputs)
                continue
            }
            isWhole = false
            target.update(repeating: 0, count: inputs)
            for i in active { target[Int(i)] = source[Int(i)] }
        }
        if isWhole { return Product.gemm(layers.map { ($0.weight, $1) }, x: x, count: count) }
        var others: [(any StoredMatrix, UnsafeMutablePointer<Float>)] = []
        for (layer, y) in layers {
            if let matrix = layer.weight as? any GatedMatrix {
                matrix.multiply(matrix: x, masked: masked, count: count, into: y)
            } else {
                others.append((layer.weight, y))
            }
        }
        if !others.isEmpty { Product.gemm(others, x: masked, count: count) }
    }

    /// Products with one vector of which only some entries are read.
    private static func multiply(
        _ layers: [(LinearLayer, UnsafeMutablePointer<Float>)], _ x: UnsafePointer<Float>, active: [UInt32]?
    ) {
        guard let active else { return Product.gemv(layers.map { ($0.weight, $1) }, x: x) }
        var whole: [(any StoredMatrix, UnsafeMutablePointer<Float>)] = []
        for (layer, y) in layers {
            if let matrix = layer.weight as? any GatedMatrix {
                active.withUnsafeBufferPointer { matrix.multiply(x, activeInputs: $0, into: y) }
            } else {
                whole.append((layer.weight, y))
            }
        }
        if whole.isEmpty { return }
        // Other stores read the inputs that are left out as zeros.
        let masked = Buffer<Float>(repeating: 0, count: max(whole[0].0.columns, 1))
        for i in active { masked.pointer[Int(i)] = x[Int(i)] }
        Product.gemv(whole, x: masked.pointer)
    }

    /// Bytes of weights that a product with one vector of these active inputs reads; nil if it reads all of them.
    private func bytesRead(_ active: [UInt32]) -> Int? {
        active.withUnsafeBufferPointer { (weight as? any GatedMatrix)?.bytesRead(activeInputs: $0) }
    }

    /// Adds the bias, if there is one, to one output vector.
    @inline(__always)
    func addBias(_ y: UnsafeMutablePointer<Float>) {
        guard let bias else { return }
        bias.withPointer { VectorMath.add($0, to: y, count: bias.count) }
    }
}

// MARK: - On the tape

extension LinearLayer {
    /// The layer to be learned, its weight in the form that `weight` makes of the matrix.
    func trainable(
        _ role: LinearRole, _ weight: (LinearRole, any StoredMatrix) throws -> any TrainableWeight
    ) rethrows -> Linear {
        Linear(weight: try weight(role, self.weight), bias: bias)
    }

    /// The layer to be run, of one that was learned.
    ///
    /// - Throws: As ``TrainableWeight/stored(_:)``.
    init(_ layer: Linear, _ values: ValueType) throws {
        self.init(try layer.weight.stored(values), bias: layer.bias?.value)
    }
}

extension TrainableWeight {
    /// The matrix to be run: a frozen one as it is, stored-sparse and masked ones with their zeros left out, the sum of a
    /// base and its updates as a dense one. A weight that keeps exactly n of every m is stored as n:m.
    ///
    /// - Parameter values: The type of stored values, where they are not frozen.
    /// - Throws: What ``WeightStore`` throws for values that are not finite; `LacunaError.unsupported` for a layer that is
    ///   not that of a matrix (``TrainableWeight/isLinear``).
    public func stored(_ values: ValueType = .f32) throws -> any StoredMatrix {
        func sparse(_ layout: StorageLayout, _ mask: SparsePattern) throws -> any StoredMatrix {
            try WeightStore.make(densified(), mask: mask, layout: layout, values: values)
        }
        guard isLinear else {
            throw LacunaError.unsupported(file: nil, what: "storing a layer with a nonlinearity inside as a matrix")
        }
        switch self {
        case let weight as any SelfStoringWeight: return try weight.storedMatrix(values)
        case let frozen as FrozenWeight: return frozen.matrix
        case let weight as CSRWeight: return try sparse(.csr, weight.pattern)
        case let weight as BitmaskWeight: return try sparse(Self.layout(of: weight.mask), weight.mask)
        case let weight as DenseWeight where weight.view == nil && weight.mask != nil:
            return try sparse(Self.layout(of: weight.mask!), weight.mask!)
        default: return try WeightStore.make(densified(), layout: .dense, values: values)
        }
    }

    /// The layout of n:m for a mask that keeps exactly n of every m; a bit for each entry for others.
    private static func layout(of mask: SparsePattern) -> StorageLayout {
        for (n, m) in [(1, 4), (2, 4), (4, 8)]
        where mask.columns % m == 0 && mask.count * m == mask.rows * mask.columns * n {
            if mask.satisfies(.nm(n: n, m: m)) { return .nm(n: n, m: m) }
        }
        return .bitmask
    }
}

/// A weight with a store of its own, in which it is trained.
public protocol SelfStoringWeight: TrainableWeight {
    /// The matrix to be run.
    ///
    /// - Parameter values: The type of stored values, as far as the store leaves a choice.
    /// - Throws: `LacunaError.numerical` for values that it cannot hold.
    func storedMatrix(_ values: ValueType) throws -> any StoredMatrix
}
