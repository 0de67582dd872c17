import LacunaTensor

extension Buffer {
    /// The first element. Benchmarks keep their buffers for as long as they run.
    public var pointer: UnsafeMutablePointer<Element> {
        withMutableElements { elements in
            guard let start = elements.baseAddress else { fatalError("a buffer without memory") }
            return start
        }
    }
}
