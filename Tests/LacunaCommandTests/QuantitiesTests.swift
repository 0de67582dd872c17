import Testing

@testable import LacunaCommand

@Suite struct QuantitiesTests {
    @Test(arguments: [
        (0.0, 2, "0.00"), (-0.001, 2, "0.00"), (-1.5, 1, "-1.5"), (29.602, 2, "29.60"), (0.999, 2, "1.00"),
        (12345.678, 0, "12346"), (.nan, 2, "nan"), (-.infinity, 1, "-inf"),
    ])
    func fixed(_ value: Double, _ digits: Int, _ expected: String) {
        #expect(Quantities.fixed(value, digits) == expected)
    }

    @Test(arguments: [
        (0.0, "0"), (123456.0, "123456"), (29.602, "29.60"), (0.00012345, "0.0001235"), (-2.5, "-2.500"),
        (1e-9, "1.000e-9"), (1.42040570184937e-15, "1.420e-15"), (-9.99996e-12, "-1.000e-11"), (2.5e18, "2.500e18"),
    ])
    func significant(_ value: Double, _ expected: String) {
        #expect(Quantities.significant(value) == expected)
    }

    @Test(arguments: [(999, "999 B"), (1000, "1.00 kB"), (98_362_432, "98.4 MB"), (999_600, "1.00 MB")])
    func bytes(_ count: Int, _ expected: String) {
        #expect(Quantities.bytes(count) == expected)
    }

    @Test(arguments: [(0.04, "0.0 s"), (12.4, "12 s"), (59.7, "1 min 0 s"), (3_700, "1 h 1 min")])
    func duration(_ seconds: Double, _ expected: String) {
        #expect(Quantities.duration(seconds) == expected)
    }

    @Test(arguments: [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")])
    func grouped(_ count: Int, _ expected: String) {
        #expect(Quantities.grouped(count) == expected)
    }
}
