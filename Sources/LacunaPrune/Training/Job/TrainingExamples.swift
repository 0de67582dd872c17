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
            "transformer-austen",
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
            kind = "transformer"
            dimensions = 128
            layers = 4
            heads = 4
            context = 128

            [method]
            name = "sr-ste"
            pattern = "2:4"
            layers = "model.layers"       # paths of layers begin so

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
        (
            "features-digits",
            """
            # Which pixels of handwritten digits matter? A sparse autoencoder that rewires itself ranks them (QuickSelection);
            # features.json in the output lists them, the strongest first.
            seed = 0

            [data]
            kind = "digits"               # or csv with path = "TABLE.csv": all columns, but one that target names
            batch = 100

            [method]
            name = "quick-selection"
            hidden = 100
            density = 5                   # connections of a layer over rows + columns
            exchange = 0.2                # share of the connections that moves after every epoch
            noise = 0.2

            [optimizer]
            name = "sgd"
            learning_rate = 0.01
            momentum = 0.9
            weight_decay = 1e-5

            [schedule]
            name = "constant"

            [training]
            epochs = 20                   # far more reverses the ranking
            """
        ),
        (
            "soup-digits",
            """
            # Iterative pruning to 90 %: in every round three copies are trained from one pruned network and averaged.
            seed = 0

            [data]
            kind = "digits"               # 1797 images of 8x8, in the checkout's Data/digits; or give path = "FILE.csv"

            [model]
            kind = "mlp"
            hidden = [128, 128]

            [method]
            name = "soup"
            sparsity = 0.9
            rounds = 3
            copies = 3

            [optimizer]
            name = "sgd"
            learning_rate = 0.1

            [schedule]
            name = "linear"
            restarts = 9                  # rounds x copies, after a dense beginning
            warm_up = 20

            [training]
            epochs = 100
            """
        ),
        (
            "pq-index-digits",
            """
            # Iterative pruning at the rate that the inequality of the weights asks for (PQ index), in five rounds from the first
            # weights.
            seed = 0

            [data]
            kind = "digits"               # 1797 images of 8x8, in the checkout's Data/digits; or give path = "FILE.csv"

            [model]
            kind = "mlp"
            hidden = [128, 128]

            [method]
            name = "pq-index"
            rounds = 5
            p = 1.0
            q = 2.0
            rewind = true                 # surviving weights begin each round where they began the run

            [optimizer]
            name = "sgd"
            learning_rate = 0.05

            [schedule]
            name = "cosine"
            restarts = 4                  # rounds - 1

            [training]
            epochs = 50
            """
        ),
        (
            "search-digits",
            """
            # The best of 500 random sub-networks by their loss before training: the baseline of searches for sparse architectures.
            seed = 0

            [data]
            kind = "digits"               # 1797 images of 8x8, in the checkout's Data/digits; or give path = "FILE.csv"

            [model]
            kind = "mlp"
            hidden = [256]                # of the parent

            [method]
            name = "random-search"
            keep = 0.125                  # share of the hidden nodes
            trials = 500
            batch = 256                   # examples that the losses are taken on

            [optimizer]
            name = "adam"
            learning_rate = 3e-3

            [training]
            epochs = 20
            """
        ),
        (
            "wide-digits",
            """
            # Hidden layers twice as wide at the cost of the dense network, 75 % sparse, connections moving (Sparse-IFT, RigL).
            seed = 0

            [data]
            kind = "digits"               # 1797 images of 8x8, in the checkout's Data/digits; or give path = "FILE.csv"

            [model]
            kind = "mlp"
            hidden = [32, 32]             # of the dense network whose cost is kept

            [method]
            name = "sparse-ift"
            sparsity = 0.75
            variant = "wide"              # or doped: sparse beside low rank, widths as they are
            interval = 50

            [optimizer]
            name = "adam"
            learning_rate = 3e-3

            [training]
            epochs = 20
            """
        ),
        (
            "continual-digits",
            """
            # Handwritten digits in five tasks, two digits each, learned one after the other in sparse sub-networks that share weights:
            # nothing that was learned changes (CL-DST). continual.json in the output has the accuracies, task-1 … the networks.
            seed = 0

            [data]
            kind = "digits"               # 1797 images of 8x8, in the checkout's Data/digits; or give path = "FILE.csv"
            batch = 32

            [model]
            kind = "mlp"
            hidden = [96, 96]

            [method]
            name = "cl-dst"               # or sequential: dense, and free to forget
            tasks = 5
            sparsity = 0.8                # of each task's network
            budget = "erk"                # or uniform
            growth = "random"             # or gradient
            interval = 133                # steps; grown connections need about 0.4 / learning_rate of them to count

            [optimizer]
            name = "adam"
            learning_rate = 3e-3

            [training]
            epochs = 30                   # of each task
            """
        ),
        (
            "sharp-digits",
            """
            # The same tasks without being told which one an image belongs to: units grow old, and recent activations are replayed (SHARP).
            seed = 0

            [data]
            kind = "digits"               # 1797 images of 8x8, in the checkout's Data/digits; or give path = "FILE.csv"
            batch = 64

            [model]
            kind = "mlp"
            hidden = [256, 256, 256]      # the last is the embedding

            [method]
            name = "sharp"
            tasks = 5
            density = 0.4
            early = 1                     # layers whose activations are replayed into the rest
            replay = 50                   # activations of each class of the last task
            exemplars = 30                # embeddings of each class, for the nearest neighbours

            [optimizer]
            name = "adam"
            learning_rate = 1e-3

            [training]
            epochs = 30                   # of each task
            """
        ),
        (
            "unlearn-digits",
            """
            # Trains on all digits, then forgets a tenth of the images: fine-tuning on the others under an L1 penalty that fades
            # (SparseUnlearn). A run whose only phase is `unlearn` with gamma = 0 is training anew, which is the measure.
            seed = 0

            [data]
            kind = "digits"               # 1797 images of 8x8, in the checkout's Data/digits; or give path = "FILE.csv"
            forget = 0.1                  # share of the training images; or forget_class = "3"

            [model]
            kind = "mlp"
            hidden = [256, 256]

            [optimizer]
            name = "sgd"
            learning_rate = 0.05
            weight_decay = 5e-4

            [[phase]]
            method.name = "dense"         # or prune: in a sparse network less is left to forget
            training.epochs = 30

            [[phase]]
            method.name = "unlearn"
            method.gamma = 1e-3           # of the sum of all magnitudes
            training.epochs = 10
            schedule.name = "constant"
            """
        ),
        (
            "phases-digits",
            """
            # Three phases in one run: pruned to 80 % and trained, dense again, pruned to 2:4 and trained.
            seed = 0

            [data]
            kind = "digits"               # 1797 images of 8x8, in the checkout's Data/digits; or give path = "FILE.csv"

            [model]
            kind = "mlp"
            hidden = [128, 128]

            [optimizer]                   # what a phase does not say itself
            name = "adam"
            learning_rate = 3e-3

            [training]
            epochs = 10

            [[phase]]
            method.name = "prune"         # by magnitude, once, before the first step
            method.sparsity = 0.8
            method.storage = "csr"

            [[phase]]
            method.name = "densify"

            [[phase]]
            method.name = "prune"
            method.pattern = "2:4"
            training.epochs = 20
            optimizer.learning_rate = 1e-3
            """
        ),
        (
            "smollm2-dense",
            """
            # Fine-tunes all weights of SmolLM2-135M on a novel by Jane Austen.
            seed = 0

            [data]
            kind = "text"
            path = "Data/austen/train.txt"
            valid = "Data/austen/valid.txt"
            window = 128                  # tokens
            batch = 4

            [model]
            from = "smollm2"              # fetched by `lacuna data smollm2`; or a directory, or a GGUF file

            [optimizer]
            name = "adamw"
            learning_rate = 2e-5

            [schedule]
            warm_up = 5

            [training]
            steps = 40
            clip = 1.0
            evaluate_windows = 32
            """
        ),
        (
            "smollm2-masked",
            """
            # Prunes half of SmolLM2's weights by magnitude and trains the other half on a novel by Jane Austen, taught by the
            # dense model.
            seed = 0

            [data]
            kind = "text"
            path = "Data/austen/train.txt"
            valid = "Data/austen/valid.txt"
            window = 128                  # tokens
            batch = 4

            [model]
            from = "smollm2"              # or a directory by `lacuna prune`, which keeps its masks without a method

            [method]
            name = "prune"
            by = "magnitude"              # or wanda, sparsegpt: by what the layers read of the training text
            sparsity = 0.5                # or pattern = "2:4"
            layers = "model.layers"       # names of layers; * and ? stand for others

            [teacher]
            from = "smollm2"
            weight = 0.5                  # share of the teacher's predictions in the loss

            [optimizer]
            name = "adamw"
            learning_rate = 1e-4

            [schedule]
            warm_up = 5

            [training]
            steps = 40
            clip = 1.0
            evaluate_windows = 32
            """
        ),
        (
            "smollm2-low-rank",
            """
            # Fine-tunes SmolLM2 in little memory: its weights stay in 4 bits as they are stored, and updates of rank 8 are trained.
            seed = 0

            [data]
            kind = "text"
            path = "Data/austen/train.txt"
            valid = "Data/austen/valid.txt"
            window = 128
            batch = 4

            [model]
            from = "smollm2"
            weights = "frozen"            # dense, masked (zeros stay zeros), sparse (stored as CSR), frozen
            update = "low-rank"           # or sparse, with density = 0.01
            rank = 8
            alpha = 16
            update_layers = "*.q_proj,*.v_proj"
            recompute = true              # blocks keep only their results: less memory, more time

            [[group]]                     # rates, decays and what is frozen, by the names of parameters
            match = "*norm*"
            frozen = true

            [optimizer]
            name = "adamw"
            learning_rate = 1e-3

            [training]
            steps = 40
            evaluate_windows = 32
            """
        ),
    ]
}
