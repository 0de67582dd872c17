import ArgumentParser
import LacunaTensor

@main
struct LacunaMain {
    static func main() {
        Interruption.install()
        exit(run(Array(CommandLine.arguments.dropFirst())).rawValue)
    }

    /// Parses and runs; prints help and errors; returns what the process ends with.
    static func run(_ arguments: [String]) -> ExitStatus {
        do {
            var command = try LacunaCommand.parseAsRoot(arguments)
            try command.run()
            return .success
        } catch let status as ExitStatus {
            // A command that has said everything already.
            return status
        } catch {
            return report(error)
        }
    }

    private static func report(_ error: any Error) -> ExitStatus {
        switch error {
        case LacunaError.cancelled:
            Console.error.print("lacuna: cancelled")
            return .cancelled
        case let error as LacunaError:
            complain(error.description)
        case let failure as CommandFailure:
            complain(failure.description)
        default:
            // From the argument parser: a request for help, or a mistake in the command line.
            let text = LacunaCommand.fullMessage(for: error)
            if LacunaCommand.exitCode(for: error).isSuccess {
                Console.output.print(text)
                return .success
            }
            let prefix = "Error: "
            complain(text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text)
            return .badInput
        }
        return ExitStatus(for: error)
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
            MODEL is a .gguf file, a Hugging Face directory, a directory that Lacuna wrote, or a name that \
            'lacuna data --list' shows, such as smollm2.

            Exit codes: 0 done; 1 a verdict or quality bar failed, or work could not be done; 2 bad usage or a bad \
            input file; 130 cancelled.
            """,
        version: "0.1.0",
        subcommands: [
            PruneCommand.self, EvalCommand.self, RunCommand.self, InspectCommand.self, SweepCommand.self,
            TrainCommand.self, FitCommand.self, DataCommand.self, MethodsCommand.self, ReproduceCommand.self,
            BenchCommand.self, DemoCommand.self,
        ])
}
