import Foundation
import Lacuna

extension Variable {
    /// A differentiable operation of one's own: `x + sin²(a x) / a`, with one slope `a` for each column, which is learned
    /// too (Liu Ziyin, Tilman Hartwig, Masahito Ueda, "Neural Networks Fail to Learn Periodic Functions and How to Fix It",
    /// arXiv:2006.08195).
    ///
    /// - Parameter slopes: [columns], positive.
    func snake(_ slopes: Variable) -> Variable {
        let width = columns
        return tape.operation(inputs: [self, slopes], shape: shape) { inputs, output in
            for i in output.indices {
                let (x, a) = (inputs[0][i], inputs[1][i % width])
                let s = Scalar(sin(Double(a * x)))
                output[i] = x + s * s / a
            }
        } backward: { pass in
            let (x, a) = (pass.inputs[0], pass.inputs[1])
            // With u = a x: d/dx = 1 + sin 2u, d/da = (x sin 2u - sin² u / a) / a.
            pass.accumulate(0) { dx in
                for i in dx.indices {
                    dx[i] += pass.gradient[i] * (1 + Scalar(sin(Double(2 * a[i % width] * x[i]))))
                }
            }
            pass.accumulate(1) { da in
                for i in x.indices {
                    let slope = a[i % width]
                    let s = Scalar(sin(Double(slope * x[i])))
                    let double = Scalar(sin(Double(2 * slope * x[i])))
                    da[i % width] += pass.gradient[i] * (x[i] * double - s * s / slope) / slope
                }
            }
        }
    }
}
