import LacunaModels

extension ActivationMethod {
    /// Multiplies the inputs with the largest `|x_i| · ‖W[:, i]‖` by W, and the others by a low-rank copy of it:
    /// `y = W (x · m) + U_r S_r V_rᵀ (x · (1 - m))`. Of the weights that the budget allows, each matrix spends a share ρ on inputs
    /// and the rest on rank; ρ = 1 is ``wina``.
    ///
    /// Zhenyu Zhang, Zechun Liu, Yuandong Tian, Harshit Khaitan, Zhangyang Wang, Steven Li, "R-Sparse: Rank-Aware Activation
    /// Sparsity for Efficient LLM Inference", arXiv 2504.19449. The authors search all ρ at once by an evolution over the
    /// model's perplexity; here each matrix takes the ρ of a grid with the least error on calibration inputs.
    public static let rSparse = ActivationMethod(
        name: "r-sparse", target: .inputs, score: .weighted, choice: .threshold, hasBypass: true,
        card: MethodCard(
            name: "r-sparse", family: .activation,
            paper: .init(
                authors: "Zhenyu Zhang et al.",
                title: "R-Sparse: Rank-Aware Activation Sparsity for Efficient LLM Inference", arXiv: "2504.19449"),
            composition: [
                "input magnitude × column norm", "threshold by quantile", "low-rank bypass", "searched ratios",
            ]))
}
