// What the documentation's Swift blocks presuppose: each is compiled beside these declarations, and none is run. `make examples`
// writes the blocks into Generated/.
import Lacuna

func given<Value>() -> Value { fatalError("documentation is compiled, not run") }

// Weights and their calibration.
var weight: Tensor<Float> { given() }
var statistics: InputStatistics { given() }
var mask: SparsePattern { given() }
var x: Tensor<Float> { given() }

// A network in training.
var generator: SeededGenerator {
    get { given() }
    set {}
}
var tape: Tape<Float> { given() }
var model: MLP { given() }
var optimizer: Adam { given() }
var images: Tensor<Float> { given() }
var labels: [Int32] { given() }
var batches: ShuffledBatches { given() }
var batch: (ids: [Int32], next: [Int32]) { given() }
var blocks: [MLP] { given() }
var hidden: Variable<Float> {
    get { given() }
    set {}
}
var plan: TrainingPlan {
    get { given() }
    set {}
}

// Tasks that come one after the other.
var network: MLP { given() }
var stream: TaskStream { given() }

// Networks that the command has no model for, and what they learn from.
var words: [[Int32]] { given() }
var sequences: SequenceExamples { given() }
var reader: SequenceClassifier { given() }
var interactions: Interactions { given() }
var vit: TrainableViT { given() }
var denseViT: TrainableViT { given() }
var sparseViT: TrainableViT { given() }
var pictures: LabelledExamples { given() }
var held: LabelledExamples { given() }

// A language model, and a text for it.
var path: String { given() }
var tokenizer: Tokenizer { given() }
var decoder: Transformer { given() }
var text: String { given() }
var tokens: [Int] { given() }
var calibration: CalibrationSet { given() }
var student: TrainableTransformer { given() }
var examples: TokenExamples { given() }

// What a dictionary learns from, [tokens, dimensions].
var activations: Tensor<Float> { given() }

// A table.
var values: [Double] { given() }
var n: Int { given() }
var y: [Double] { given() }
var patients: [String] { given() }
var design: DenseDesign { given() }
var data: Tensor<Double> { given() }
var user: ComplexKroneckerProduct.Factor { given() }
var surface: ComplexKroneckerProduct.Factor { given() }
var station: ComplexKroneckerProduct.Factor { given() }
var received: ComplexVector { given() }
