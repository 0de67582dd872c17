import Foundation
import LacunaTensor

/// What the numbers were measured on.
public struct Machine: Sendable, Codable {
    public var processor: String
    public var threads: Int
    /// Bytes of the largest cache.
    public var cacheBytes: Int
    /// Vector instructions that Lacuna's kernels use.
    public var kernelLevel: String
    /// The dense library and the processor type it chose.
    public var denseLibrary: String
    public var system: String

    public init() {
        processor = Self.processorName() ?? "unknown processor"
        threads = Parallel.threads
        cacheBytes = Self.largestCache() ?? 32 << 20
        kernelLevel = Processor.kernelLevel
        denseLibrary = LinearAlgebra.libraryDescription
        system = ProcessInfo.processInfo.operatingSystemVersionString
    }

    /// Data of this size, read in turn, is not found in any cache.
    public var coldBytes: Int { min(max(3 * cacheBytes, 64 << 20), 1 << 30) }

    private static func processorName() -> String? {
        #if os(macOS)
            var size = 0
            guard sysctlbyname("machdep.cpu.brand_string", nil, &size, nil, 0) == 0 else { return nil }
            var name = [UInt8](repeating: 0, count: size)
            guard sysctlbyname("machdep.cpu.brand_string", &name, &size, nil, 0) == 0 else { return nil }
            return String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
        #else
            guard let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8) else { return nil }
            func field(_ name: String) -> String? {
                let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
                return line?.split(separator: ":").last?.trimmingCharacters(in: .whitespaces)
            }
            guard let name = field("model name") else { return field("CPU part") }
            guard let family = field("cpu family"), let model = field("model\t") else { return name }
            return "\(name) (family \(family), model \(model))"
        #endif
    }

    private static func largestCache() -> Int? {
        #if os(macOS)
            var bytes = 0
            var size = MemoryLayout<Int>.size
            return sysctlbyname("hw.l2cachesize", &bytes, &size, nil, 0) == 0 ? bytes : nil
        #else
            let sizes = (0..<8).compactMap { index -> Int? in
                let path = "/sys/devices/system/cpu/cpu0/cache/index\(index)/size"
                guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
                let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
                let unit = trimmed.hasSuffix("M") ? 1 << 20 : trimmed.hasSuffix("K") ? 1 << 10 : 1
                return Int(trimmed.trimmingCharacters(in: .letters)).map { $0 * unit }
            }
            return sizes.max()
        #endif
    }
}
