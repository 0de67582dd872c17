import BenchmarkHarness
import Testing

@Test func quantilesInterpolate() {
    let sample = [4.0, 1, 3, 2]
    #expect(Statistics.median(sample) == 2.5)
    #expect(Statistics.quantile(sample, 0) == 1)
    #expect(Statistics.quantile(sample, 1) == 4)
    #expect(Statistics.quantile(sample, 0.25) == 1.75)
    #expect(Statistics.median([7]) == 7)
}

@Test func spreadIgnoresOutliers() {
    #expect(Statistics.spread([1, 1, 1, 1, 1, 1, 1, 1, 100]) == 0)
    // Quartiles 1.75 and 3.25 around 2.5.
    #expect(abs(Statistics.spread([4, 1, 3, 2]) - 0.3) < 1e-12)
}

@Test func ratiosArePairedByRound() {
    // The machine is twice as slow in the last rounds. In each the candidate takes half the baseline's time, although
    // the ratio of the two medians is another.
    let baseline = Measurement(name: "a", work: Work(bytes: 100), seconds: [2, 2, 4, 4, 4])
    let candidate = Measurement(name: "b", work: Work(bytes: 50), seconds: [1, 1, 2, 2, 2])
    #expect(candidate.speed(against: baseline) == 2)
    #expect(candidate.bytesPerSecond == 25)
}
