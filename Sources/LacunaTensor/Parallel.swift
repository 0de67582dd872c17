import CLacuna

/// Parallel loops on the package's one thread pool.
///
/// How work is cut into items never depends on the number of threads, so neither do results.
///
/// Bodies are called on several threads at once, and should write to parts of memory that are their item's alone. They are not
/// `@Sendable`: what they write through are pointers, which Swift holds to be unsendable whatever is done with them, so that the
/// attribute would have every loop say `nonisolated(unsafe)` and would check nothing.
public enum Parallel {
    /// Number of threads a loop may use, the caller included: at first the processors that this process may run on, by its
    /// affinity and by the quota of its control groups. Settable at any time between loops.
    ///
    /// Threads that the system stops in the midst of their work are left out of loops for a while.
    public static var threads: Int {
        get { Int(lk_pool_threads()) }
        set { lk_pool_set_threads(Int32(clamping: newValue)) }
    }

    /// Calls `body` once for each of `0..<items`, in no particular order, and returns when all have finished.
    ///
    /// Items are claimed one by one: make each worth at least 10 microseconds. A nested call runs serially.
    public static func forEach(_ items: Int, _ body: (Int) -> Void) {
        if items <= 1 {
            if items == 1 { body(0) }
            return
        }
        withoutActuallyEscaping(body) { escapable in
            var box = escapable
            withUnsafeMutablePointer(to: &box) { pointer in
                lk_pool_run(
                    items, { context, item in context!.assumingMemoryBound(to: ((Int) -> Void).self).pointee(item) },
                    pointer)
            }
        }
    }

    /// Cuts `0..<count` into ranges of `grain` (the last may be shorter) and calls `body` for each.
    public static func forRanges(_ count: Int, grain: Int, _ body: (Range<Int>) -> Void) {
        if count <= 0 { return }
        let grain = min(max(grain, 1), count)
        forEach((count - 1) / grain + 1) { item in
            let start = item * grain
            body(start..<start + min(grain, count - start))
        }
    }
}
