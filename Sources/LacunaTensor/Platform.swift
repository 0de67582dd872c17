// The platform's C library under one name, so that no other file needs conditional imports for a logarithm. For this package alone:
// who imports the library has Foundation, or whatever else they chose, for these.
#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

@inlinable package func logarithm(_ x: Double) -> Double { log(x) }
/// `log(1 + x)`, also where `x` is tiny.
@inlinable package func logarithmOfOnePlus(_ x: Double) -> Double { log1p(x) }
@inlinable package func exponential(_ x: Double) -> Double { exp(x) }
@inlinable package func power(_ x: Double, _ y: Double) -> Double { pow(x, y) }
@inlinable package func sine(_ x: Double) -> Double { sin(x) }
@inlinable package func cosine(_ x: Double) -> Double { cos(x) }
@inlinable package func arcCosine(_ x: Double) -> Double { acos(x) }
/// `erfc(x) = 1 - erf(x)`, without cancellation.
@inlinable package func complementaryError(_ x: Double) -> Double { erfc(x) }

/// Seconds on a clock that never goes backwards.
package func monotonicSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// The largest resident memory of this process so far, in bytes.
package func peakResidentBytes() -> Int {
    var usage = rusage()
    #if os(Linux)
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss * 1024
    #else
        getrusage(RUSAGE_SELF, &usage)
        return usage.ru_maxrss
    #endif
}
