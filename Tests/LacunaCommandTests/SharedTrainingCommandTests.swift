import LacunaDictionary
import LacunaIO
import LacunaMPI
import LacunaTensor
import Testing

/// `mpirun -n 2 lacuna … --mpi` against one process.
@Suite(.serialized) struct SharedTrainingCommandTests {
    private static let hasProcesses =
        MPIProcesses.isBuilt && ChildProcess.find("mpirun", in: ChildProcess.searchPath) != nil

    private func train(_ tiny: TinyModel, _ output: String, _ more: [String]) -> [String] {
        [
            "explain", "train", tiny.path, "--layer", "1", "--text", tiny.text, "--context", "16", "--width", "64",
            "--k", "4", "--batch", "32", "--steps", "60", "--rule", "topk,batchtopk", "--checkpoint-every", "20",
            "--learning-rate", "0.003", "--threads", "1", "--output", output,
        ] + more
    }

    /// `mpirun` refuses to run as root, and more processes than cores, unless it is told; and processes that wait for each other keep
    /// a core that they share to themselves.
    private func run(_ count: Int, _ arguments: [String]) throws -> ChildProcess.Outcome {
        let executable = try #require(CommandLineTests.executable)
        return try ChildProcess(
            executable: #require(ChildProcess.find("mpirun", in: ChildProcess.searchPath)),
            arguments: ["-n", "\(count)", executable] + arguments,
            environment: [
                "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
                "OMPI_MCA_hwloc_base_binding_policy": "none", "OPENBLAS_NUM_THREADS": "1",
            ]
        ).run()
    }

    @Test(.enabled(if: hasProcesses)) func twoProcessesGiveWhatOneDoes() throws {
        let tiny = try TinyModel()
        let alone = try Program().run(train(tiny, tiny.root + "/alone", ["--quiet", "--json"]))
        #expect(alone.status == 0)
        let together = try run(2, train(tiny, tiny.root + "/together", ["--quiet", "--json", "--mpi"]))
        #expect(together.status == 0, "\(together)")
        // One result, from the first process.
        let result = try JSONValue(parsing: together.output)
        #expect(result["steps"]?.intValue == 60)
        for rule in ["topk", "batchtopk"] {
            let (a, b) = (
                try SparseAutoencoder.load("\(tiny.root)/alone/\(rule)"),
                try SparseAutoencoder.load("\(tiny.root)/together/\(rule)")
            )
            for (x, y) in zip(a.parameters, b.parameters) {
                #expect(zip(x.value.scalars, y.value.scalars).allSatisfy { abs($0 - $1) < 2e-3 }, "\(rule)")
            }
        }
        #expect(try FileSystem.list(tiny.root + "/together") == FileSystem.list(tiny.root + "/alone"))
        let again = try run(2, train(tiny, tiny.root + "/together", ["--quiet", "--mpi"]))
        #expect(again.status != 0 && again.errorOutput.contains("holds a run already"))
    }

    @Test(.enabled(if: !MPIProcesses.isBuilt)) func withoutMPIItSaysSo() throws {
        let tiny = try TinyModel()
        let outcome = try Program().run(train(tiny, tiny.root + "/out", ["--quiet", "--mpi"]))
        #expect(outcome.status != 0 && outcome.errorOutput.contains("--traits MPI"))
        #expect(!FileSystem.exists(tiny.root + "/out"))
    }
}
