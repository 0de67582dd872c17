import CLacuna

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// What the kernels run on, for reports and benchmarks.
public enum Processor {
    /// The level of vector instructions that the kernels use: "portable", "avx2", "avx512", "avx512vnni" or
    /// "avx512bf16". It is the highest that this processor has, unless the environment variable `LACUNA_SIMD` names a lower one.
    public static var kernelLevel: String { String(cString: lk_level_name(lk_best_level())) }

    /// What the system calls the processor, with family and model where it gives them: names of virtual processors may be the
    /// same where these are not.
    public static let name: String = systemName() ?? "unknown processor"

    /// ``name`` and ``kernelLevel``: what tells machines apart whose measurements differ.
    public static let description = "\(name), \(kernelLevel)"

    private static func systemName() -> String? {
        var text = [UInt8](repeating: 0, count: 512)
        func string(_ bytes: some Sequence<UInt8>) -> String { String(decoding: Array(bytes), as: UTF8.self) }
        #if canImport(Darwin)
            var size = 511
            guard sysctlbyname("machdep.cpu.brand_string", &text, &size, nil, 0) == 0 else { return nil }
            return string(text.prefix { $0 != 0 })
        #else
            guard let file = fopen("/proc/cpuinfo", "r") else { return nil }
            defer { fclose(file) }
            // The first processor's lines, which end with an empty one.
            var found: [String: String] = [:]
            while true {
                let isRead = text.withUnsafeMutableBytes {
                    fgets($0.baseAddress!.assumingMemoryBound(to: CChar.self), 512, file) != nil
                }
                let parts = text.prefix { $0 != 0 && $0 != UInt8(ascii: "\n") }.split(
                    separator: UInt8(ascii: ":"), maxSplits: 1)
                if !isRead || parts.count < 2 { break }
                found[string(parts[0].prefix { $0 != UInt8(ascii: "\t") })] = string(
                    parts[1].drop { $0 == UInt8(ascii: " ") })
            }
            let numbers = [("family", found["cpu family"]), ("model", found["model"])]
                .compactMap { word, value in value.map { "\(word) \($0)" } }.joined(separator: ", ")
            guard let name = found["model name"] else { return numbers.isEmpty ? nil : numbers }
            return numbers.isEmpty ? name : "\(name) (\(numbers))"
        #endif
    }
}
