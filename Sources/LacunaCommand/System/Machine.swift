import LacunaIO
import LacunaTensor

/// On what the numbers of a report were measured.
enum Machine {
    /// The processor's own name, as far as the system tells it.
    static var processor: String {
        #if canImport(Darwin)
            var size = 0
            sysctlbyname("machdep.cpu.brand_string", nil, &size, nil, 0)
            var name = [CChar](repeating: 0, count: max(size, 1))
            sysctlbyname("machdep.cpu.brand_string", &name, &size, nil, 0)
            return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        #else
            let lines = ((try? FileSystem.readText("/proc/cpuinfo")) ?? "").split(separator: "\n")
            let name = lines.first { $0.hasPrefix("model name") }?.split(separator: ":").last
            return name.map { String($0.drop { $0 == " " }) } ?? "unknown processor"
        #endif
    }

    static var description: String { "\(processor), \(Parallel.threads) threads" }
}
