// One random matrix, pruned by magnitude to 75 %, in every layout that can hold it: what each takes and how fast it
// multiplies a vector. The matrix is larger than most caches, as the weights of a model together are.
import Lacuna

let (rows, columns, sparsity) = (4096, 8192, 0.75)
var generator = SeededGenerator(seed: 1)
let weight = Tensor<Float>(normal: [rows, columns], standardDeviation: 1, using: &generator)
let x = Tensor<Float>(normal: [1, columns], standardDeviation: 1, using: &generator)

// Score and select.
let scores = try MagnitudeScore().scores(weight: weight)
func mask(_ pattern: Pattern) throws -> SparsePattern {
    try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity)
}
let choices: [(name: String, layout: StorageLayout, mask: SparsePattern?)] = [
    ("dense", .dense, nil),
    ("bitmask", .bitmask, try mask(.unstructured(.layer))),
    ("CSR", .csr, try mask(.unstructured(.layer))),
    ("1:4", .nm(n: 1, m: 4), try mask(.nm(n: 1, m: 4, axis: .input))),
    ("blocks of 16 × 16", .bsr(rows: 16, columns: 16), try mask(.block(rows: 16, columns: 16))),
]

// Store and compute.
print("\(rows) × \(columns), \(Int(sparsity * 100)) % removed, values in bf16\n")
let clock = ContinuousClock()
var denseTime = Duration.zero
for (name, layout, mask) in choices {
    let stored = try WeightStore.make(weight, mask: mask, layout: layout, values: .bf16)
    let time = (0..<20).map { _ in clock.measure { _ = stored.applied(toRows: x) } }.sorted()[10]
    if mask == nil { denseTime = time }
    let megabytes = (Double(stored.byteCount) / 1e5).rounded() / 10
    let microseconds = Int((time / .microseconds(1)).rounded())
    let gain = (denseTime / time * 100).rounded() / 100
    print("\(name): \(megabytes) MB, \(microseconds) µs, \(gain) × dense")
}
