import CLacuna

/// What the kernels run on, for reports and benchmarks.
public enum Processor {
    /// The level of vector instructions that the kernels use: "portable", "avx2", "avx512", "avx512vnni" or
    /// "avx512bf16". It is the highest that this processor has, unless the environment variable `LACUNA_SIMD` names a lower one.
    public static var kernelLevel: String { String(cString: lk_level_name(lk_best_level())) }
}
