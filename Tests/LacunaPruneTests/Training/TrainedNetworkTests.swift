import LacunaIO
import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// Networks for tables and pictures of a user's own: trained, kept with what their inputs went through, asked.
@Suite struct TrainedNetworkTests {
    private func inFolder<R>(_ body: (String) throws -> R) throws -> R {
        let folder = "/tmp/lacuna-network-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.createDirectory(folder)
        defer { try? FileSystem.remove(folder) }
        return try body(folder)
    }

    private func job(
        _ data: String, model: String = "kind = \"mlp\"\nhidden = [16]", method: String = "", epochs: Int = 30
    )
        throws -> TrainingJob
    {
        try TrainingJob(
            ConfigurationFile(
                text: """
                    [data]
                    \(data)
                    batch = 16
                    [model]
                    \(model)
                    \(method)
                    [optimizer]
                    learning_rate = 0.02
                    [training]
                    epochs = \(epochs)
                    """, file: "t.toml"), environment: .init())
    }

    /// Rows whose kind follows from a colour and a number, and whose price follows from the number.
    private func table(_ rows: Int, seed: UInt64) -> String {
        var generator = SeededGenerator(seed: seed)
        var text = "price,colour,size,kind\n"
        for _ in 0..<rows {
            let (size, isRed) = (generator.normal(), Bool.random(using: &generator))
            text +=
                "\(100 + 30 * size),\(isRed ? "red" : "light blue"),\(size),\((size > 0) == isRed ? "cat" : "\"dog, big\"")\n"
        }
        return text
    }

    @Test(arguments: ["", "[method]\nname = \"static\"\nsparsity = 0.5", "[method]\nname = \"sltrain\"\nrank = 2"])
    func classesByName(method: String) throws {
        try inFolder { folder in
            try AtomicFile.write(table(200, seed: 1), to: folder + "/train.csv")
            // The product of factors starts at 0, and hidden units that start alike are told apart by the weights of their
            // outputs alone: with 16 of them some starts end at three quarters, whatever the rank.
            let hidden = method.contains("sltrain") ? 64 : 16
            let job = try job(
                "kind = \"csv\"\npath = \"\(folder)/train.csv\"", model: "kind = \"mlp\"\nhidden = [\(hidden)]",
                method: method)
            let report = try job.run(directory: folder + "/run")
            let accuracy = try #require(report.evaluation?["test_accuracy"])
            #expect(accuracy > 0.9)
            #expect(report.multiplyAddsPerStep > 0)
            try AtomicFile.write(table(100, seed: 2), to: folder + "/new.csv")
            let network = try TrainedNetwork.load(folder + "/run")
            #expect(network.outputs == .classes(["cat", "dog, big"]))
            let new = try CSVTable(contentsOf: folder + "/new.csv")
            var kinds: [String] = []
            if case .text(let text)? = new["kind"]?.values { kinds = text }
            let found = try network.predictions(new, file: "new.csv")
            let right = zip(found, kinds).count { $0.text == $1 }
            #expect(Double(right) / 100 > 0.85)
            for case .label(_, let probability) in found { #expect(probability >= 0.5 && probability <= 1.0001) }
            // A row by itself, columns in another order, without the class.
            try AtomicFile.write("size,price,colour\n2,160,red\n", to: folder + "/one.csv")
            let one = try network.predictions(contentsOf: folder + "/one.csv").map(\.prediction.text)
            #expect(one == ["cat"])
            for bad in [
                "size,price,colour\n2,160,green\n", "size,price\n2,160\n", "size,price,colour\n,160,red\n",
                "size,price,colour\nbig,160,red\n",
            ] {
                try AtomicFile.write(bad, to: folder + "/bad.csv")
                #expect(throws: LacunaError.self) { try network.predictions(contentsOf: folder + "/bad.csv") }
            }
        }
    }

    @Test func numbers() throws {
        try inFolder { folder in
            try AtomicFile.write(table(200, seed: 1), to: folder + "/train.csv")
            let data = "kind = \"csv\"\npath = \"\(folder)/train.csv\"\ntarget = \"price\"\ntask = \"regression\""
            let report = try job(data).run(directory: folder + "/run")
            #expect(try #require(report.evaluation?["test_r_squared"]) > 0.98)
            #expect(try #require(report.evaluation?["test_rmse"]) < 5)
            let network = try TrainedNetwork.load(folder + "/run")
            try AtomicFile.write("size,colour,kind\n0.5,red,cat\n-1,red,\"dog, big\"\n", to: folder + "/new.csv")
            let found = try network.predictions(contentsOf: folder + "/new.csv").map { row -> Double in
                if case .number(let value) = row.prediction { value } else { .nan }
            }
            #expect(abs(found[0] - 115) < 6 && abs(found[1] - 70) < 6, "\(found)")
            #expect(throws: LacunaError.self) { try job(data.replacing("\"price\"", with: "\"colour\"")) }
            #expect(throws: LacunaError.self) { try job(data.replacing("\"price\"", with: "\"pric\"")) }
        }
    }

    /// Levels and classes that look like numbers, with gaps, are names all the same.
    @Test func levelsThatLookLikeNumbers() throws {
        try inFolder { folder in
            let rows = (0..<60).map { "\($0 % 2 == 0 ? "007" : "x9"),\($0 % 3),\($0 % 2 == 0 ? -1 : 2.5)\n" }.joined()
            try AtomicFile.write("code,n,class\n" + rows, to: folder + "/t.csv")
            _ = try job("kind = \"csv\"\npath = \"\(folder)/t.csv\"").run(directory: folder + "/run")
            let network = try TrainedNetwork.load(folder + "/run")
            #expect(network.outputs == .classes(["-1", "2.5"]))
            // A file in which all codes are numbers.
            try AtomicFile.write("code,n\n007,1\n007,2\n", to: folder + "/new.csv")
            #expect(try network.predictions(contentsOf: folder + "/new.csv").map(\.prediction.text) == ["-1", "-1"])
        }
    }

    @Test func folderOfPictures() throws {
        try inFolder { folder in
            var generator = SeededGenerator(seed: 4)
            func picture(bright: Bool, text: Bool) -> [UInt8] {
                let pixels = (0..<48).map { i in
                    UInt8((bright == (i / 3 % 4 < 2) ? 180 : 20) + Int.random(in: 0..<60, using: &generator))
                }
                return text
                    ? Array("P3 # a comment\n4 4\n255\n\(pixels.map { "\($0)" }.joined(separator: " "))\n".utf8)
                    : Array("P6\n4 4 255\n".utf8) + pixels
            }
            for name in ["left", "right"] {
                try FileSystem.createDirectory("\(folder)/data/\(name)")
                for i in 0..<20 {
                    try AtomicFile.write(
                        picture(bright: name == "left", text: i % 2 == 0), to: "\(folder)/data/\(name)/\(i).ppm")
                }
            }
            let data = "kind = \"images\"\npath = \"\(folder)/data\""
            for model in ["kind = \"mlp\"\nhidden = [8]", "kind = \"cnn\"\nchannels = [4, 4]"] {
                let report = try job(data, model: model).run(directory: folder + "/run")
                #expect(try #require(report.evaluation?["test_accuracy"]) > 0.8)
                let network = try TrainedNetwork.load(folder + "/run")
                let found = try network.predictions(contentsOf: folder + "/data/right")
                #expect(found.count == 20 && found.count { $0.prediction.text == "right" } >= 17)
                try FileSystem.remove(folder + "/run")
            }
            // Another size, another kind of picture, another kind of file, and files that end early.
            try AtomicFile.write(Array("P6\n1 1\n255\n123".utf8), to: folder + "/data/left/small.ppm")
            #expect(throws: LacunaError.self) { try job(data) }
            // Brought to one size, which later ones are brought to as well.
            _ = try job(data + "\nsize = [3, 5]").run(directory: folder + "/run")
            let network = try TrainedNetwork.load(folder + "/run")
            if case .images(let encoding) = network.inputs {
                #expect(encoding.resizes && encoding.height == 3 && encoding.width == 5)
            } else {
                Issue.record("a network of tables")
            }
            let found = try network.predictions(contentsOf: folder + "/data/left")
            #expect(found.count == 21 && found.count { $0.prediction.text == "left" } >= 16)
            for size in ["[3]", "[0, 3]", "3", "[3, 3, 3]"] {
                #expect(throws: LacunaError.self) { try job(data + "\nsize = \(size)") }
            }
            try FileSystem.remove(folder + "/data/left/small.ppm")
            try AtomicFile.write(Array("P5\n4 4\n255\n0123456789abcdef".utf8), to: folder + "/data/left/grey.pgm")
            #expect(throws: LacunaError.self) { try job(data) }
            #expect(throws: LacunaError.self) { try job(data + "\nsize = [4, 4]") }
            try FileSystem.remove(folder + "/data/left/grey.pgm")
            for name in ["a.jpg", "a.png"] {
                try AtomicFile.write("x", to: folder + "/data/left/" + name)
                #expect(throws: LacunaError.self) { try job(data) }
                try FileSystem.remove(folder + "/data/left/" + name)
            }
        }
    }

    @Test func picturesAreRead() throws {
        func read(_ text: String) throws -> PortableAnymap { try PortableAnymap(Array(text.utf8), file: "p") }
        let grey = try read("P2\n#x\n3 1\n4\n0 2 4")
        #expect(grey.channels == 1 && grey.width == 3 && grey.height == 1 && grey.values == [0, 0.5, 1])
        let colour = try read("P3 1 2 10  1 2 3  4 5 6")
        #expect(colour.channels == 3 && colour.values == [0.1, 0.4, 0.2, 0.5, 0.3, 0.6])
        // Two bytes a brightness, the larger first.
        let deep = try PortableAnymap(Array("P5 1 1 65535\n".utf8) + [0x80, 0x00], file: "p")
        #expect(abs(deep.values[0] - 32768 / 65535) < 1e-6)
        for bad in [
            "", "P1 1 1 1", "P5 1 1 255", "P5 0 1 255\n1", "P2 1 1 4 5", "P2 2 2 4 1 2 3", "P6 99999999 99999999 255\n",
        ] {
            #expect(throws: LacunaError.self) { try read(bad) }
        }
    }

    /// Each storage comes back from a file into a dense network, to the last bit.
    @Test func filesRestoreStorages() throws {
        try inFolder { folder in
            var generator = SeededGenerator(seed: 5)
            let model = MLP(widths: [8, 8, 8, 8, 8, 8], using: &generator)
            let mask = try SparsePattern(rows: 8, columns: 8, keepingRandom: 20, using: &generator)
            try model.layers[0].sparsify(.csr, mask: mask)
            try model.layers[1].sparsify(.bitmask, mask: mask)
            var blocks = SparsePattern(rows: 8, columns: 8)
            for r in 0..<4 { for c in 0..<4 { (blocks[r, c + 4], blocks[r + 4, c]) = (true, true) } }
            try model.layers[2].sparsify(.trainable("bsr4x4"), mask: blocks)
            let low = LowRankSparseWeight(
                outputs: 8, inputs: 8, rank: 3, alpha: 6, density: 0.1, using: &generator)
            low.b.value = Tensor(normal: [8, 3], standardDeviation: 1, using: &generator)
            model.layers[3].weight = low
            let factors = FactoredWeight(outputs: 8, inputs: 8, rank: 2, alpha: 1, using: &generator)
            factors.b.value = Tensor(normal: [8, 2], standardDeviation: 1, using: &generator)
            model.layers[4].weight = factors
            let file = folder + "/m.safetensors"
            try ModelFile.save(model, to: file)
            let other = MLP(widths: [8, 8, 8, 8, 8, 8], using: &generator)
            // A storage of the model's own gives way, and so does one where the file is dense.
            try other.layers[0].sparsify(.bitmask, mask: mask.inverted())
            try ModelFile.load(other, from: file)
            #expect(other.linears.map(\.layer.weight.storage) == model.linears.map(\.layer.weight.storage))
            for (a, b) in zip(model.layers, other.layers) {
                #expect(a.weight.densified().scalars == b.weight.densified().scalars)
            }
            let dense = MLP(widths: [8, 8], using: &generator)
            try ModelFile.save(dense, to: file)
            let sparse = MLP(widths: [8, 8], using: &generator)
            try sparse.layers[0].sparsify(.csr, mask: mask)
            try ModelFile.load(sparse, from: file)
            #expect(sparse.layers[0].dense != nil)
            #expect(sparse.layers[0].weight.densified().scalars == dense.layers[0].weight.densified().scalars)
        }
    }

    /// For other programs: whole matrices, kernels of four dimensions, statistics of norms; zeros where nothing is stored.
    @Test func exportedNetworksAreWhole() throws {
        let folder = "/tmp/lacuna-export-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.createDirectory(folder)
        defer { try? FileSystem.remove(folder) }
        var generator = SeededGenerator(seed: 3)
        let net = ConvNet(inputChannels: 2, channels: [4, 3], classes: 2, using: &generator)
        let product = net.convolutions[1].product
        let mask = try SparsePattern(rows: 3, columns: 36, keepingRandom: 20, using: &generator)
        try product.sparsify(.csr, mask: mask)
        net.norms[0].runningMean.value = Tensor([1, 2, 3, 4])
        let inputs = ImageEncoding(channels: 2, height: 4, width: 4, mean: 0, scale: 1)
        let network = try TrainedNetwork(net, inputs: .images(inputs), outputs: .classes(["a", "b"]))
        try network.export(to: folder + "/net.safetensors")
        let file = try SafetensorsFile(folder + "/net.safetensors")
        let kernel = try file.float("convolutions.1.weight", shape: [3, 4, 3, 3])
        #expect(kernel.scalars == product.weight.densified().scalars && kernel.scalars.count { $0 != 0 } == 20)
        #expect(try file.float("convolutions.0.weight", shape: [4, 2, 3, 3]).count == 72)
        #expect(try file.float("classifier.weight", shape: [2, 3]) == net.classifier.weight.densified())
        #expect(try file.float("classifier.bias", shape: [2]) == net.classifier.bias!.value)
        #expect(try file.float("norms.0.running_mean", shape: [4]).scalars == [1, 2, 3, 4])
        #expect(try file.float("norms.1.running_var", shape: [3]).scalars == [1, 1, 1])
        #expect(file.names.count == 2 + 2 * 4 + 2)
        // A sum of layers is a matrix, one with norms is none.
        let doped = MLP(widths: [6, 5, 2], using: &generator)
        doped.layers[0].weight = try SparseIFT(sparsity: 0.5).doped(doped.layers[0], using: &generator)
        let table = try TableFiles.features(Self.table(folder), leavingOut: "class").inputs
        let whole = try TrainedNetwork(doped, inputs: .table(table), outputs: .classes(["a", "b"]))
        try whole.export(to: folder + "/doped.safetensors")
        let sum = try SafetensorsFile(folder + "/doped.safetensors")
        #expect(try sum.float("layers.0.weight", shape: [5, 6]) == doped.layers[0].weight.densified())
        #expect(sum.names.count == 4)
        doped.layers[0].weight = try SparseIFT(sparsity: 0.5).parallel(doped.layers[0], using: &generator)
        #expect(throws: LacunaError.self) { try whole.export(to: folder + "/no.safetensors") }
    }

    /// A table of six numbers and a class.
    private static func table(_ folder: String) throws -> String {
        let rows = (0..<6).map { row in (0..<6).map { "\(($0 * 7 + row * 3) % 5)" }.joined(separator: ",") + ",x" }
        try AtomicFile.write("a,b,c,d,e,f,class\n" + rows.joined(separator: "\n"), to: folder + "/t.csv")
        return folder + "/t.csv"
    }
}
