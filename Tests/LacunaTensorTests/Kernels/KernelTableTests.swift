import CLacuna
import Foundation
import Testing

@Suite struct KernelTableTests {
    @Test func portableAlwaysExists() {
        #expect(supportedLevels.first == 0)
        for level in [-1, Int32(LK_LEVELS)] {
            #expect(lk_level(level) == nil && lk_level_name(level) == nil && lk_real_level(level, Int32(LK_F32)) == nil)
        }
        #expect(lk_real_level(0, -1) == nil && lk_real_level(0, Int32(LK_REALS)) == nil)
        #expect(lk_real_reference(-1) == nil && lk_real_reference(Int32(LK_REALS)) == nil)
    }

    @Test func namesAreDistinct() {
        let names = (0..<Int32(LK_LEVELS)).map { String(cString: lk_level_name($0)) }
        #expect(names == ["portable", "avx2", "avx512", "avx512vnni", "avx512bf16"])
    }

    @Test func bestIsSupported() {
        #expect(supportedLevels.contains(lk_best_level()))
        #expect(lk_best() == lk_level(lk_best_level()))
        for type in 0..<Int32(LK_REALS) { #expect(lk_real_best(type) == lk_real_level(lk_best_level(), type)) }
    }

    /// The addresses of the functions of a table.
    private func functions<Table>(_ table: Table) -> [UInt] {
        withUnsafeBytes(of: table) { Array($0.bindMemory(to: UInt.self)) }
    }

    /// Every level has a function of its own for every entry: a test of it does not compare the reference with itself.
    @Test(arguments: supportedLevels) func noLevelFallsBackToTheReference(level: Int32) {
        func check<Table>(_ table: Table, _ reference: Table) {
            let names = Mirror(reflecting: table).children.map { $0.label ?? "" }
            let (own, scalar) = (functions(table), functions(reference))
            #expect(names.count == own.count)
            for (i, name) in names.enumerated() {
                #expect(own[i] != 0 && scalar[i] != 0, "\(name) is missing")
                #expect(own[i] != scalar[i], "\(name) is the reference")
            }
        }
        check(kernels(level), reference)
        for type in 0..<Int32(LK_REALS) {
            check(lk_real_level(level, type)!.pointee, lk_real_reference(type)!.pointee)
        }
    }

    /// Every entry of every table is named by a test of kernels that runs at all levels: who adds one adds its test.
    @Test func everyEntryIsTested() throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        func sources(_ folder: String) throws -> String {
            let root = tests.appendingPathComponent(folder)
            let files = FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil)?.allObjects ?? []
            return try files.compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }
                .map { try String(contentsOf: $0, encoding: .utf8) }.filter {
                    $0.contains("lk_") || $0.contains("kernels(")
                }
                .joined(separator: "\n")
        }
        func isNamed(_ name: String, in source: String) -> Bool {
            var rest = source[...]
            while let found = rest.range(of: ".\(name)") {
                rest = rest[found.upperBound...]
                guard let next = rest.first, next.isLetter || next.isNumber || next == "_" else { return true }
            }
            return false
        }
        func check<Table>(_ table: Table, in source: String) {
            for child in Mirror(reflecting: table).children {
                #expect(isNamed(child.label ?? "", in: source), "\(child.label ?? "") is in no test of kernels")
            }
        }
        let kernelTests = try sources("LacunaTensorTests") + sources("LacunaSparseTests")
        check(reference, in: kernelTests)
        check(lk_real_reference(Int32(LK_F32))!.pointee, in: kernelTests)
        check(lk_training_f64()!.pointee, in: try sources("LacunaLearnTests"))
    }
}
