import Lacuna

/// Which columns of a table matter, by how much, and how sure that is: `swift run -c release fit-a-table TABLE TARGET`.
@main
struct FitATable {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        guard arguments.count == 2, let path = arguments.first, let target = arguments.last else {
            print("usage: fit-a-table TABLE TARGET, such as ../Data/digits/digits.csv class")
            return
        }
        // What each column is taken for.
        for column in try TableSummary(contentsOf: path).columns.prefix(5) {
            print(column.name, column.kind, column.remark ?? "")
        }
        var layout = TableLayout(target: target)
        (layout.text, layout.missing) = (.oneHot, .mean)
        let table = try Table(contentsOf: path, layout)

        // A lasso whose strength cross-validation chooses.
        let estimator = Estimator(.lasso)
        let fit = try estimator.fit(table)
        print("selected:", fit.model.selected.prefix(10), "of", fit.model.features.count)
        print("certificate:", fit.solution.certificate)

        // How often other rows would select the same columns.
        let certainty = try estimator.stability(table, of: fit, pairs: 10)
        let stable = zip(fit.model.features, certainty.stability ?? []).filter { $0.1 >= 0.9 }.map(\.0.name)
        print("selected from nine of ten halves:", stable.prefix(10))

        // A model is kept in a file, and reads new tables as it read the first.
        try fit.model.save(to: "model.json")
        let model = try LinearModel(contentsOf: "model.json")
        let predictions = try model.predict(Table(contentsOf: path, for: model))
        print("the first predictions:", predictions.prefix(3))
    }
}
