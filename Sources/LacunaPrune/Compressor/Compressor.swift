import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Compresses a language model and heals it: chooses how to prune it, prunes, trains what is left on what the dense model gives and
/// predicts, rounds it, and measures every step.
///
/// ```swift
/// import Lacuna
///
/// let model = try LanguageModel.load("smollm2")
/// let text = try CompressionText(files: ["general.txt"], evaluation: "test.txt", tokenizer: model.tokenizer, limit: 8192)
/// let plan = try CompressionPlan(target: "50%", values: .int4, healing: "20min")
/// let compressor = Compressor(plan, text: text)
/// compressor.speed = { try Throughput.measure($0).map(\.decodeTokensPerSecond) }
/// let (small, report) = try compressor.compress(model.decoder)
/// try small.save(to: "small", tokenizer: model.tokenizer)
/// print(report.steps.map { ($0.stage, $0.fidelity.perplexity, $0.bytesPerToken) })
/// ```
///
/// With a directory every step is kept there as soon as it is done, with checkpoints within the long ones, so that a run that was
/// stopped at any moment goes on and ends in the same numbers. Given steps, the result depends on plan, texts and model alone; a time
/// only decides how many steps there will be, which is kept as well.
public final class Compressor {
    /// What is to be done.
    public let plan: CompressionPlan
    /// What is learned from, chosen by and measured on.
    public let text: CompressionText
    /// Where the run is kept; nil for nowhere.
    public let directory: String?
    /// Written with the result; see ``compress(_:resumes:progress:)``.
    public var tokenizer: Tokenizer?
    /// Measures how many tokens each of some models writes in a second; nil to leave that out.
    public var speed: ((_ models: [Transformer]) throws -> [Double])?

    /// The folder of a run's directory that gets the compressed model.
    public static let modelFolder = "model"
    /// The file of a run's directory that says how far it is: ``CompressionReport/json``.
    public static let reportName = "compression.json"

    /// A compression that has yet to be run.
    ///
    /// - Parameter directory: Where steps are kept while they are worked on and where the result goes; made if it is not there.
    public init(_ plan: CompressionPlan, text: CompressionText, directory: String? = nil) {
        (self.plan, self.text, self.directory) = (plan, text, directory)
    }

    /// The report of a run in a directory, finished or not; nil if there is none.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)``.
    public static func report(in directory: String) throws -> CompressionReport? {
        let path = FileSystem.join(directory, reportName)
        return FileSystem.exists(path) ? try CompressionReport(JSONFields(contentsOf: path)) : nil
    }

    /// Does everything that is left to do.
    ///
    /// With a directory, the result is written to its folder ``modelFolder``, whole or not at all, and what was kept on the way is
    /// removed.
    ///
    /// - Parameters:
    ///   - dense: Stays as it is.
    ///   - resumes: Go on with the run in the directory.
    /// - Returns: The compressed model in the form in which it is stored, and what was done.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a plan or texts that do not fit the model, and for going on with
    ///   another plan, text or model than a run began with; ``LacunaError/resource(_:needed:available:)`` for a machine with too
    ///   little memory or disk; what pruning, training, measuring and saving throw; ``LacunaError/cancelled``.
    public func compress(
        _ dense: Transformer, resumes: Bool = false, progress: (any ProgressReporter)? = nil
    ) throws -> (decoder: Transformer, report: CompressionReport) {
        try plan.validate()
        if !resumes, let directory, try Self.report(in: directory) != nil {
            throw LacunaError.file(path: directory, reason: "holds a run already, which can be gone on with")
        }
        // Values, gradients and two moments of a student, and masks.
        try MachineMemory.require(shape: [dense.parameterCount, 5], of: Float.self, for: "compressing the model")
        if let directory {
            // A checkpoint is written beside the one that it replaces: values, two moments and a mask each.
            let bytes = 2 * 13 * dense.parameterCount
            if let available = FileSystem.availableSpace(directory), available < bytes {
                throw LacunaError.resource("\(directory): room on the disk", needed: bytes, available: available)
            }
        }
        // A text that is too short is found out before anything is kept.
        let calibration = try calibration(plan.sequences, for: dense)
        let evaluation = try PredictionReference(
            dense, tokens: Array(text.evaluation.prefix(plan.evaluationTokens)), progress: progress)
        var run = CompressionRun(plan: plan, text: text, directory: directory, dense: try based(dense))
        let itself = try evaluation.compare(dense, progress: progress)
        if resumes { try run.resume(dense: itself) }
        if run.report.isFinished, let directory {
            // It may have been stopped before what was kept on the way was removed.
            try run.finish()
            return (try Transformer.load(FileSystem.join(directory, Self.modelFolder)), run.report)
        }
        if run.report[.dense] == nil { try run.add(.dense, dense, itself, tokens: 0, seconds: 0) }

        let rounds = plan.values.isInteger
        func take(
            _ stage: CompressionStage, tokens: Int = 0, _ body: (Transformer) throws -> Transformer
        ) throws {
            if run.report[stage] != nil { return }
            let begin = monotonicSeconds()
            let made = try body(run.current())
            let result = try run.keep(made, as: stage)
            let seconds = monotonicSeconds() - begin
            let form = try stored(result, rounded: rounds && !stage.precedesRounding)
            let fidelity = try evaluation.compare(form, progress: progress)
            try run.add(stage, form, fidelity, tokens: tokens, seconds: seconds)
        }

        try choose(dense, &run, progress)
        try take(.pruned) { decoder in
            guard let chosen = run.report.chosen else { return decoder }
            return try pruner(chosen.method, chosen.budget, run.report.searchedSparsities, of: dense).prune(
                decoder, calibration: calibration, progress: progress
            ).decoder
        }
        var blocks = plan.reconstruction
        blocks.steps = try blockSteps(&run, dense, progress)
        if blocks.steps > 0 {
            try take(.reconstructed, tokens: blocks.steps * blocks.batch * calibration.sequenceLength) { decoder in
                var result = decoder
                try blocks.run(
                    &result, toward: dense, calibration: calibration, seed: plan.seed, progress: progress)
                return result
            }
        }
        // Rounding costs as much as minutes of training gain, so all training end to end goes through it.
        let values = rounds ? plan.values : nil
        if rounds { try take(.rounded) { $0 } }
        let steps = try healingSteps(&run, dense, values, progress)
        func heal(_ decoder: Transformer, values: ValueType?, folder: String) throws -> Transformer {
            try plan.healing.run(
                decoder, teacher: dense, tokens: text.training, steps: steps, values: values, seed: plan.seed,
                place: run.place(folder, resumes: resumes), progress: progress)
        }
        if steps > 0 {
            try take(.healed, tokens: steps * plan.healing.tokensPerStep) {
                try heal($0, values: values, folder: "healing")
            }
        }
        if plan.control, run.report.control == nil {
            // With the teacher's predictions alone, the gradient is 0 where the two models are the same.
            let healed =
                plan.healing.teacherWeight == 1
                ? itself
                : try evaluation.compare(
                    heal(try based(dense), values: nil, folder: "control"), progress: progress)
            run.report.control = healed
            try run.save()
        }
        let result = try stored(run.current(), rounded: rounds)
        try measureSpeed(dense, result, &run)
        if let directory {
            try result.save(
                to: FileSystem.join(directory, Self.modelFolder), tokenizer: tokenizer, overwrite: true,
                progress: progress)
        }
        try run.finish()
        return (result, run.report)
    }

    // MARK: Parts

    /// The dense model with the head that is asked for.
    private func based(_ dense: Transformer) throws -> Transformer {
        guard let head = plan.head else { return dense }
        var result = dense
        func rounded(_ matrix: any StoredMatrix) throws -> any StoredMatrix {
            try WeightStore.make(matrix.densified(), layout: .dense, values: head)
        }
        result.embedding = try rounded(dense.embedding)
        result.untiedHead = try dense.untiedHead.map(rounded)
        return result
    }

    func calibration(_ sequences: Int, for dense: Transformer) throws -> CalibrationSet {
        try CalibrationSet(
            text: text.training, sequences: sequences,
            length: min(plan.sequenceLength, dense.configuration.maximumPositions), seed: plan.seed)
    }

    /// The model as it would be shipped: its linear layers in the layout that suits the pattern.
    private func stored(_ decoder: Transformer, rounded: Bool) throws -> Transformer {
        let values: ValueType = rounded || !plan.values.isInteger ? plan.values : .bf16
        let pattern: Pattern = if case .pattern(let pattern) = plan.target { pattern } else { .unstructured(.layer) }
        let storage = PrunedStorage(values: values)
        return try decoder.sparsified { _, matrix in
            // A layer that was never touched is as the dense model has it.
            guard matrix.format.values == .f32 else { return nil }
            let weight = matrix.densified()
            let isWhole = matrix.storedCount == matrix.rows * matrix.columns
            let mask =
                isWhole
                ? SparsePattern(rows: matrix.rows, columns: matrix.columns, keepingAll: true)
                : SparsePattern(nonzerosOf: weight)
            return try WeightStore.make(weight, mask: mask, layout: storage.layout(for: pattern, mask), values: values)
        }
    }

    /// How many steps there will be of every block: of a time given, no more than what takes three tenths.
    private func blockSteps(
        _ run: inout CompressionRun, _ dense: Transformer, _ progress: (any ProgressReporter)?
    ) throws -> Int {
        if let decided = run.report.blockSteps { return decided }
        var steps = plan.reconstruction.steps
        if case .seconds(let seconds) = plan.effort, steps > 0 {
            try progress.report("timing a step", 0, of: 1)
            let step = try plan.reconstruction.secondsPerStep(
                run.current(), toward: dense,
                calibration: calibration(min(plan.reconstruction.batch, plan.sequences), for: dense))
            steps = min(steps, Int(0.3 * seconds / max(Double(dense.blocks.count) * step, 1e-6)))
        }
        run.report.blockSteps = steps
        try run.save()
        return steps
    }

    /// How many steps there will be end to end.
    private func healingSteps(
        _ run: inout CompressionRun, _ dense: Transformer, _ values: ValueType?, _ progress: (any ProgressReporter)?
    ) throws -> Int {
        if let decided = run.report.healingSteps { return decided }
        let steps: Int
        switch plan.effort {
        case .steps(let count): steps = count
        case .seconds(let seconds):
            let rest = seconds - (run.report[.reconstructed]?.seconds ?? 0)
            if rest <= 0 {
                steps = 0
            } else {
                try progress.report("timing a step", 0, of: 1)
                let step = try plan.healing.secondsPerStep(
                    run.current(), teacher: dense, tokens: text.training, values: values)
                steps = Int(rest / max(step, 1e-6))
            }
        }
        run.report.healingSteps = steps
        try run.save()
        return steps
    }

    private func measureSpeed(_ dense: Transformer, _ result: Transformer, _ run: inout CompressionRun) throws {
        guard let speed, run.report[.dense]?.tokensPerSecond == nil else { return }
        var models = [dense, result]
        let hasFloats = plan.values.isInteger && run.report[.pruned] != nil
        if hasFloats { models.append(try stored(run.current(), rounded: false)) }
        let speeds = try speed(models)
        guard speeds.count == models.count else {
            throw LacunaError.invalidArgument("speed", reason: "\(speeds.count) numbers for \(models.count) models")
        }
        // What a step reads is decided by layout and type of values, not by the numbers.
        for index in run.report.steps.indices {
            let stage = run.report.steps[index].stage
            run.report.steps[index].tokensPerSecond =
                stage == .dense ? speeds[0] : hasFloats && stage.precedesRounding ? speeds[2] : speeds[1]
        }
        try run.save()
    }
}

/// What a run has done, in memory and on disk.
struct CompressionRun {
    var report: CompressionReport
    let directory: String?
    /// The last step's model; nil if it has to be read.
    private var decoder: Transformer?

    init(plan: CompressionPlan, text: CompressionText, directory: String?, dense: Transformer) {
        report = CompressionReport(plan: plan, text: text.fingerprint)
        (self.directory, decoder) = (directory, dense)
    }

    private func folder(_ name: String) -> String? {
        directory.map { FileSystem.join(FileSystem.join($0, "work"), name) }
    }

    /// Where a long step leaves its checkpoints.
    func place(_ name: String, resumes: Bool) -> Healing.Place {
        Healing.Place(directory: folder(name), resumes: resumes)
    }

    /// Takes up the run in the directory.
    mutating func resume(dense: Fidelity) throws {
        guard let directory, let found = try Compressor.report(in: directory) else { return }
        func other(_ what: String) -> LacunaError {
            .invalidArgument("resume", reason: "the run in \(directory) was begun with another \(what)")
        }
        guard found.plan == report.plan else { throw other("plan") }
        guard found.text == report.text else { throw other("text") }
        if let before = found[.dense], before.fidelity != dense { throw other("model") }
        report = found
        if let last = found.steps.last, last.stage != .dense { decoder = nil }
    }

    /// The model of the last step.
    mutating func current() throws -> Transformer {
        if let decoder { return decoder }
        guard let last = report.steps.last, let path = folder(last.stage.rawValue) else {
            throw LacunaError.file(path: directory ?? "", reason: "holds no step of a compression")
        }
        let loaded = try Transformer.load(path)
        decoder = loaded
        return loaded
    }

    /// Keeps the model of a step. What comes back is what a resumed run would read.
    mutating func keep(_ model: Transformer, as stage: CompressionStage) throws -> Transformer {
        decoder = model
        guard let path = folder(stage.rawValue) else { return model }
        try model.save(to: path, overwrite: true)
        decoder = nil
        let loaded = try Transformer.load(path)
        decoder = loaded
        return loaded
    }

    mutating func add(
        _ stage: CompressionStage, _ form: Transformer, _ fidelity: Fidelity, tokens: Int, seconds: Double
    ) throws {
        let before = report.steps.last?.stage
        report.steps.append(
            CompressionReport.Step(
                stage: stage, fidelity: fidelity, sparsity: form.linearSparsity, weightBytes: form.weightBytes,
                bytesPerToken: form.bytesTouchedPerToken(), trainedTokens: tokens, seconds: seconds))
        try save()
        // What the step began with, and its checkpoints, are needed no more.
        if let before, let path = folder(before.rawValue), FileSystem.exists(path) { try FileSystem.remove(path) }
        if let path = folder("healing"), FileSystem.exists(path) { try FileSystem.remove(path) }
    }

    mutating func save() throws {
        report.peakBytes = max(report.peakBytes, peakResidentBytes())
        guard let directory else { return }
        try FileSystem.createDirectory(directory)
        try AtomicFile.write(
            report.json.serialized(.pretty) + "\n", to: FileSystem.join(directory, Compressor.reportName))
    }

    /// Removes what was kept on the way.
    mutating func finish() throws {
        report.isFinished = true
        try save()
        guard let directory else { return }
        let work = FileSystem.join(directory, "work")
        if FileSystem.exists(work) { try FileSystem.remove(work) }
    }
}
