extension TrainingJob {
    /// Configurations that work as they are, by name.
    public static let examples: [(name: String, text: String)] = [
        (
            "mlp-fashion",
            """
            # A fully connected network on Fashion-MNIST, 90 % sparse from the first step (RigL, stored as CSR).
            seed = 0

            [data]
            kind = "fashion-mnist"        # fetched by `lacuna data fashion-mnist`; or give path = "DIRECTORY"
            batch = 64

            [model]
            kind = "mlp"
            hidden = [512, 512]

            [method]
            name = "rigl"                 # dense, static, set, rigl, sr-ste, sltrain, ...
            sparsity = 0.9
            budget = "erk"                # or uniform
            storage = "csr"               # or masked
            interval = 200                # steps between exchanges of connections

            [optimizer]
            name = "sgd"
            learning_rate = 0.05
            momentum = 0.9
            weight_decay = 1e-4

            [schedule]
            name = "cosine"
            warm_up = 200

            [training]
            epochs = 5
            """
        ),
        (
            "cnn-fashion",
            """
            # A small convolutional network on Fashion-MNIST.
            seed = 0

            [data]
            kind = "fashion-mnist"
            batch = 64

            [model]
            kind = "cnn"
            channels = [16, 32, 64]

            [optimizer]
            name = "adamw"
            learning_rate = 3e-3
            weight_decay = 0.01

            [schedule]
            name = "cosine"
            warm_up = 100

            [training]
            epochs = 2
            """
        ),
        (
            "gpt-austen",
            """
            # A character-level transformer on two novels by Jane Austen, its feed-forward layers 2:4 sparse (SR-STE).
            seed = 0

            [data]
            kind = "text"
            path = "Data/austen/train.txt"
            valid = "Data/austen/valid.txt"
            vocabulary = "byte"           # or the path of a tokenizer.json
            batch = 16

            [model]
            kind = "gpt"
            dimensions = 128
            layers = 4
            heads = 4
            context = 128

            [method]
            name = "sr-ste"
            pattern = "2:4"
            layers = "blocks"             # paths of layers begin so

            [optimizer]
            name = "adamw"
            learning_rate = 2e-3
            beta2 = 0.99

            [schedule]
            name = "cosine"
            warm_up = 100

            [training]
            steps = 1500
            clip = 1.0
            """
        ),
    ]
}
