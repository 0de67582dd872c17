import LacunaModels

extension ActivationMethod {
    /// Leaves out inputs of small magnitude, in all seven matrices of a block: `y = Σ_{|x_i| > t} W[:, i] x_i`, with a threshold t
    /// for each matrix from the quantiles of its inputs on a calibration text.
    ///
    /// James Liu, Pragaash Ponnusamy, Tianle Cai, Han Guo, Yoon Kim, Ben Athiwaratkun, "Training-Free Activation Sparsity in
    /// Large Language Models", arXiv 2408.14690.
    public static let teal = ActivationMethod(
        name: "teal", target: .inputs, score: .magnitude, choice: .threshold,
        card: MethodCard(
            name: "teal", family: .activation,
            paper: .init(
                authors: "James Liu et al.", title: "Training-Free Activation Sparsity in Large Language Models",
                arXiv: "2408.14690"),
            composition: ["input magnitude", "threshold by quantile", "input-major products"]))
}
