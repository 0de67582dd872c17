import LacunaSparse
import LacunaTensor

// What a model's tensors take in memory, known before they are read.
extension TensorSource {
    /// Bytes that all tensors take once they are loaded: as they are, where there are products for their type (f32, bf16,
    /// f16, GGUF blocks), otherwise as floats; the numbers of matrices in another type if one is asked for. Sparse weights
    /// keep the size that they have in the file, so this is a little less than what a loaded model takes.
    ///
    /// - Parameter values: The type that matrices are converted to; nil to keep them.
    public func loadedBytes(as values: ValueType? = nil) -> Int {
        tensors.reduce(0) { sum, info in
            let (total, overflow) = sum.addingReportingOverflow(info.loadedBytes(as: values))
            return overflow ? .max : total
        }
    }
}

extension TensorInfo {
    fileprivate func loadedBytes(as values: ValueType?) -> Int {
        let asFloats = count * MemoryLayout<Float>.size
        let isFloating: Bool
        let asStored: Int
        switch type {
        case .foreign: return byteRange.count
        case .block(let block):
            isFloating = true
            asStored = GGUFMatrix.blockBytes(block.rawValue) == nil ? asFloats : byteRange.count
        case .scalar(let element):
            isFloating = [.f32, .bf16, .f16, .f64].contains(element)
            // Matrices of f16 have products, vectors become floats.
            let widens = element == .f64 || element == .f16 && shape.count != 2
            asStored = widens ? asFloats : byteRange.count
        }
        guard isFloating, shape.count == 2, let values else { return asStored }
        return asFloats / 32 * values.bits
    }
}
