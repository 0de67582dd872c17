import Lacuna

// An architecture, a differentiable operation and a training hook that Lacuna does not have, beside what it has.
//
//     swift run own-training ../Data/digits/digits.csv

let path = CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : "../Data/digits/digits.csv"
let (train, test, _) = try TableFiles.classification(path)
var generator = SeededGenerator(seed: 1)
let model = SnakeNetwork(inputs: train.rows.columns, hidden: 128, classes: train.classes, using: &generator)

var plan = TrainingPlan(steps: 600, learningRate: .cosine(from: 3e-3, to: 0, steps: 600))
plan.clipNorm = 5
let trainer = try Trainer(
    model: model, optimizer: Adam.decoupled(), source: ShuffledBatches(train, batchSize: 64, seed: 1), plan: plan,
    hooks: [ProximalSparsity(strength: 0.2)],
    evaluate: { tape in [("accuracy", accuracy(model(tape.constant(test.inputs)), test.labels))] },
    loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
let report = try trainer.train()
for (name, value) in report.metrics.last?.values ?? [] { print("\(name): \(value)") }

// What is masked becomes sparse storage, is saved, and comes back as such.
print("stored sparse: \(model.compress().joined(separator: ", "))")
let file = "own-training.safetensors"
try ModelFile.save(model, to: file)
let again = SnakeNetwork(inputs: train.rows.columns, hidden: 128, classes: train.classes, using: &generator)
try ModelFile.load(again, from: file)
print("read again: \(again.linears.map { "\($0.name) \($0.layer.weight.storage)" }.joined(separator: ", "))")
