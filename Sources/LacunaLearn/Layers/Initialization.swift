import LacunaTensor

/// How weights start. `fan-in` is the number of inputs that one output is computed from.
public enum Initialization: Sendable, Hashable {
    /// Uniform in ±1/√(fan-in): the usual default of linear layers and convolutions.
    case uniform
    /// Normal with variance 2 / fan-in, for ReLU networks. Kaiming He and others, "Delving Deep into Rectifiers",
    /// arXiv 1502.01852.
    case he
    /// Normal with the given standard deviation.
    case normal(Float)
    /// 0 throughout.
    case zeros

    /// Numbers to begin with.
    ///
    /// - Parameter fanIn: Inputs that one output is computed from, where the deviation depends on them.
    public func tensor(_ shape: [Int], fanIn: Int, using generator: inout SeededGenerator) -> Tensor<Float> {
        switch self {
        case .uniform:
            let bound = 1 / Float(max(fanIn, 1)).squareRoot()
            return Tensor(uniform: shape, in: -bound..<bound, using: &generator)
        case .he:
            return Tensor(normal: shape, standardDeviation: (2 / Float(max(fanIn, 1))).squareRoot(), using: &generator)
        case .normal(let deviation): return Tensor(normal: shape, standardDeviation: deviation, using: &generator)
        case .zeros: return Tensor(zeros: shape)
        }
    }
}
