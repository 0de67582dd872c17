import LacunaTensor

/// Builds ``SeismicLists``: prunes the lists, cuts them into blocks and sums the blocks up.
///
/// Lists are worked on in parallel, some hundred at a time, so that what is in the making takes little memory. A list's
/// centres are drawn from a generator of its own: the result does not depend on the number of threads.
struct SeismicBuilder {
    let vectors: DocumentVectors
    let lists: PostingLists
    let settings: SeismicSettings

    /// A list in the making.
    private struct List: Sendable {
        var blockSizes: [Int] = []
        var documents: [UInt32] = []
        var steps: [Float] = []
        var summaryTerms: [UInt32] = []
        var entryCounts: [Int] = []
        var entryBlocks: [UInt32] = []
        var entryCodes: [UInt8] = []
    }

    func build(progress: (any ProgressReporter)?) throws -> SeismicLists {
        try settings.check()
        let cutoffs = try Cutoffs(lists, settings.pruning)
        let largest: LargestComponents? =
            if case .clusters(_, let components, _) = settings.blocking {
                LargestComponents(vectors, count: components)
            } else { nil }
        let terms = lists.termCount
        var listBlocks = [0]
        var listTerms = [0]
        listBlocks.reserveCapacity(terms + 1)
        listTerms.reserveCapacity(terms + 1)
        var (blockStarts, entryStarts) = ([0], [0])
        var (documents, summaryTerms, entryBlocks): ([UInt32], [UInt32], [UInt32]) = ([], [], [])
        var steps: [Float] = []
        var entryCodes: [UInt8] = []
        let idle = Locked<[BlockScratch]>([])
        let atOnce = 512
        for first in stride(from: 0, to: terms, by: atOnce) {
            try progress.report("building blocks", first, of: terms)
            let count = min(atOnce, terms - first)
            let made = Locked([List?](repeating: nil, count: count))
            Parallel.forRanges(count, grain: 4) { range in
                let scratch = idle.withLock { $0.popLast() } ?? BlockScratch(termCount: terms)
                for i in range {
                    let list = build(first + i, cutoffs, largest, scratch)
                    made.withLock { $0[i] = list }
                }
                idle.withLock { $0.append(scratch) }
            }
            for list in made.withLock({ $0 }).map({ $0! }) {
                for size in list.blockSizes { blockStarts.append(blockStarts.last! + size) }
                for count in list.entryCounts { entryStarts.append(entryStarts.last! + count) }
                documents += list.documents
                steps += list.steps
                summaryTerms += list.summaryTerms
                entryBlocks += list.entryBlocks
                entryCodes += list.entryCodes
                listBlocks.append(blockStarts.count - 1)
                listTerms.append(summaryTerms.count)
            }
        }
        try progress.report("building blocks", terms, of: terms)
        return SeismicLists(
            listBlocks: MappedArray(listBlocks), blockStarts: MappedArray(blockStarts),
            documents: MappedArray(documents), steps: MappedArray(steps), listTerms: MappedArray(listTerms),
            summaryTerms: MappedArray(summaryTerms), entryStarts: MappedArray(entryStarts),
            entryBlocks: MappedArray(entryBlocks), entryCodes: MappedArray(entryCodes))
    }

    private func build(
        _ term: Int, _ cutoffs: Cutoffs, _ largest: LargestComponents?, _ scratch: BlockScratch
    ) -> List {
        let kept = cutoffs.kept(term, lists)
        if kept.isEmpty { return List() }
        var blocks: [[UInt32]] = []
        switch settings.blocking {
        case .fixed(let size):
            for start in stride(from: 0, to: kept.count, by: size) {
                blocks.append(Array(kept[start..<min(start + size, kept.count)]))
            }
        case .clusters(let ratio, _, let smallest):
            blocks = Clustering(vectors: vectors, largest: largest!).clusters(
                of: kept, centres: max(1, Int(ratio * Double(kept.count))), smallest: smallest,
                generator: SeededGenerator(seed: settings.seed, stream: UInt64(term)), scratch: scratch)
        }
        var list = List()
        // Term, block and code of all summaries' entries.
        var entries: [(key: UInt64, code: UInt8)] = []
        for (index, block) in blocks.enumerated() {
            list.blockSizes.append(block.count)
            // Neighbours in memory are scored one after the other.
            list.documents += block.sorted()
            let summary = scratch.summary(of: block, vectors, energy: settings.summaryEnergy)
            list.steps.append(summary.step)
            for (term, code) in summary.entries { entries.append((UInt64(term) << 32 | UInt64(index), code)) }
        }
        entries.sort { $0.key < $1.key }
        for (key, code) in entries {
            let term = UInt32(key >> 32)
            if list.summaryTerms.last != term {
                list.summaryTerms.append(term)
                list.entryCounts.append(0)
            }
            list.entryCounts[list.entryCounts.count - 1] += 1
            list.entryBlocks.append(UInt32(truncatingIfNeeded: key))
            list.entryCodes.append(code)
        }
        return list
    }
}

/// Which postings of each list are kept.
private struct Cutoffs {
    /// The largest number of postings of one list.
    let longest: Int
    /// The least weight; of those that just have it, all are kept.
    let least: Float

    init(_ lists: PostingLists, _ pruning: SeismicSettings.Pruning) throws {
        switch pruning {
        case .list(let count): (longest, least) = (count, 0)
        case .global(let count, let cap):
            longest = Int(min(cap * Double(count), Double(Int.max / 2)))
            let (budget, overflow) = count.multipliedReportingOverflow(by: lists.termCount)
            guard !overflow, budget < lists.weights.count else {
                least = 0
                return
            }
            // The budget-th largest weight, by halving the bits of positive floats, whose order is that of integers.
            let weights = lists.weights
            var (low, high): (UInt32, UInt32) = (0, Float.infinity.bitPattern)
            while high - low > 1 {
                let middle = low + (high - low) / 2
                let bar = Float(bitPattern: middle)
                if weights.elements.count(where: { $0 >= bar }) >= budget { low = middle } else { high = middle }
            }
            least = Float(bitPattern: low)
        }
    }

    /// The kept documents of a term's list, by descending weight, of equal weights the lower number first.
    func kept(_ term: Int, _ lists: PostingLists) -> [UInt32] {
        let range = lists.starts[term]..<lists.starts[term + 1]
        var postings: [(weight: Float, document: UInt32)] = []
        for i in range where lists.weights[i] >= least { postings.append((lists.weights[i], lists.documents[i])) }
        postings.sort { $0.weight != $1.weight ? $0.weight > $1.weight : $0.document < $1.document }
        return postings.prefix(longest).map(\.document)
    }
}

/// The terms of the largest weights of every document.
struct LargestComponents: Sendable {
    let starts: [Int]
    let terms: [UInt32]
    let weights: [Float]

    init(_ vectors: DocumentVectors, count: Int) {
        let documents = vectors.documentCount
        var starts = [0]
        starts.reserveCapacity(documents + 1)
        for document in 0..<documents {
            starts.append(starts[document] + min(count, vectors.starts[document + 1] - vectors.starts[document]))
        }
        let terms = Buffer<UInt32>(uninitialized: starts[documents])
        let weights = Buffer<Float>(uninitialized: starts[documents])
        Parallel.forRanges(documents, grain: 512) { range in
            var entries: [(term: Int, weight: Float)] = []
            for document in range {
                entries.removeAll(keepingCapacity: true)
                vectors.forEachEntry(of: document) { entries.append(($0, $1)) }
                entries.sort { $0.weight != $1.weight ? $0.weight > $1.weight : $0.term < $1.term }
                for (i, place) in (starts[document]..<starts[document + 1]).enumerated() {
                    terms.pointer[place] = UInt32(truncatingIfNeeded: entries[i].term)
                    weights.pointer[place] = entries[i].weight
                }
            }
        }
        (self.starts, self.terms, self.weights) = (starts, terms.array, weights.array)
    }
}
