import ArgumentParser
import LacunaIO
import LacunaTensor

@main
struct LacunaMain {
    static func main() {
        Interruption.install()
        // Nothing that was begun can go on, but it can end in order.
        MachineMemory.whenExhausted { bytes in
            complain("memory: \(Quantities.bytes(bytes)) more are needed than the system gives")
            TemporaryFiles.removeAll()
            _exit(ExitStatus.failure.rawValue)
        }
        let status = run(Array(CommandLine.arguments.dropFirst()))
        exit(status == .cancelled ? 128 + (Interruption.signalNumber ?? SIGINT) : status.rawValue)
    }

    /// Parses and runs; prints help and errors; returns what the process ends with.
    static func run(_ arguments: [String]) -> ExitStatus {
        do {
            var command = try LacunaCommand.parseAsRoot(arguments)
            try command.run()
            if let reason = Console.outputFailure {
                complain("standard output: not all results could be written: \(reason)")
                return .failure
            }
            return .success
        } catch let status as ExitStatus {
            // A command that has said everything already.
            return status
        } catch {
            return report(error, arguments)
        }
    }

    private static func report(_ error: any Error, _ arguments: [String]) -> ExitStatus {
        switch error {
        case LacunaError.cancelled:
            Console.error.print("lacuna: cancelled")
            return .cancelled
        case let error as LacunaError:
            complain(error.description)
        case let failure as CommandFailure:
            complain(failure.description)
        case let failure as FetchFailure:
            complain(failure.description)
        default:
            // From the argument parser: a request for help, or a mistake in the command line.
            let text = LacunaCommand.fullMessage(for: error)
            if LacunaCommand.exitCode(for: error).isSuccess {
                Console.output.print(text)
                return .success
            }
            let prefix = "Error: "
            complain(
                (unknownCommand(arguments).map { $0 + "\n" } ?? "")
                    + (text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text))
            return .badInput
        }
        return ExitStatus(for: error)
    }

    /// What to say of a word where a command is expected, if it is none.
    static func unknownCommand(_ arguments: [String]) -> String? {
        var command: any ParsableCommand.Type = LacunaCommand.self
        for argument in arguments where !argument.hasPrefix("-") {
            let children = command.configuration.subcommands
            guard !children.isEmpty else { return nil }
            guard let next = children.first(where: { $0._commandName == argument }) else {
                let names = children.map { $0._commandName } + ["help"]
                if argument == "help" { return nil }
                return "there is no command '\(argument)'" + Suggestion.phrase(argument, among: names)
            }
            command = next
        }
        return nil
    }

    private static func complain(_ message: String) {
        Console.error.print(Console.error.styled("lacuna: error:", .red) + " " + message)
    }
}

struct LacunaCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lacuna",
        abstract: "Sparsity for machine learning: prune and run models, train sparse ones, fit sparse ones to tables.",
        discussion: """
            MODEL is a .gguf file, a Hugging Face directory, a directory that Lacuna wrote, a name that \
            'lacuna data --list' shows, such as smollm2, or hf:ORG/NAME on the Hugging Face hub (hf:ORG/NAME@REVISION, \
            hf:ORG/NAME:FILE.gguf), which is fetched into the cache.

            A file called - is standard input or standard output.

            Exit codes: 0 done; 1 a verdict or quality bar failed, or work could not be done (a full disk, too little \
            memory); 2 bad usage or a bad input file; 130 cancelled by Ctrl-C.
            """,
        version: "0.1.0",
        subcommands: [
            CompressCommand.self, PruneCommand.self, EvalCommand.self, RunCommand.self, ServeCommand.self,
            CalibrateCommand.self,
            InspectCommand.self,
            SweepCommand.self,
            TrainCommand.self, FitCommand.self, DataCommand.self, MethodsCommand.self, ReproduceCommand.self,
            BenchCommand.self, DemoCommand.self, ExplainCommand.self,
            EncodeCommand.self, IndexCommand.self, SearchCommand.self, FuseCommand.self, EvaluateCommand.self,
        ])
}
