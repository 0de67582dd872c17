import CLacuna
import Testing

@Suite struct KernelTableTests {
    @Test func portableAlwaysExists() {
        #expect(supportedLevels.first == 0)
        #expect(lk_level(-1) == nil && lk_level(Int32(LK_LEVELS)) == nil)
        #expect(lk_level_name(-1) == nil && lk_level_name(Int32(LK_LEVELS)) == nil)
    }

    @Test func namesAreDistinct() {
        let names = (0..<Int32(LK_LEVELS)).map { String(cString: lk_level_name($0)) }
        #expect(names == ["portable", "avx2", "avx512", "avx512vnni", "avx512bf16"])
    }

    @Test func bestIsSupported() {
        #expect(supportedLevels.contains(lk_best_level()))
        #expect(lk_best() == lk_level(lk_best_level()))
    }
}
