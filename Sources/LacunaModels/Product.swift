import LacunaSparse
import LacunaTensor

enum Product {
    static func gemm(_ w: any WeightMatrix, _ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>)
    {
        w.multiply(matrix: x, count: count, into: y, leadingY: w.rows)
    }
    static func gemv(_ m: [(any WeightMatrix, UnsafeMutablePointer<Float>)], x: UnsafePointer<Float>) {
        for (w, y) in m {
            let input = EncodedInput(x, count: w.columns, encodings: [w.inputEncoding])
            w.multiply(input, rows: 0..<w.rows, into: y)
        }
    }
}
