import LacunaModels

extension ActivationMethod {
    /// Leaves out inputs that add little to the outputs: those with small `|x_i| · ‖W[:, i]‖`, in all seven matrices of a block.
    /// Where the columns of W are orthogonal no other choice of as many inputs leaves a smaller error
    /// (``Transformer/rotatedToColumns()`` turns the stream towards that).
    ///
    /// Sihan Chen, Dan Zhao, Jongwoo Ko, Colby Banbury, Huiping Zhuang, Luming Liang, Tianyi Chen, "WINA: Weight Informed Neuron
    /// Activation for Accelerating Large Language Model Inference", arXiv 2505.19427. The authors' code has norms for two of the
    /// seven matrices; here all have them.
    public static let wina = ActivationMethod(
        name: "wina", target: .inputs, score: .weighted, choice: .threshold,
        card: MethodCard(
            name: "wina", family: .activation,
            paper: .init(
                authors: "Sihan Chen et al.",
                title: "WINA: Weight Informed Neuron Activation for Accelerating Large Language Model Inference",
                arXiv: "2505.19427"),
            composition: ["input magnitude × column norm", "threshold by quantile", "input-major products"]))
}
