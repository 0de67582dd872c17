import CLacuna
import LacunaTensor

/// The mean cross-entropy of `logits` [n, classes] against class labels; rows with negative labels are left out.
///
/// Without a row to count the loss is 0. Labels of `classes` and more are a programmer's error.
public func crossEntropy<Scalar: LearningScalar>(_ logits: Variable<Scalar>, labels: [Int32]) -> Variable<Scalar> {
    let (r, c, k, tape) = (logits.rows, logits.columns, Scalar.kernels, logits.tape)
    precondition(labels.count == r && labels.allSatisfy { Int($0) < c }, "\(labels.count) labels for \(logits.shape)")
    let counted = max(labels.count { $0 >= 0 }, 1)
    let losses = tape.pool.take(r)
    let probabilities = tape.pool.take(r * c)
    labels.withUnsafeBufferPointer { labels in
        spreadRows(r, c, grain: 1 << 14) {
            k.pointee.cross_entropy(
                logits.pointer + $0 * c, labels.baseAddress! + $0, losses.pointer + $0,
                probabilities.pointer + $0 * c, $1, c)
        }
    }
    let y = tape.output([], logits)
    y.pointer[0] = Scalar(k.pointee.sum(losses.pointer, r) / Double(counted))
    tape.record(y) { dy in
        logits.accumulate { dx, add in
            labels.withUnsafeBufferPointer { labels in
                spreadRows(r, c) {
                    k.pointee.cross_entropy_backward(
                        probabilities.pointer + $0 * c, labels.baseAddress! + $0, Double(dy[0]) / Double(counted),
                        dx + $0 * c, $1, c, add)
                }
            }
        }
    }
    return y
}

/// The mean of the squared differences of all entries.
public func meanSquaredError<Scalar: LearningScalar>(
    _ prediction: Variable<Scalar>, _ target: Variable<Scalar>
) -> Variable<Scalar> {
    (prediction - target).map(.square).mean()
}

/// The mean over rows of `T² KL(softmax(teacher / T) ‖ softmax(student / T))`, the distillation loss of Geoffrey Hinton,
/// Oriol Vinyals, Jeff Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531. The factor keeps gradients
/// of one size whatever the temperature.
///
/// - Parameters:
///   - student: Logits [n, classes].
///   - teacher: Logits [n, classes], taken as constants.
public func distillation<Scalar: LearningScalar>(
    student: Variable<Scalar>, teacher: Variable<Scalar>, temperature: Scalar = 1
) -> Variable<Scalar> {
    precondition(student.shape == teacher.shape, "shapes \(student.shape) and \(teacher.shape) differ")
    let logQ = student.affine(1 / temperature).logSoftmax()
    let logP = teacher.detached().affine(1 / temperature).logSoftmax()
    let divergence = (logP.map(.exponential) * (logP - logQ)).sum()
    return divergence.affine(temperature * temperature / Scalar(max(student.rows, 1)))
}

/// The mean of the binary cross-entropies `softplus(x) - x t` of logits and targets in 0...1.
public func binaryCrossEntropy<Scalar: LearningScalar>(
    _ logits: Variable<Scalar>, _ targets: Variable<Scalar>
) -> Variable<Scalar> {
    (logits.map(.softplus) - logits * targets).mean()
}

/// The contrastive loss InfoNCE: row `i` of `queries` should be closest to row `i` of `keys` among all keys.
///
/// Rows are compared by cosine divided by the temperature. Aaron van den Oord, Yazhe Li, Oriol Vinyals, "Representation
/// Learning with Contrastive Predictive Coding", arXiv 1807.03748.
public func infoNCE<Scalar: LearningScalar>(
    queries: Variable<Scalar>, keys: Variable<Scalar>, temperature: Scalar = 0.07
) -> Variable<Scalar> {
    precondition(queries.shape == keys.shape && queries.shape.count == 2, "as many keys as queries")
    let similarities = queries.rowNormalized().multiplied(by: keys.rowNormalized(), otherTransposed: true)
    return crossEntropy(similarities.affine(1 / temperature), labels: (0..<Int32(queries.rows)).map { $0 })
}

/// The mean of `max(0, ‖a - p‖² - ‖a - n‖² + margin)` over rows of anchors, positives and negatives.
///
/// Florian Schroff, Dmitry Kalenichenko, James Philbin, "FaceNet", arXiv 1503.03832.
public func tripletLoss<Scalar: LearningScalar>(
    anchors: Variable<Scalar>, positives: Variable<Scalar>, negatives: Variable<Scalar>, margin: Scalar = 1
) -> Variable<Scalar> {
    let near = (anchors - positives).map(.square).rowSums()
    let far = (anchors - negatives).map(.square).rowSums()
    return (near - far).affine(1, margin).relu().mean()
}
