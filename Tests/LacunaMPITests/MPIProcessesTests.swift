import LacunaLearn
import LacunaMPI
import LacunaTensor
import Testing

@Suite struct MPIProcessesTests {
    @Test func withoutTheTraitItSaysSo() throws {
        if MPIProcesses.isBuilt { return }
        do {
            _ = try MPIProcesses.join()
            Issue.record("joined nothing")
        } catch LacunaError.unsupported(_, let what) {
            #expect(what.contains("--traits MPI"))
        }
    }

    /// A program that mpirun has not started is a process by itself.
    @Test(.enabled(if: MPIProcesses.isBuilt)) func aloneItIsOne() throws {
        let processes = try MPIProcesses.join()
        #expect(processes.rank == 0 && processes.count == 1)
        #expect(try MPIProcesses.join() === processes)
        #expect(try processes.exchange([[1, 2, 3]]) == [[1, 2, 3]])
        #expect(try processes.exchange([[]]) == [[]])
        #expect(try processes.sum([1.5, 2]) == [1.5, 2])
        try processes.barrier()
    }
}
