import LacunaModels

extension ActivationMethod {
    /// Leaves out neurons of gated feed-forward parts whose activation is small: with `a = f(gate x)`,
    /// `y = down (a · up x)` over the neurons with `|a| > t`, a threshold t for each layer from its quantiles on a calibration
    /// text. The gate's product stays whole; rows of up and columns of down are read for the chosen neurons alone.
    ///
    /// Donghyun Lee, Je-Yong Lee, Genghan Zhang, Mo Tiwari, Azalia Mirhoseini, "CATS: Contextually-Aware Thresholding for
    /// Sparsity in Large Language Models", arXiv 2404.08763. Its histogram of fixed range is replaced by one that clips nothing.
    public static let cats = ActivationMethod(
        name: "cats", target: .activations, score: .magnitude, choice: .threshold,
        card: MethodCard(
            name: "cats", family: .activation,
            paper: .init(
                authors: "Donghyun Lee et al.",
                title: "CATS: Contextually-Aware Thresholding for Sparsity in Large Language Models",
                arXiv: "2404.08763"),
            composition: ["gate activation", "threshold by quantile", "row-skipping and input-major products"]))
}
