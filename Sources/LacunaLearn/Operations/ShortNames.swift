// Names for use within the package, where `Loss.` and `Classification.` would be said in every other line. Users of the library
// have no global functions.

package func crossEntropy<Scalar: LearningScalar>(_ logits: Variable<Scalar>, labels: [Int32]) -> Variable<Scalar> {
    Loss.crossEntropy(logits, labels: labels)
}

package func meanSquaredError<Scalar: LearningScalar>(
    _ prediction: Variable<Scalar>, _ target: Variable<Scalar>
) -> Variable<Scalar> {
    Loss.meanSquaredError(prediction, target)
}

package func distillation<Scalar: LearningScalar>(
    student: Variable<Scalar>, teacher: Variable<Scalar>, temperature: Scalar = 1
) -> Variable<Scalar> {
    Loss.distillation(student: student, teacher: teacher, temperature: temperature)
}

package func accuracy(_ logits: Variable<Float>, _ labels: [Int32]) -> Double {
    Classification.accuracy(logits, labels)
}

@discardableResult
package func clipGradients(_ parameters: [Parameter<Float>], norm limit: Double) -> Double {
    Parameter.clipGradients(parameters, norm: limit)
}
