import CLacuna
import LacunaTensor

/// What training makes small: functions of variables whose result is a single number.
public enum Loss {
    /// The mean cross-entropy of `logits` [n, classes] against class labels; rows with negative labels are left out.
    ///
    /// Without a row to count the loss is 0. Labels of `classes` and more are a programmer's error.
    public static func crossEntropy<Scalar: LearningScalar>(_ logits: Variable<Scalar>, labels: [Int32]) -> Variable<
        Scalar
    > {
        let (r, c, k, tape) = (logits.rows, logits.columns, Scalar.kernels, logits.tape)
        require(labels.count == r && labels.allSatisfy { Int($0) < c }, "\(labels.count) labels for \(logits.shape)")
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
    public static func meanSquaredError<Scalar: LearningScalar>(
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
    public static func distillation<Scalar: LearningScalar>(
        student: Variable<Scalar>, teacher: Variable<Scalar>, temperature: Scalar = 1
    ) -> Variable<Scalar> {
        require(student.shape == teacher.shape, "shapes \(student.shape) and \(teacher.shape) differ")
        let (r, c, k, tape) = (student.rows, student.columns, Scalar.kernels, student.tape)
        let losses = tape.pool.take(r)
        let difference = tape.pool.take(r * c)
        spreadRows(r, c, grain: 1 << 14) {
            k.pointee.divergence(
                student.pointer + $0 * c, teacher.pointer + $0 * c, Double(1 / temperature), losses.pointer + $0,
                difference.pointer + $0 * c, $1, c)
        }
        let y = tape.output([], student)
        let share = Double(temperature) / Double(max(r, 1))
        y.pointer[0] = Scalar(k.pointee.sum(losses.pointer, r) * share * Double(temperature))
        tape.record(y) { dy in
            student.accumulate { dx, add in
                spread(r * c) {
                    k.pointee.affine(Double(dy[0]) * share, difference.pointer + $0, 0, dx + $0, $1, add)
                }
            }
        }
        return y
    }

    /// How far a layer's features are from a teacher's, by the teacher's own size: `‖S - T‖² / (‖T‖² + ε n)` over the n
    /// numbers of all rows together. 0 for equal features, 1 where the student's are 0; layers count alike whatever the
    /// size of their features.
    ///
    /// The term of one layer in SquareHead: Eldar Kurtic, Denis Kuznedelev, Elias Frantar, Michael Goin, Dan Alistarh,
    /// "Sparse Fine-tuning for Inference Acceleration of Large Language Models", arXiv 2310.06927.
    ///
    /// - Parameters:
    ///   - student: [n, width].
    ///   - teacher: [n, width], taken as constants.
    ///   - rows: Those that count, such as all that are not padding; nil for all.
    public static func featureDistance<Scalar: LearningScalar>(
        student: Variable<Scalar>, teacher: Variable<Scalar>, rows: [Int32]? = nil
    ) -> Variable<Scalar> {
        require(student.shape == teacher.shape, "shapes \(student.shape) and \(teacher.shape) differ")
        let (s, t) =
            rows.map { (student.gathered($0), teacher.detached().gathered($0)) } ?? (student, teacher.detached())
        let energy = t.withPointer { p in (0..<t.count).reduce(0.0) { $0 + Double(p[$1]) * Double(p[$1]) } }
        let whole = energy + Double(Scalar.ulpOfOne) * Double(max(t.count, 1))
        return (s - t).map(.square).sum().affine(Scalar(1 / whole))
    }

    /// The mean of the binary cross-entropies `softplus(x) - x t` of logits and targets in 0...1.
    public static func binaryCrossEntropy<Scalar: LearningScalar>(
        _ logits: Variable<Scalar>, _ targets: Variable<Scalar>
    ) -> Variable<Scalar> {
        (logits.map(.softplus) - logits * targets).mean()
    }

    /// The contrastive loss InfoNCE: row `i` of `queries` should be closest to row `i` of `keys` among all keys.
    ///
    /// Rows are compared by cosine divided by the temperature. Aaron van den Oord, Yazhe Li, Oriol Vinyals, "Representation
    /// Learning with Contrastive Predictive Coding", arXiv 1807.03748.
    public static func infoNCE<Scalar: LearningScalar>(
        queries: Variable<Scalar>, keys: Variable<Scalar>, temperature: Scalar = 0.07
    ) -> Variable<Scalar> {
        require(queries.shape == keys.shape && queries.shape.count == 2, "as many keys as queries")
        let similarities = queries.rowNormalized().multiplied(by: keys.rowNormalized(), otherTransposed: true)
        return crossEntropy(similarities.affine(1 / temperature), labels: (0..<Int32(queries.rows)).map { $0 })
    }

    /// The mean of `max(0, ‖a - p‖² - ‖a - n‖² + margin)` over rows of anchors, positives and negatives.
    ///
    /// Florian Schroff, Dmitry Kalenichenko, James Philbin, "FaceNet", arXiv 1503.03832.
    public static func tripletLoss<Scalar: LearningScalar>(
        anchors: Variable<Scalar>, positives: Variable<Scalar>, negatives: Variable<Scalar>, margin: Scalar = 1
    ) -> Variable<Scalar> {
        let near = (anchors - positives).map(.square).rowSums()
        let far = (anchors - negatives).map(.square).rowSums()
        return (near - far).affine(1, margin).relu().mean()
    }

    /// The mean cross-entropy of the logits `head(hidden)` against class labels, a few rows of logits at a time.
    ///
    /// The logits of a language model's vocabulary are the largest array of a training step. Here they exist for `rows` rows
    /// at once: with a head that is not trained in the forward pass alone, else once more in the backward pass. See
    /// ``Tape/reducing(_:_:)``.
    ///
    /// - Parameters:
    ///   - hidden: [n, dimensions].
    ///   - labels: One a row; rows with negative labels are left out.
    ///   - head: Logits [rows, classes] of some rows of `hidden`.
    public static func crossEntropy<Scalar: LearningScalar>(
        of hidden: Variable<Scalar>, labels: [Int32], rows: Int = 256,
        head: @escaping (Variable<Scalar>) -> Variable<Scalar>
    ) -> Variable<Scalar> {
        require(labels.count == hidden.rows && rows > 0, "\(labels.count) labels for \(hidden.rows) rows")
        let (tape, flat) = (hidden.tape, hidden.reshaped([hidden.rows, hidden.columns]))
        let counted = max(labels.count { $0 >= 0 }, 1)
        var total: Variable<Scalar>?
        for start in stride(from: 0, to: labels.count, by: rows) {
            let range = start..<min(start + rows, labels.count)
            let part = Array(labels[range])
            let share = Scalar(part.count { $0 >= 0 }) / Scalar(counted)
            if share == 0 { continue }
            let loss = tape.reducing(flat.sliced(rows: range)) { crossEntropy(head($0), labels: part) }.affine(share)
            total = total.map { $0 + loss } ?? loss
        }
        return total ?? tape.constant(Tensor([0], shape: []))
    }

    /// The mean of `d² / (2 β)` where the difference `d` is below `β`, of `d - β / 2` elsewhere: squares near 0, slopes of at
    /// most 1 far from it. Peter Huber (1964), divided by `β`.
    public static func smoothL1<Scalar: LearningScalar>(
        _ prediction: Variable<Scalar>, _ target: Variable<Scalar>, beta: Scalar = 1
    ) -> Variable<Scalar> {
        require(beta > 0, "beta \(beta) is not positive")
        let distance = (prediction - target).map(.absolute)
        let bounded = distance.clamped(to: 0...beta)
        // With c = min(d, β): c (d - c / 2) / β.
        return (bounded * (distance - bounded.affine(0.5))).affine(1 / beta).mean()
    }

    /// The contrastive loss with several positives: the mean over rows of the mean over the row's positives of
    /// `-log softmax(similarities / temperature)`. Rows without positives are left out.
    ///
    /// Prannay Khosla and others, "Supervised Contrastive Learning", arXiv 2004.11362, the sum outside the logarithm.
    ///
    /// - Parameters:
    ///   - similarities: [queries, keys].
    ///   - positives: [queries, keys], whether a key belongs to a query.
    public static func multiPositiveContrast<Scalar: LearningScalar>(
        _ similarities: Variable<Scalar>, positives: [Bool], temperature: Scalar = 0.07
    ) -> Variable<Scalar> {
        let (r, c, tape) = (similarities.rows, similarities.columns, similarities.tape)
        require(positives.count == r * c && temperature > 0, "\(positives.count) flags for \(similarities.shape)")
        let counts = (0..<r).map { row in positives[row * c..<(row + 1) * c].count { $0 } }
        let scored = Scalar(max(counts.count { $0 > 0 }, 1))
        let weights = positives.indices.map { positives[$0] ? -1 / (Scalar(counts[$0 / c]) * scored) : 0 }
        return
            (similarities.affine(1 / temperature).logSoftmax()
            * tape.constant(Tensor(weights, shape: similarities.shape))).sum()
    }
}
