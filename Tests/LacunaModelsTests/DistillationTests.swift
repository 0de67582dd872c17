import LacunaLearn
import LacunaModels
import LacunaTensor
import Testing

/// The loss of a student with a teacher against its formula, computed from logits and hidden states in double precision.
@Suite struct DistillationTests {
    private static func model(_ seed: UInt64, layers: Int = 2, vocabulary: Int = 300) throws -> Transformer {
        try Transformer(
            random: TransformerConfiguration(
                vocabularySize: vocabulary, hiddenSize: 16, intermediateSizes: Array(repeating: 24, count: layers),
                headCount: 2, keyValueHeadCount: 1, headSize: 8, maximumPositions: 200, tiedEmbeddings: true),
            seed: seed)
    }

    // More rows than are taken at once, some of which do not count.
    private static let ids: [Int32] = (0..<300).map { (i: Int) -> Int32 in Int32((i * 37 + i / 7) % 300) }
    private static let next: [Int32] = (0..<300).map { (i: Int) -> Int32 in
        i % 5 == 2 ? -1 : Int32((i * 11 + 3) % 300)
    }

    private func loss(_ teacher: Distillation, _ student: TrainableTransformer) throws -> Double {
        let tape = Tape<Float>()
        return Double(try teacher.loss(student, Self.ids, next: Self.next, batch: 2, on: tape).item)
    }

    private func logSoftmax(_ row: [Double]) -> [Double] {
        let most = row.max()!
        let sum = row.reduce(0) { $0 + exponential($1 - most) }
        return row.map { $0 - most - logarithm(sum) }
    }

    @Test func theLossIsItsFormula() throws {
        let (decoder, other) = (try Self.model(1), try Self.model(2))
        let student = try TrainableTransformer(decoder)
        let tape = Tape<Float>()
        let own = student.loss(Self.ids, next: Self.next, batch: 2, on: tape)
        #expect(abs(try loss(Distillation(from: other, weight: 0), student) - Double(own.item)) < 1e-5)
        // A teacher that is the student has nothing to say.
        #expect(abs(try loss(Distillation(from: decoder, weight: 1, features: 1), student)) < 1e-5)

        let (weight, temperature, features) = (0.3, 2.0, 0.7)
        let teacher = try Distillation(from: other, weight: weight, temperature: temperature, features: features)
        let (s, t) = try tape.evaluating {
            (
                student.blockStates(Self.ids, batch: 2, on: tape),
                try TrainableTransformer(other).blockStates(Self.ids, batch: 2, on: tape)
            )
        }
        let logits = tape.evaluating { student.logits(s.last!) }.value
        let taught = try tape.evaluating { try TrainableTransformer(other).logits(t.last!) }.value
        let counted = Self.next.indices.filter { Self.next[$0] >= 0 }
        var divergence = 0.0
        for row in counted {
            func scaled(_ x: Tensor<Float>) -> [Double] { (0..<300).map { Double(x[row, $0]) / temperature } }
            let (q, p) = (logSoftmax(scaled(logits)), logSoftmax(scaled(taught)))
            divergence += (0..<300).reduce(0) { $0 + exponential(p[$1]) * (p[$1] - q[$1]) }
        }
        divergence *= temperature * temperature / Double(counted.count)
        var distance = 0.0
        for (a, b) in zip(s.dropFirst(), t.dropFirst()) {
            let (a, b) = (a.value.scalars, b.value.scalars)
            let apart = zip(a, b).reduce(0.0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
            distance += apart / b.reduce(0.0) { $0 + Double($1 * $1) }
        }
        let expected = (1 - weight) * Double(own.item) + weight * divergence + features * distance
        #expect(abs(try loss(teacher, student) - expected) < 1e-4 * expected)
    }

    /// Rows behind the end of a text are not looked at: their states may be anything.
    @Test func paddingTeachesNothing() throws {
        let student = try TrainableTransformer(Self.model(1))
        let teacher = try Distillation(from: Self.model(2), weight: 0, features: 1)
        let next: [Int32] = (0..<300).map { (i: Int) -> Int32 in i % 150 > 99 || i % 5 == 2 ? -1 : Int32(i % 7) }
        let tape = Tape<Float>()
        func loss(_ ids: [Int32]) throws -> Float {
            try teacher.loss(student, ids, next: next, batch: 2, on: tape).item
        }
        var padded = Self.ids
        for i in padded.indices where i % 150 > 99 { padded[i] = 299 - padded[i] }
        #expect(abs(try loss(padded) - loss(Self.ids)) < 1e-5)
        var other = Self.ids
        other[99] = 299 - other[99]
        #expect(abs(try loss(other) - loss(Self.ids)) > 1e-4)
    }

    @Test func gradientsFollowTheLoss() throws {
        let student = try TrainableTransformer(Self.model(1))
        let teacher = try Distillation(from: Self.model(2), weight: 0.5, temperature: 1.5, features: 1)
        let tape = Tape<Float>()
        tape.backward(from: try teacher.loss(student, Self.ids, next: Self.next, batch: 2, on: tape))
        // Along its gradient the loss changes by the square of its norm.
        let gradients = student.parameters.map { $0.gradient! }
        let norm = gradients.reduce(0.0) { $0 + $1.scalars.reduce(0.0) { $0 + Double($1 * $1) } }
        func moved(by step: Float) throws -> Double {
            for (parameter, gradient) in zip(student.parameters, gradients) {
                parameter.value = Tensor(
                    zip(parameter.value.scalars, gradient.scalars).map { $0 + step * $1 }, shape: parameter.shape)
            }
            return try loss(teacher, student)
        }
        let step = Float(2e-2 / norm.squareRoot())
        let up = try moved(by: step)
        let down = try moved(by: -2 * step)
        #expect(abs((up - down) / (2 * Double(step)) - norm) < 0.02 * norm)
    }

    @Test func unlikeTeachersAreRefused() throws {
        let student = try TrainableTransformer(Self.model(1))
        #expect(throws: LacunaError.self) {
            try Distillation(from: Self.model(2, vocabulary: 299)).requireFit(student)
        }
        #expect(throws: LacunaError.self) {
            try Distillation(from: Self.model(2, layers: 1), features: 1).requireFit(student)
        }
        try Distillation(from: Self.model(2, layers: 1)).requireFit(student)
        for (weight, temperature, features) in [(-0.1, 1.0, 0.0), (1.1, 1, 0), (0.5, 0, 0), (0.5, 1, -1)] {
            #expect(throws: LacunaError.self) {
                try Distillation(from: Self.model(2), weight: weight, temperature: temperature, features: features)
            }
        }
    }
}
