import LacunaTensor
import Testing

/// Serialized, because the number of threads belongs to the whole process. Other suites may run at the same time: their
/// results must not care.
@Suite(.serialized) struct ParallelTests {
    /// Runs `body` with each number of threads, more than there are processors too.
    private func withThreads(_ counts: [Int], _ body: (Int) throws -> Void) rethrows {
        let before = Parallel.threads
        defer { Parallel.threads = before }
        for count in counts {
            Parallel.threads = count
            try body(count)
        }
    }

    @Test func everyItemRunsOnce() {
        withThreads([1, 2, 3, 8, 2, 5, 1, 4]) { threads in
            #expect(Parallel.threads == threads)
            for items in [0, 1, 2, 3, 7, 64, 1000] {
                let counts = Buffer<Int>(repeating: 0, count: items)
                Parallel.forEach(items) { counts.pointer[$0] += 1 }
                #expect(counts.elements.allSatisfy { $0 == 1 })
            }
        }
    }

    @Test func threadCountIsClamped() {
        withThreads([0, -5, .min]) { _ in #expect(Parallel.threads == 1) }
        withThreads([.max]) { _ in #expect(Parallel.threads >= 2 && Parallel.threads < 10_000) }
    }

    @Test func rangesCoverExactly() {
        for count in [0, 1, 5, 16, 17, 1000] {
            for grain in [-1, 0, 1, 2, 16, 17, 5000, Int.max] {
                let counts = Buffer<Int>(repeating: 0, count: count)
                Parallel.forRanges(count, grain: grain) { range in
                    precondition(!range.isEmpty && range.count <= max(grain, 1))
                    for i in range { counts.pointer[i] += 1 }
                }
                #expect(counts.elements.allSatisfy { $0 == 1 })
            }
        }
        Parallel.forRanges(-3, grain: 2) { _ in Issue.record("there is nothing to do") }
    }

    @Test func stress() {
        withThreads([4]) { _ in
            let counts = Buffer<Int>(repeating: 0, count: 8)
            for round in 0..<20_000 {
                let items = 2 + round % 7
                Parallel.forEach(items) { counts.pointer[$0] += 1 }
            }
            // Item i runs in the rounds that have more than i items.
            for item in 0..<8 {
                let expected = (0..<20_000).filter { 2 + $0 % 7 > item }.count
                #expect(counts.pointer[item] == expected)
            }
        }
    }

    @Test func nestedCallsRunSerially() {
        withThreads([4]) { _ in
            let counts = Buffer<Int>(repeating: 0, count: 16 * 16)
            for _ in 0..<200 {
                Parallel.forEach(16) { outer in
                    Parallel.forEach(16) { inner in counts.pointer[outer * 16 + inner] += 1 }
                }
            }
            #expect(counts.elements.allSatisfy { $0 == 200 })
        }
    }

    @Test func concurrentCallersAndAChangingNumberOfThreads() async {
        let before = Parallel.threads
        await withTaskGroup(of: Bool.self) { group in
            for task in 0..<6 {
                group.addTask {
                    let counts = Buffer<Int>(repeating: 0, count: 32)
                    for round in 0..<1000 {
                        if task == 0 { Parallel.threads = 1 + round % 6 }
                        Parallel.forEach(32) { counts.pointer[$0] += 1 }
                    }
                    return counts.elements.allSatisfy { $0 == 1000 }
                }
            }
            for await correct in group { #expect(correct) }
        }
        Parallel.threads = before
    }

    @Test func productsDoNotDependOnThreads() {
        var generator = SeededGenerator(seed: 1)
        let a = Tensor<Float>(normal: [300, 170], using: &generator)
        let b = Tensor<Float>(normal: [170, 210], using: &generator)
        var results: [Tensor<Float>] = []
        var grams: [Tensor<Float>] = []
        withThreads([1, 2, 3, 7]) { _ in
            results.append(a.multiplied(by: b))
            var gram = Tensor<Float>(zeros: [170, 170])
            gram.withMutablePointer { c in
                a.withPointer { LinearAlgebra.accumulateGram($0, rows: 300, columns: 170, into: c) }
            }
            grams.append(gram)
        }
        #expect(results.allSatisfy { $0 == results[0] } && grams.allSatisfy { $0 == grams[0] })
    }
}
